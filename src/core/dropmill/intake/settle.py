"""When a file counts as written to its end; pure, on observations and monotonic time.

A file is settled when its stamp (size, both times, device, inode) was the same in two observations or more that span at least
the settle time. Its own times are never compared with a clock of ours: they come from another machine, or from an archive.
"""

from __future__ import annotations

import os
from collections import deque
from typing import NamedTuple, TypeAlias

from dropmill.queue.records import FileIdentity

__all__ = ["Gaps", "Stamp", "Watched", "identity_of", "observe", "settled", "stamp_of"]

Stamp: TypeAlias = tuple[int, int, int, int, int]
"""(size, mtime_ns, ctime_ns, device, inode)."""


def stamp_of(status: os.stat_result) -> Stamp:
    modified, changed = status.st_mtime_ns, status.st_ctime_ns
    # usually equal: one number in memory then, not two
    return (status.st_size, modified, modified if changed == modified else changed, status.st_dev, status.st_ino)


def identity_of(stamp: Stamp) -> FileIdentity:
    """The stamp as the queue's record keeps it."""
    return FileIdentity(*stamp)


class Watched(NamedTuple):
    """What the observations of one file have shown so far."""

    stamp: Stamp
    since: float
    """When this stamp was first observed."""
    last: float
    """When it was last observed."""
    first: float
    """When the path was first observed."""


def observe(before: Watched | None, stamp: Stamp, now: float) -> Watched:
    """Add an observation. Another inode under the name is another file: its history starts anew."""
    if before is None or before.stamp[3:] != stamp[3:]:
        return Watched(stamp, now, now, now)
    if before.stamp != stamp:
        return Watched(stamp, now, now, before.first)
    return Watched(stamp, before.since, max(before.last, now), before.first)


def settled(watched: Watched, settle: float) -> bool:
    """Whether two observations or more of the same stamp span the settle time."""
    return watched.last > watched.since and watched.last - watched.since >= settle


class Gaps:
    """Learns how long a folder's writers pause: where a file changed after it had looked settled, the settle time grows.

    Such gaps are seen where something else kept the file from being taken meanwhile (its writer had it open). One and a half
    times the longest gap of the last hour is waited for, at most `limit` seconds.
    """

    FACTOR = 1.5
    MEMORY = 3600.0
    KEPT = 64

    def __init__(self, settle: float, *, limit: float = 60.0) -> None:
        self._configured = settle
        self._limit = max(limit, settle)
        self._gaps: deque[tuple[float, float]] = deque(maxlen=self.KEPT)

    def note(self, before: Watched, stamp: Stamp, now: float) -> None:
        """Look at a change: a pause that was longer than the settle time is remembered. Empty files have only been begun."""
        gap = now - before.since
        if before.stamp != stamp and before.stamp[3:] == stamp[3:] and before.stamp[0] and gap > self._configured:
            self._gaps.append((now, gap))

    def settle(self, now: float) -> float:
        """The settle time to use now: the configured one, or longer."""
        while self._gaps and now - self._gaps[0][0] > self.MEMORY:
            self._gaps.popleft()
        if not self._gaps:
            return self._configured
        longest = max(gap for _, gap in self._gaps)
        return max(self._configured, min(self.FACTOR * longest, self._limit))
