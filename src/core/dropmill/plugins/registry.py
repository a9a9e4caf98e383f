"""What was loaded, as frozen values: the specs by id, and the state of every plugin that is installed or enabled."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from dropmill.api import AgentEvent, ConverterSpec, PolicySpec, TransportSpec
from dropmill.foundation.errors import Problem
from dropmill.plugins.discovery import Discovered

__all__ = ["Listener", "Loaded", "PluginState", "Registry", "Spec", "Status"]

Spec = ConverterSpec | TransportSpec | PolicySpec

SpecT = TypeVar("SpecT", bound=Spec, covariant=True)


class Status(enum.StrEnum):
    """What has become of a plugin at start."""

    DISABLED = "disabled"
    """Installed, not enabled: nothing of it was imported."""
    LOADED = "loaded"
    DEGRADED = "degraded"
    """Usable, but something of it is not: see its problems."""
    QUARANTINED = "quarantined"
    """Not usable: see its problems."""


@dataclass(frozen=True, kw_only=True)
class Loaded(Generic[SpecT]):
    """A registered spec and where it came from."""

    spec: SpecT
    plugin: str
    """The entry point's name."""
    distribution: str
    version: str
    """Of the distribution."""


@dataclass(frozen=True, kw_only=True)
class Listener:
    """A plugin's `on_event`, to be called with the event by its broadcaster alone."""

    plugin: str
    call: Callable[[AgentEvent], Any]


@dataclass(frozen=True, kw_only=True)
class PluginState:
    """One plugin: how it is and why."""

    name: str
    status: Status
    discovered: Sequence[Discovered] = ()
    """Its entry point; none where it is not installed, several where distributions compete for the name."""
    problems: Sequence[Problem] = ()
    converters: Sequence[str] = ()
    """Ids that it offers."""
    transports: Sequence[str] = ()
    policies: Sequence[str] = ()
    listens: bool = False
    """Whether it implements `on_event`."""
    seconds: float = 0.0
    """That loading took, in the agent itself."""

    def as_dict(self) -> dict[str, Any]:
        """The JSON shape."""
        return {
            "name": self.name,
            "status": str(self.status),
            "distributions": [
                {"name": entry.distribution, "version": entry.version, "value": entry.value, "api": entry.api}
                for entry in self.discovered
            ],
            "problems": [problem.as_dict() for problem in self.problems],
            "converters": list(self.converters),
            "transports": list(self.transports),
            "policies": list(self.policies),
            "listens": self.listens,
            "seconds": round(self.seconds, 4),
        }


@dataclass(frozen=True, kw_only=True)
class Registry:
    """Everything that plugins offer. It is also the catalog that the configuration is checked against."""

    converters: Mapping[str, Loaded[ConverterSpec]] = field(default_factory=dict)
    transports: Mapping[str, Loaded[TransportSpec]] = field(default_factory=dict)
    policies: Mapping[str, Loaded[PolicySpec]] = field(default_factory=dict)
    states: Mapping[str, PluginState] = field(default_factory=dict)
    """By entry-point name: all that are installed or enabled."""
    listeners: Sequence[Listener] = ()
    refusals: Mapping[str, Problem] = field(default_factory=dict)
    """Enabled names that can never be loaded as the configuration asks for them (not installed, claimed twice, another API, a
    pin that does not fit): an error of the configuration, not of the plugin."""

    @property
    def installed(self) -> frozenset[str]:
        """Entry-point names that could be enabled."""
        return frozenset(name for name, state in self.states.items() if state.discovered)

    @property
    def faults(self) -> Mapping[str, Sequence[Problem]]:
        """By name, enabled plugins that are quarantined or degraded by a fault of their own."""
        return {
            name: state.problems
            for name, state in self.states.items()
            if name not in self.refusals and state.status in (Status.QUARANTINED, Status.DEGRADED)
        }
