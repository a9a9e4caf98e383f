"""What the configuration needs to know of plugins; `dropmill.plugins.Registry` has this shape, and config never imports it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, Protocol, TypeVar

from dropmill.api import ConverterSpec, PolicySpec, TransportSpec
from dropmill.foundation.errors import Problem

__all__ = ["KINDS", "PLURALS", "Catalog", "Kind", "Offered", "offers"]

Kind = Literal["converter", "transport", "policy"]
KINDS: tuple[Kind, ...] = ("converter", "transport", "policy")
PLURALS: Mapping[Kind, str] = {"converter": "converters", "transport": "transports", "policy": "policies"}

SpecT_co = TypeVar("SpecT_co", bound=ConverterSpec | TransportSpec | PolicySpec, covariant=True)


class Offered(Protocol[SpecT_co]):
    """A spec and the plugin that registered it."""

    @property
    def spec(self) -> SpecT_co: ...

    @property
    def plugin(self) -> str:
        """The entry point's name."""
        ...


class Catalog(Protocol):
    """The enabled plugins: what they offer and what is wrong with them."""

    @property
    def converters(self) -> Mapping[str, Offered[ConverterSpec]]: ...

    @property
    def transports(self) -> Mapping[str, Offered[TransportSpec]]: ...

    @property
    def policies(self) -> Mapping[str, Offered[PolicySpec]]: ...

    @property
    def installed(self) -> Collection[str]:
        """Entry-point names that could be enabled."""
        ...

    @property
    def refusals(self) -> Mapping[str, Problem]:
        """Enabled names that cannot be loaded as the file asks for them: errors of the configuration."""
        ...

    @property
    def faults(self) -> Mapping[str, Sequence[Problem]]:
        """Enabled plugins that are quarantined or degraded by a fault of their own; some of their ids may be missing."""
        ...


def offers(
    catalog: Catalog, kind: Kind
) -> Mapping[str, Offered[ConverterSpec] | Offered[TransportSpec] | Offered[PolicySpec]]:
    """What the catalog has of a kind, by id."""
    if kind == "converter":
        return catalog.converters
    return catalog.transports if kind == "transport" else catalog.policies
