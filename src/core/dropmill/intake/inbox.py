"""What lies in a root and waits: looks at it when there is reason to, and knows of every candidate why it is not taken yet.

Runs in the root's own thread. A look is a full scan (at the start, every `rescan` seconds, after events were lost, when the root
has returned) or only at what hints name; either way what counts is what stat(2) says, never the event. Without events, scans
come more often.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from dropmill.config.settings import FolderSettings
from dropmill.foundation.clock import Clock
from dropmill.foundation.errors import Problem
from dropmill.intake.beneath import open_beneath
from dropmill.intake.names import NameFilter, printable
from dropmill.intake.root import Root
from dropmill.intake.scan import LIMIT, Listing, list_candidates
from dropmill.intake.settle import Gaps, stamp_of
from dropmill.intake.tracker import Tracker, Why
from dropmill.intake.watch import Hint, Hints, Watch, WatchesExhausted

__all__ = ["POLL", "Inbox", "Outlook", "name_filter"]

_log = structlog.get_logger(__name__)

POLL = 10.0
"""Seconds between scans where there are no events, unless `rescan` is shorter."""
_REPORTS = 20


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What a look found."""

    waiting: int
    """Candidates that are not claimed."""
    reasons: dict[str, int]
    """How many of those that were looked at wait for which reason."""
    scanned: bool
    """It was a full scan."""
    watching: str
    """`events` or `polling`."""
    problem: Problem | None = None
    """What makes the folder degraded."""
    reports: list[Problem] = field(default_factory=list)
    """New since the last look: files that never settle, cannot be read, stay empty."""


def name_filter(settings: FolderSettings) -> NameFilter:
    """The folder's patterns, and what is ours inside it."""
    own = []
    for folder in (settings.done, settings.failed):
        try:
            own.append(str(folder.relative_to(settings.path)))
        except ValueError:
            continue  # it lies elsewhere
    markers = settings.marker_suffixes if settings.ready == "marker" else ()
    return NameFilter(settings.include, settings.exclude, own=own, marker_suffixes=markers)


class Inbox:
    """The waiting files of one attached root."""

    def __init__(
        self,
        settings: FolderSettings,
        root: Root,
        hints: Hints,
        *,
        clock: Clock,
        sign: Callable[[], None] = lambda: None,
        limit: int = LIMIT,
        max_depth: int = 32,
    ) -> None:
        self.tracker = Tracker(gaps=Gaps(settings.settle), order=settings.order, limit=limit)
        self.names = name_filter(settings)
        self._settings = settings
        self._root = root
        self._hints = hints
        self._clock = clock
        self._sign = sign
        self._limit = limit
        self._max_depth = max_depth
        self._watch: Watch | None = None
        self._watch_problem: Problem | None = None
        self.next_scan = 0.0
        """When a full scan is due (monotonic)."""
        self._next_watch = 0.0
        self._unreadable: dict[str, OSError] = {}
        self._unmarked = 0

    # --- watching ------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """The root was attached: watch first, then scan at the next look."""
        self.next_scan = 0.0
        self._rewatch()

    def close(self) -> None:
        """End the watch; what is tracked is forgotten with this object."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    @property
    def watching(self) -> str:
        return "events" if self._watch is not None else "polling"

    def _rewatch(self) -> None:
        self.close()
        self._hints.take()  # whatever they said, a full scan follows
        self._next_watch = self._clock.monotonic() + max(60.0, self._settings.rescan)
        self._watch_problem = None
        if self._root.remote:
            return  # events would tell of this machine's writers alone
        try:
            self._watch = Watch(self._root.path, self._hints)
        except WatchesExhausted as error:
            self._exhausted(error)
        except OSError as error:
            self._watch_problem = Problem(
                code="DM-I007",
                what=f"the folder cannot be watched for events and is scanned every {self._poll():g} s: {error.strerror}",
                where=self._root.path,
                todo="nothing, if that is fast enough; else see that the agent's user may read the folder",
            )

    def _exhausted(self, error: WatchesExhausted) -> None:
        self.close()
        self._watch_problem = Problem(
            code="DM-I007",
            what=f"the kernel grants no more watches ({error}); the folder is scanned every {self._poll():g} s instead",
            where=self._root.path,
            todo="raise fs.inotify.max_user_watches and fs.inotify.max_user_instances (sysctl -w ...=N), then rescan the folder",
        )

    def _poll(self) -> float:
        return min(POLL, self._settings.rescan)

    # --- looking -------------------------------------------------------------------------------------------------------------

    def ask_scan(self) -> None:
        """The next look is a full scan, and tries to watch again where there are no events. Any thread."""
        self._next_watch = 0.0
        self._hints.ask_scan()

    def look(self) -> bool:
        """Look at what there is reason to look at; whether that was everything.

        Raises:
            FolderOffline: the root is not what it was.
            OSError: it cannot be read.
        """
        self._root.check()
        batch = self._hints.take()
        now = self._clock.monotonic()
        scan = batch.scan or now >= self.next_scan or self.tracker.wants_scan
        if batch.lost or (scan and self._watch is not None and self._watch.silent):
            _log.warning(
                "watching is started anew", folder=self._settings.name, why=batch.lost or "no event came through"
            )
            self._rewatch()
        elif scan and self._watch is None and not self._root.remote and now >= self._next_watch:
            self._rewatch()
        if scan:
            self._scan()
        else:
            for path, hint in batch.paths.items():
                self._sign()
                self._hint(path, hint)
        return scan

    def _scan(self) -> None:
        listing = self._list("")
        ended = self._clock.monotonic()
        self.tracker.reconcile(listing, ended)
        self._unmarked = listing.unmarked
        self._unreadable = listing.unreadable
        self.next_scan = ended + (self._settings.rescan if self._watch is not None else self._poll())
        if self._watch is not None:
            self._watch.keep(listing.folders)
            self._watch.sing()

    def _list(self, start: str) -> Listing:
        return list_candidates(
            self._root.descriptor,
            self.names,
            start=start,
            recursive=self._settings.recursive,
            max_depth=self._max_depth,
            order=self._settings.order,
            limit=self._limit,
            aside=self.tracker.aside,
            now=self._clock.monotonic,
            sign=self._sign,
            enter=self._enter,
        )

    def _enter(self, folder: str) -> None:
        """A folder is about to be read: it is watched first, so that nothing falls between."""
        if self._watch is not None:
            try:
                self._watch.add(folder)
            except WatchesExhausted as error:
                self._exhausted(error)

    def _hint(self, path: str, hint: Hint) -> None:
        folder, _, name = path.rpartition("/")
        if hint is Hint.FOLDER:
            if self._settings.recursive and self.names.enters(name, path):
                self._look_into(path)
            return
        if self.names.is_marker(name):
            marked = self.names.marked(name)
            if not self._see(folder, marked, Hint.CLOSED):
                self._hints.ask_scan()  # it speaks of a stem, perhaps of several files
        elif self.names.takes(name, path) and not self._see(folder, name, hint):
            self.tracker.forget(path)

    def _see(self, folder: str, name: str, hint: Hint) -> bool:
        """Observe a single file; whether it is there."""
        path = f"{folder}/{name}" if folder else name
        try:
            if folder:
                parent = open_beneath(self._root.descriptor, folder)
                try:
                    status = os.stat(name, dir_fd=parent, follow_symlinks=False)
                finally:
                    os.close(parent)
            else:
                status = os.stat(name, dir_fd=self._root.descriptor, follow_symlinks=False)
        except OSError:
            return False
        if not stat.S_ISREG(status.st_mode) or not self.names.takes(name, path):
            return False
        now = self._clock.monotonic()
        self.tracker.observe(path, stamp_of(status), now, renamed_in=hint is Hint.RENAMED_IN)
        return True

    def _look_into(self, folder: str) -> None:
        """A folder has appeared."""
        try:
            listing = self._list(folder)
        except OSError:
            return  # gone again, or a full scan will tell
        for _, path, stamp, at in listing.candidates:
            self.tracker.observe(path, stamp, at)

    # --- telling ---------------------------------------------------------------------------------------------------------------

    def outlook(self, scanned: bool) -> Outlook:
        """What is to be told after a look."""
        now = self._clock.monotonic()
        return Outlook(
            waiting=len(self.tracker) + self.tracker.untracked + self.tracker.put_aside + self._unmarked,
            reasons=self._reasons() if scanned or len(self.tracker) < 1000 else {},
            scanned=scanned,
            watching=self.watching,
            problem=self._watch_problem or self._unreadable_problem(),
            reports=self._reports(now) if scanned else [],
        )

    def _reasons(self) -> dict[str, int]:
        counts = self.tracker.counts()
        counts[Why.MARKER.value] += self._unmarked
        return dict(+counts)

    def _unreadable_problem(self) -> Problem | None:
        if not self._unreadable:
            return None
        path, error = next(iter(self._unreadable.items()))
        more = f" (and {len(self._unreadable) - 1} more)" if len(self._unreadable) > 1 else ""
        return Problem(
            code="DM-I009",
            what=f"something in the folder cannot be looked at: {error.strerror}{more}",
            where=os.path.join(self._root.path, printable(path)),
            todo="give the agent's user the right to read it, or exclude it",
        )

    def _reports(self, now: float) -> list[Problem]:
        """Files that have waited too long for a reason of their own, each reported once."""
        reports: list[Problem] = []
        for path, track in self.tracker:
            waited = now - track.watched.first
            if track.reported or waited < self._settings.stuck_after or track.why is Why.MARKER:
                continue
            unsettled = track.why in (Why.WRITER, Why.EMPTY, Why.UNREADABLE, Why.BLOCKED)
            if not unsettled and now - track.watched.since > self.tracker.settle_time(track, now):
                continue  # settled: it only waits for its turn
            track.reported = True
            reports.append(_stuck(os.path.join(self._root.path, printable(path)), track.why, track.detail, waited))
            if len(reports) >= _REPORTS:
                break
        return reports


def _stuck(where: str, why: Why, detail: str, waited: float) -> Problem:
    what, todo, code = {
        Why.WRITER: (
            "a program has had the file open for writing",
            "see which one (lsof), and end it if it hangs",
            "DM-I010",
        ),
        Why.EMPTY: ("the file has been empty", "remove it, or set zero_byte to take or quarantine", "DM-I011"),
        Why.UNREADABLE: (
            f"the file could not be read ({detail})",
            "give the agent's user the right to read it",
            "DM-I012",
        ),
        Why.BLOCKED: (f"the file could not be claimed ({detail})", "see what the folder's state says", "DM-I013"),
    }.get(why, ("the file has kept changing", "see which program writes to it", "DM-I010"))
    return Problem(code=code, what=f"{what} for {waited:.0f} s; it is not taken", where=where, todo=todo)
