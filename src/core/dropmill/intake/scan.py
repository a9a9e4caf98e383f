"""One pass over a root: the candidates that lie there now, with their stamps. It keeps no state and decides nothing.

Ignored files cost nothing but their share of the directory read: a name is judged before anything is asked about the file,
and our own folders are never entered. Symbolic links are not followed, at any depth: every folder is opened component by
component below the root's descriptor. Memory is bounded by `limit`, whatever lies in the folder.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from dropmill.intake.beneath import open_beneath
from dropmill.intake.names import NameFilter
from dropmill.intake.settle import Stamp, stamp_of

__all__ = ["LIMIT", "Candidate", "Listing", "Order", "fingerprint", "list_candidates", "rank"]

Order: TypeAlias = Literal["oldest", "newest", "name"]

LIMIT = 32_768
"""Candidates that are kept of one folder at a time; the rest is counted, and found again once there is room."""
_SIGN_EVERY = 512
_VANISHED = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}


Candidate: TypeAlias = tuple[int, str, Stamp, float]
"""A regular file whose name is wanted: its rank in the folder's order, its path relative to the root, its stamp, and when that
was seen (monotonic). Plain tuples, as there may be tens of thousands."""


def rank(order: Order, stamp: Stamp) -> int:
    """What candidates are sorted by, before their paths: modification time, or nothing."""
    if order == "oldest":
        return stamp[1]
    return -stamp[1] if order == "newest" else 0


@dataclass(kw_only=True)
class Listing:
    """What a pass found."""

    candidates: list[Candidate] = field(default_factory=list)
    """The first `limit` in order, sorted."""
    total: int = 0
    """How many there are, with those beyond the limit."""
    aside: int = 0
    """Candidates that were looked at before and wait for a change."""
    unmarked: int = 0
    """Files that have no marker yet."""
    folders: list[str] = field(default_factory=list)
    """Relative paths of the folders that were read; the root is the empty one."""
    unreadable: dict[str, OSError] = field(default_factory=dict)
    """Folders and files that could not be looked at, at most a hundred."""

    def trouble(self, path: str, error: OSError) -> None:
        if error.errno not in _VANISHED and len(self.unreadable) < 100:
            self.unreadable[path] = error


def list_candidates(
    root: int,
    names: NameFilter,
    *,
    start: str = "",
    recursive: bool = False,
    max_depth: int = 32,
    order: Order = "oldest",
    limit: int = LIMIT,
    aside: Container[int] = frozenset(),
    now: Callable[[], float] = time.monotonic,
    sign: Callable[[], None] = lambda: None,
    enter: Callable[[str], None] = lambda _: None,
) -> Listing:
    """Read the root (an open descriptor), or the part of it below `start`.

    Args:
        aside: Fingerprints of files that need not be looked at again as they are.
        now: The monotonic clock.
        sign: Called now and then, to show progress.
        enter: Called with each folder before it is read (watch first, then scan).

    Raises:
        OSError: the root (or `start`) itself cannot be read.
    """
    reading = _Reading(root, names, order, limit, aside, now, sign)
    listing = reading.listing
    waiting = [start]
    while waiting:
        folder = waiting.pop()
        enter(folder)
        try:
            inner = reading.read(folder)
        except OSError as error:
            if folder == start:
                raise
            listing.trouble(folder, error)
            continue
        listing.folders.append(folder)
        if recursive and (folder.count("/") + 1 if folder else 0) < max_depth:
            waiting += inner
    listing.candidates.sort()
    del listing.candidates[limit:]
    return listing


def fingerprint(path: str, stamp: Stamp) -> int:
    """A number for a file as it is, to remember very many of them by."""
    return hash((path, stamp))


class _Reading:
    """Reads folders into a listing."""

    def __init__(
        self,
        root: int,
        names: NameFilter,
        order: Order,
        limit: int,
        aside: Container[int],
        now: Callable[[], float],
        sign: Callable[[], None],
    ) -> None:
        self.listing = Listing()
        self._root = root
        self._names = names
        self._order: Order = order
        self._limit = limit
        self._room = limit + max(1024, limit // 4)
        self._aside = aside
        self._now = now
        self._sign = sign

    def read(self, folder: str) -> list[str]:
        """Add a folder's candidates; its inner folders that are to be entered."""
        prefix = f"{folder}/" if folder else ""
        inner: list[str] = []
        descriptor = open_beneath(self._root, folder)
        try:
            marked = self._marked(descriptor) if self._names.wants_markers else None
            with os.scandir(descriptor) as entries:
                for count, entry in enumerate(entries):
                    if count % _SIGN_EVERY == 0:
                        self._sign()
                    name = entry.name
                    path = prefix + name
                    try:
                        if not entry.is_file(follow_symlinks=False):
                            if entry.is_dir(follow_symlinks=False) and self._names.enters(name, path):
                                inner.append(path)
                        elif self._names.takes(name, path):
                            if marked is None or name in marked or os.path.splitext(name)[0] in marked:
                                self._add(path, stamp_of(entry.stat(follow_symlinks=False)))
                            else:
                                self.listing.unmarked += 1
                    except OSError as error:
                        self.listing.trouble(path, error)
        finally:
            os.close(descriptor)
        return inner

    def _add(self, path: str, stamp: Stamp) -> None:
        listing = self.listing
        if self._aside and fingerprint(path, stamp) in self._aside:
            listing.aside += 1
            return
        listing.total += 1
        found = listing.candidates
        found.append((rank(self._order, stamp), path, stamp, self._now()))
        if len(found) >= self._room:
            found.sort()
            del found[self._limit :]

    def _marked(self, descriptor: int) -> set[str]:
        """The names and stems that the folder's markers speak of."""
        with os.scandir(descriptor) as entries:
            return {self._names.marked(entry.name) for entry in entries if self._names.is_marker(entry.name)}
