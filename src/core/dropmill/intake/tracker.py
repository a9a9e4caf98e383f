"""Which waiting files are to be looked at when: bookkeeping over observations, bounded, without any I/O.

A file stands here from its first observation until it is claimed or gone. It *settles* until its next look is due, is then
handed out in the folder's order, and comes back with a reason where it could not be taken. Oldest first holds over all that are
due, before any batch is cut; a file that waits for a reason of its own never stands before another.
"""

from __future__ import annotations

import enum
import heapq
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from dropmill.intake.scan import LIMIT, Candidate, Listing, Order, fingerprint, rank
from dropmill.intake.settle import Gaps, Stamp, Watched, observe

__all__ = ["Track", "Tracker", "Why"]

_SLACK = 1024
_FEW = 64
_STUCK = 1000
"""Files that are kept while they wait for a change or a right; more of them must not take the places of others."""
_ASIDE_LIMIT = 200_000
_ASIDE_TIME = 600.0


class Why(enum.StrEnum):
    """Why a file that is seen is not taken."""

    SETTLING = "settling"
    WRITER = "being written"
    EMPTY = "empty"
    UNREADABLE = "unreadable"
    MARKER = "waiting for its marker"
    BLOCKED = "cannot be claimed"


@dataclass(slots=True)
class Track:
    """One waiting file."""

    watched: Watched
    why: Why
    due: float
    """When it is looked at next (monotonic); infinite: only after a change, a hint or a full scan."""
    seen: int
    """The last full scan that found it."""
    tries: int = 0
    """Looks in a row that ended with the same reason."""
    detail: str = ""
    renamed_in: bool = False
    """It came by a rename, whole."""
    queued: bool = False
    reported: bool = False


class Tracker:
    """The waiting files of one folder."""

    def __init__(self, *, gaps: Gaps, order: Order = "oldest", limit: int = LIMIT, quick: float = 0.25) -> None:
        """`quick` is the settle time of a file that was renamed in, where it is shorter than the folder's."""
        self._gaps = gaps
        self._order: Order = order
        self._limit = limit
        self._quick = quick
        self._tracks: dict[str, Track] = {}
        self._due: list[tuple[float, str]] = []
        self._ready: list[tuple[int, str]] = []
        self._scan = 0
        self.untracked = 0
        """Candidates that the last full scan found beyond the limit."""
        self._stuck: set[str] = set()
        self.aside: set[int] = set()
        """Fingerprints of files that wait for a change and are too many to keep: full scans leave them out as they are."""
        self.put_aside = 0
        """How many files are left out so."""
        self._aside_since = -math.inf

    def __len__(self) -> int:
        return len(self._tracks)

    def __iter__(self) -> Iterator[tuple[str, Track]]:
        return iter(list(self._tracks.items()))

    def get(self, path: str) -> Track | None:
        return self._tracks.get(path)

    @property
    def wants_scan(self) -> bool:
        """More files wait than are tracked, and there is room for them now."""
        return self.untracked > 0 and len(self._tracks) <= self._limit // 2

    def counts(self) -> Counter[str]:
        """How many wait for which reason."""
        counts = Counter(track.why.value for track in list(self._tracks.values()))
        if self.put_aside:
            counts["looked at before, unchanged"] = self.put_aside
        return counts

    # --- observations ----------------------------------------------------------------------------------------------------

    def reconcile(self, listing: Listing, now: float) -> None:
        """Take over a full scan: what it did not find is gone."""
        self._scan += 1
        candidates: Sequence[Candidate] = listing.candidates
        fresh = []
        for _, path, stamp, at in candidates:
            if path in self._tracks:
                self._observe(path, stamp, at)
            else:
                due = at + self._gaps.settle(at)
                self._tracks[path] = Track(observe(None, stamp, at), Why.SETTLING, due, self._scan)
                fresh.append((due, path))
        if fresh:
            self._due += fresh
            heapq.heapify(self._due)
        for path in [path for path, track in self._tracks.items() if track.seen != self._scan]:
            del self._tracks[path]
        self.untracked = max(0, listing.total - len(candidates))
        self.put_aside = listing.aside
        self._stuck.intersection_update(self._tracks)
        if now - self._aside_since > _ASIDE_TIME or len(self.aside) > _ASIDE_LIMIT:
            self.aside.clear()  # now and then each is looked at again, as it is: a right may have been given
            self._aside_since = now
        self._compact()

    def observe(self, path: str, stamp: Stamp, now: float, *, renamed_in: bool = False) -> None:
        """A single look at a file, after a hint. New files beyond the limit are left to the next full scan."""
        if path not in self._tracks and len(self._tracks) >= self._limit:
            self.untracked += 1
            return
        track = self._observe(path, stamp, now)
        if renamed_in and track.watched.since == now:
            track.renamed_in = True
            self._schedule(path, track, now)
        elif track.due > now and track.why is not Why.SETTLING:
            self._settle_again(path, track, now)  # whatever held it back may be over

    def forget(self, path: str) -> None:
        """It was claimed, or is gone."""
        self._tracks.pop(path, None)
        self._stuck.discard(path)

    def _observe(self, path: str, stamp: Stamp, now: float) -> Track:
        track = self._tracks.get(path)
        if track is None:
            track = Track(observe(None, stamp, now), Why.SETTLING, 0.0, self._scan)
            self._tracks[path] = track
            self._schedule(path, track, now)
            return track
        track.seen = self._scan
        before = track.watched
        track.watched = observe(before, stamp, now)
        if before.stamp == stamp:
            if track.due == math.inf and not track.queued and track.why is not Why.EMPTY:
                self._settle_again(path, track, now)
            return track
        if track.why is Why.WRITER:  # one that only waited for its turn says nothing of its writer's pauses
            self._gaps.note(before, stamp, now)
        track.renamed_in = False
        if before.stamp[3:] != stamp[3:]:
            track.reported = False
        self._settle_again(path, track, now)
        return track

    def _settle_again(self, path: str, track: Track, now: float) -> None:
        self._stuck.discard(path)
        track.why, track.detail, track.tries = Why.SETTLING, "", 0
        self._schedule(path, track, now)

    def _schedule(self, path: str, track: Track, now: float) -> None:
        track.queued = False
        track.due = track.watched.since + self.settle_time(track, now)
        heapq.heappush(self._due, (track.due, path))

    def settle_time(self, track: Track, now: float) -> float:
        """Seconds for which the file's stamp must stand still."""
        settle = self._gaps.settle(now)
        return min(settle, self._quick) if track.renamed_in else settle

    # --- handing out ---------------------------------------------------------------------------------------------------------

    def take(self, now: float, limit: int) -> list[str]:
        """Up to `limit` files whose next look is due, in the folder's order. They stay tracked; each must then be either
        forgotten, observed or postponed."""
        self._queue_due(now)
        taken: list[str] = []
        while self._ready and len(taken) < limit:
            key, path = heapq.heappop(self._ready)
            track = self._tracks.get(path)
            if track is None or not track.queued or key != rank(self._order, track.watched.stamp):
                continue
            track.queued = False
            track.due = math.inf
            taken.append(path)
        return taken

    def _queue_due(self, now: float) -> None:
        """Move what is due over to the queue that is in the folder's order."""
        for _ in range(_FEW):
            if not self._due or self._due[0][0] > now:
                return
            self._queue(*heapq.heappop(self._due))
        due = [entry for entry in self._due if entry[0] <= now]  # many: all of them at once
        self._due = [entry for entry in self._due if entry[0] > now]
        heapq.heapify(self._due)
        for entry in due:
            self._queue(*entry, push=list.append)
        heapq.heapify(self._ready)

    def _queue(
        self, due: float, path: str, push: Callable[[list[tuple[int, str]], tuple[int, str]], None] = heapq.heappush
    ) -> None:
        track = self._tracks.get(path)
        if track is not None and track.due == due and not track.queued:
            track.queued = True
            push(self._ready, (rank(self._order, track.watched.stamp), path))

    def give_back(self, path: str) -> None:
        """It was handed out and not looked at: it is due at once."""
        track = self._tracks.get(path)
        if track is not None:
            track.queued = True
            heapq.heappush(self._ready, (rank(self._order, track.watched.stamp), path))

    def postpone(self, path: str, why: Why, until: float, detail: str = "") -> None:
        """It cannot be taken for now."""
        track = self._tracks.get(path)
        if track is None:
            return
        if why in (Why.EMPTY, Why.UNREADABLE):
            if path not in self._stuck and len(self._stuck) >= min(_STUCK, self._limit // 4):
                self.aside.add(fingerprint(path, track.watched.stamp))
                self.put_aside += 1
                self.forget(path)
                return
            self._stuck.add(path)
        track.tries = track.tries + 1 if track.why is why else 1
        track.why, track.detail, track.queued, track.due = why, detail, False, until
        if until < math.inf:
            heapq.heappush(self._due, (until, path))

    def tries(self, path: str, why: Why) -> int:
        """How many looks in a row ended for this reason."""
        track = self._tracks.get(path)
        return track.tries if track is not None and track.why is why else 0

    def next_due(self, now: float) -> float | None:
        """When `take` has something next; None: nothing is scheduled."""
        while self._ready:
            key, path = self._ready[0]
            track = self._tracks.get(path)
            if track is not None and track.queued and key == rank(self._order, track.watched.stamp):
                return now
            heapq.heappop(self._ready)
        while self._due:
            due, path = self._due[0]
            track = self._tracks.get(path)
            if track is not None and track.due == due and not track.queued:
                return due
            heapq.heappop(self._due)
        return None

    def _compact(self) -> None:
        room = 2 * len(self._tracks) + _SLACK
        if len(self._due) > room:
            self._due = [(track.due, path) for path, track in self._tracks.items() if track.due < math.inf]
            heapq.heapify(self._due)
        if len(self._ready) > room:
            self._ready = [
                (rank(self._order, track.watched.stamp), path) for path, track in self._tracks.items() if track.queued
            ]
            heapq.heapify(self._ready)
