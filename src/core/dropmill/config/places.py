"""Checks that folders stay apart: no watched folder inside another, and nothing of ours inside a watched folder.

Paths are compared as the file system has them, through symbolic links and bind mounts, as far as they exist. A path that does not
exist is no error, and one on a share that does not answer holds nothing up: it is compared by its name alone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dropmill.config.document import Document
from dropmill.config.positions import KeyPath, spell
from dropmill.config.problems import ConfigProblem
from dropmill.config.wording import render
from dropmill.foundation.guard import Returned, run_guarded

__all__ = ["Place", "Survey", "problems", "survey"]

_EACH = 1.0
_ALL = 5.0


@dataclass(frozen=True)
class Place:
    """A path that the file names."""

    key: KeyPath
    written: str
    path: Path
    """Absolute."""
    label: str
    """What it is, in words."""


@dataclass(frozen=True)
class _Spot:
    """Where a path really leads."""

    path: Path
    identity: tuple[int, int] | None
    """(st_dev, st_ino) of the path itself, where it exists."""
    above: frozenset[tuple[int, int]]
    """The same of what it lies in."""


@dataclass(frozen=True)
class Survey:
    """What a look at the file system told."""

    spots: Mapping[Path, _Spot]
    unanswered: frozenset[Path]
    """Paths that did not answer in time."""

    def inside(self, inner: Path, outer: Path) -> bool:
        """Whether `inner` is `outer` or lies in it."""
        there, here = self.spots[outer], self.spots[inner]
        return (
            here.path.is_relative_to(there.path)
            or (there.identity is not None and there.identity in here.above)
            or self.same(inner, outer)
        )

    def same(self, one: Path, other: Path) -> bool:
        here, there = self.spots[one], self.spots[other]
        return here.path == there.path or (here.identity is not None and here.identity == there.identity)


def survey(paths: Iterable[Path]) -> Survey:
    """Look at every path, for one second each and five in all at most."""
    deadline = time.monotonic() + _ALL
    spots: dict[Path, _Spot] = {}
    unanswered: set[Path] = set()
    for path in dict.fromkeys(paths):
        outcome = run_guarded(
            lambda path=path: _look(path),  # type: ignore[misc]
            limit=max(0.0, min(_EACH, deadline - time.monotonic())),
            name="look at path",
        )
        if isinstance(outcome, Returned):
            spots[path] = outcome.value
        else:
            unanswered.add(path)
            spots[path] = _Spot(Path(os.path.normpath(path)), None, frozenset())
    return Survey(spots, frozenset(unanswered))


def _look(path: Path) -> _Spot:
    try:
        real = path.resolve()
    except (OSError, RuntimeError):  # a loop of links: it will be offline
        real = Path(os.path.normpath(path))
    return _Spot(real, _identity(real), frozenset(filter(None, map(_identity, real.parents))))


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def problems(
    document: Document, looked: Survey, folders: Sequence[Place], ours: Sequence[Place], state: Place | None
) -> Iterator[ConfigProblem]:
    """What lies where it must not.

    Args:
        document: The file.
        looked: A survey of all the paths, and of the file itself.
        folders: The watched folders.
        ours: What must not lie in one: the state folder, the socket, paths in options.
        state: The state folder, which no watched folder may lie in either.
    """
    for number, folder in enumerate(folders):
        for other in folders[:number]:
            if relation := _relation(looked, folder.path, other.path):
                yield document.problem(
                    folder.key,
                    "DM-C025",
                    f"{relation} {other.label} ({spell(other.key)} = {render(other.written)})",
                    "let every watched folder have a place of its own: its files would be taken twice",
                    value=render(folder.written),
                )
        if state is not None and looked.inside(folder.path, state.path) and not looked.same(folder.path, state.path):
            yield document.problem(
                folder.key,
                "DM-C027",
                f"lies inside the agent's state folder ({state.path})",
                "keep watched folders out of it: the agent alone may write there",
                value=render(folder.written),
            )
        if looked.inside(document.path, folder.path):
            yield document.problem(
                folder.key,
                "DM-C026",
                "holds this configuration file, which would be taken for a dropped file",
                "watch a folder below it, such as inbox",
                value=render(folder.written),
            )
    for place in ours:
        for folder in folders:
            if looked.inside(place.path, folder.path):
                yield document.problem(
                    place.key,
                    "DM-C027" if place is state else "DM-C026",
                    f"{place.label} lies inside the watched {folder.label} ({spell(folder.key)} = {render(folder.written)})",
                    "choose a place outside: what is written there would be taken for a dropped file",
                    value=render(place.written),
                )


def _relation(looked: Survey, one: Path, other: Path) -> str:
    if looked.same(one, other):
        return "is the same folder as"
    if looked.inside(one, other):
        return "lies inside"
    return "contains" if looked.inside(other, one) else ""
