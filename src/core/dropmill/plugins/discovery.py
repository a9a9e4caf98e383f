"""Finds installed plugins from package metadata alone.

Nothing of a plugin is ever imported here: `discover` reads `entry_points.txt` of the distributions on `sys.path`, and survives
distributions whose metadata is damaged. Where one name is claimed more than once, no claim wins.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata

from dropmill.api import ENTRY_POINT_GROUP
from dropmill.foundation.errors import Problem

__all__ = ["Discovered", "Discovery", "discover", "normal"]

_FAMILY = ENTRY_POINT_GROUP.rpartition(".v")[0] + ".v"


@dataclass(frozen=True, kw_only=True)
class Discovered:
    """An entry point of some installed distribution."""

    name: str
    """The entry point's name: what `[plugins] enable` lists."""
    value: str
    """What it names: `package.module` or `package.module:attribute`."""
    group: str
    distribution: str
    version: str

    @property
    def api(self) -> str:
        """The API's major version that it was written for, as in `v1`."""
        return "v" + self.group.removeprefix(_FAMILY)

    @property
    def supported(self) -> bool:
        """Whether this dropmill speaks that API."""
        return self.group == ENTRY_POINT_GROUP

    def __str__(self) -> str:
        return f"{self.name} ({self.distribution} {self.version})"


@dataclass(frozen=True, kw_only=True)
class Discovery:
    """Everything that is installed, whether enabled or not."""

    claims: Mapping[str, Sequence[Discovered]]
    """By entry-point name, those of this API: one claim, or several where distributions compete."""
    foreign: Mapping[str, Sequence[Discovered]]
    """By entry-point name, those written for another major version of the API."""
    problems: Sequence[Problem]
    """Distributions whose metadata cannot be read, names claimed twice, plugins for another API."""


def normal(distribution: str) -> str:
    """A distribution's name in the one spelling that compares equal (PEP 503)."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def discover(path: Sequence[str] | None = None) -> Discovery:
    """Read the metadata of what is installed on `path` (default: `sys.path`). Blocks on the disk for some milliseconds."""
    problems: list[Problem] = []
    claims: dict[str, list[Discovered]] = {}
    foreign: dict[str, list[Discovered]] = {}
    for found in sorted(_entries(path, problems), key=lambda entry: (entry.name, entry.distribution)):
        (claims if found.supported else foreign).setdefault(found.name, []).append(found)
    problems += [ambiguous(name, rivals) for name, rivals in claims.items() if len(rivals) > 1]
    problems += [other_api(entry) for entries in foreign.values() for entry in entries]
    return Discovery(claims=claims, foreign=foreign, problems=problems)


def ambiguous(name: str, rivals: Iterable[Discovered]) -> Problem:
    """Several distributions claim one name."""
    names = " and ".join(f"{rival.distribution} {rival.version}" for rival in rivals)
    return Problem(
        code="DM-P002",
        what=f"the plugin name {name!r} is claimed by {names}",
        where=name,
        todo=f'uninstall all but one, or pin the one you mean: enable = [{{ name = "{name}", distribution = "..." }}]',
    )


def other_api(entry: Discovered) -> Problem:
    """A plugin for another major version of the API."""
    return Problem(
        code="DM-P003",
        what=f"{entry} is written for plugin API {entry.api}, this dropmill speaks v{ENTRY_POINT_GROUP.rpartition('.v')[2]}",
        where=entry.name,
        todo=f"install a version of {entry.distribution} (or of dropmill) that fits the other",
    )


def _entries(path: Sequence[str] | None, problems: list[Problem]) -> Iterator[Discovered]:
    seen: set[str] = set()
    found = metadata.distributions() if path is None else metadata.distributions(path=list(path))
    for distribution in found:
        location = str(getattr(distribution, "_path", "an installed distribution"))
        try:
            text = distribution.read_text("entry_points.txt")
            if text is None or _FAMILY not in text:
                continue
            name = str(distribution.metadata["Name"])
            if normal(name) in seen:  # shadowed by one that stands earlier on the path, as its modules are
                continue
            seen.add(normal(name))
            version = str(distribution.version)
            for entry in distribution.entry_points:
                if entry.group.startswith(_FAMILY):
                    yield Discovered(
                        name=entry.name, value=entry.value, group=entry.group, distribution=name, version=version
                    )
        except Exception as error:  # noqa: BLE001 - whatever is damaged, the other distributions stay usable
            problems.append(
                Problem(
                    code="DM-P006",
                    what=f"the metadata of a distribution cannot be read: {error!r}",
                    where=location,
                    todo="reinstall that distribution",
                )
            )
