"""Checks that folders stay apart: no watched folder inside another, and nothing of ours inside a watched folder.

Paths are compared as the file system has them, through symbolic links and bind mounts, as far as they exist. A path that does not
exist is no error, and one on a share that does not answer holds nothing up: it is compared by its name alone.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dropmill.config.document import Document
from dropmill.config.positions import KeyPath, spell
from dropmill.config.problems import ConfigProblem
from dropmill.config.wording import render
from dropmill.foundation.guard import Returned, run_guarded

__all__ = ["Place", "Survey", "problems", "survey"]

_EACH = 1.0
_ALL = 5.0

_Mark = Path | tuple[int, int]


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
    """Where a path really leads: each is known by its path and, where it exists, by (st_dev, st_ino)."""

    own: frozenset[_Mark]
    above: frozenset[_Mark]
    """What it lies in."""


@dataclass(frozen=True)
class Survey:
    """What a look at the file system told."""

    spots: Mapping[Path, _Spot]
    unanswered: frozenset[Path]
    """Paths that did not answer in time."""


def survey(paths: Iterable[Path]) -> Survey:
    """Look at every path, for one second each and five in all at most."""
    deadline = time.monotonic() + _ALL
    spots: dict[Path, _Spot] = {}
    unanswered: set[Path] = set()
    for path in dict.fromkeys(paths):
        left = max(0.0, min(_EACH, deadline - time.monotonic()))
        outcome = run_guarded(partial(_look, path), limit=left, name="look at path")
        if isinstance(outcome, Returned):
            spots[path] = outcome.value
        else:
            unanswered.add(path)
            named = Path(os.path.normpath(path))
            spots[path] = _Spot(frozenset({named}), frozenset(named.parents))
    return Survey(spots, frozenset(unanswered))


def _look(path: Path) -> _Spot:
    try:
        real = path.resolve()
    except (OSError, RuntimeError):  # a loop of links: it will be offline
        real = Path(os.path.normpath(path))
    return _Spot(_marks([real]), _marks(real.parents))


def _marks(paths: Iterable[Path]) -> frozenset[_Mark]:
    marks: set[_Mark] = set()
    for path in paths:
        marks.add(path)
        with contextlib.suppress(OSError):
            found = path.stat()
            marks.add((found.st_dev, found.st_ino))
    return frozenset(marks)


class _Folders:
    """The watched folders, found by what lies in them and by what they lie in."""

    def __init__(self) -> None:
        self._by_own: dict[_Mark, Place] = {}
        self._by_above: dict[_Mark, Place] = {}

    def add(self, folder: Place, spot: _Spot) -> None:
        for mark in spot.own:
            self._by_own.setdefault(mark, folder)
        for mark in spot.above:
            self._by_above.setdefault(mark, folder)

    def same(self, spot: _Spot) -> Place | None:
        return _first(self._by_own, spot.own)

    def around(self, spot: _Spot) -> Place | None:
        return _first(self._by_own, spot.above)

    def within(self, spot: _Spot) -> Place | None:
        return _first(self._by_above, spot.own)


def _first(places: Mapping[_Mark, Place], marks: Iterable[_Mark]) -> Place | None:
    return next((places[mark] for mark in marks if mark in places), None)


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
    watched = _Folders()
    file = looked.spots[document.path]
    for folder in folders:
        spot = looked.spots[folder.path]
        yield from _overlap(document, folder, spot, watched)
        watched.add(folder, spot)
        if state is not None and looked.spots[state.path].own & spot.above:
            yield document.problem(
                folder.key,
                "DM-C027",
                f"lies inside the agent's state folder ({state.path})",
                "keep watched folders out of it: the agent alone may write there",
                value=render(folder.written),
            )
        if spot.own & (file.above | file.own):
            yield document.problem(
                folder.key,
                "DM-C026",
                "holds this configuration file, which would be taken for a dropped file",
                "watch a folder below it, such as inbox",
                value=render(folder.written),
            )
    for place in ours:
        spot = looked.spots[place.path]
        around = watched.same(spot) or watched.around(spot)
        if around is not None:
            yield document.problem(
                place.key,
                "DM-C027" if place is state else "DM-C026",
                f"{place.label} lies inside the watched {around.label} ({spell(around.key)} = {render(around.written)})",
                "choose a place outside: what is written there would be taken for a dropped file",
                value=render(place.written),
            )


def _overlap(document: Document, folder: Place, spot: _Spot, earlier: _Folders) -> Iterator[ConfigProblem]:
    for relation, find in (
        ("is the same folder as", earlier.same),
        ("lies inside", earlier.around),
        ("contains", earlier.within),
    ):
        other = find(spot)
        if other is not None:
            yield document.problem(
                folder.key,
                "DM-C025",
                f"{relation} {other.label} ({spell(other.key)} = {render(other.written)})",
                "let every watched folder have a place of its own: its files would be taken twice",
                value=render(folder.written),
            )
            return
