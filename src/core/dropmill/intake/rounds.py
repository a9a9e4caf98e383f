"""Round after round of one attached folder: look, claim a group, put the group before on record.

Two groups are under way: while one is hashed, the one before has been moved and waits for its word. One flush brings the data
of the first and the moves of the second to disk, so that a group costs one flush and two transactions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dropmill.config.settings import FolderSettings
from dropmill.foundation.clock import Clock
from dropmill.foundation.errors import Problem
from dropmill.foundation.failpoints import Failpoints
from dropmill.intake.claim import Claimer
from dropmill.intake.fates import carry_out, decide
from dropmill.intake.group import Claiming, Group
from dropmill.intake.inbox import Inbox, Outlook
from dropmill.intake.thread import RootThread
from dropmill.queue.errors import QueueError
from dropmill.queue.store import QueueStore

__all__ = ["Round", "Rounds"]


@dataclass(frozen=True, kw_only=True)
class Round:
    """What a round brought."""

    outlook: Outlook
    next_look: float
    """When there is something to do without a hint (monotonic); in the past: at once."""
    claimed: int = 0
    """Files whose claim was put on record in it."""
    problem: Problem | None = None
    """What stood in the way of claiming, and is no fault of a single file."""


class Rounds:
    """The rounds of one attachment; `abandon` it in the end, however it ended."""

    def __init__(
        self,
        settings: FolderSettings,
        inbox: Inbox,
        claimer: Claimer,
        store: QueueStore,
        thread: RootThread,
        *,
        clock: Clock,
        failpoints: Failpoints,
    ) -> None:
        self._settings = settings
        self._inbox = inbox
        self._claimer = claimer
        self._store = store
        self._thread = thread
        self._clock = clock
        self._failpoints = failpoints
        self._prepared = Group()
        self._moved = Group(moved=True)

    @property
    def pending(self) -> bool:
        """Claims are under way that have not been put on record."""
        return bool(self._moved.files or self._prepared.files)

    async def turn(self, allowance: int) -> Round:
        """One round, in which up to `allowance` further files are claimed.

        Raises:
            FolderOffline, OSError: the root cannot be used, or does not keep what is written.
        """
        outlook, next_look = await self._thread.call(self._begin, allowance)
        claimed = 0
        problem = _trouble(self._settings, self._prepared.trouble)
        try:
            claimed = await self._settle_moved()
            await self._enter_prepared()
        except QueueError as error:
            problem = Problem(
                code="DM-I008",
                what=f"files cannot be claimed: {error.problem.what}",
                where=self._settings.name,
                todo=error.problem.todo or "nothing: it is tried again",
            )
            await self._thread.call(self._release, problem.what)
        if self._prepared.files:
            await self._thread.call(self._claimer.move, self._prepared)
            problem = problem or _trouble(self._settings, self._prepared.trouble)
            self._moved, self._prepared = self._prepared, Group()
            next_look = 0.0
        elif self._moved.files:
            next_look = self._clock.monotonic() + 1.0 if problem is not None else 0.0
        return Round(outlook=outlook, next_look=next_look, claimed=claimed, problem=problem)

    def abandon(self) -> None:
        """Let go of everything that is open; what was moved is resolved by the next recovery."""
        for group in (self._prepared, self._moved):
            self._thread.submit(group.close)
        self._prepared, self._moved = Group(), Group(moved=True)

    # --- in the root's thread ------------------------------------------------------------------------------------------------

    def _begin(self, allowance: int) -> tuple[Outlook, float]:
        scanned = self._inbox.look()
        self._prepared = self._claimer.prepare(allowance) if allowance > 0 else Group()
        self._claimer.sync(self._prepared, self._moved)
        outlook = self._inbox.outlook(scanned)
        due = self._inbox.tracker.next_due(self._clock.monotonic()) if allowance > 0 else None
        return outlook, self._inbox.next_scan if due is None else min(due, self._inbox.next_scan)

    def _release(self, detail: str) -> None:
        self._claimer.release(self._prepared, detail)
        self._prepared = Group()

    # --- on the event loop -----------------------------------------------------------------------------------------------------

    async def _settle_moved(self) -> int:
        """Put the moves of the group before on record. What has been said once is not said again after an error."""
        group = self._moved
        if not group.files:
            return 0
        words = group.words
        if words.confirm:
            await self._store.confirm_files(words.confirm)
            words.confirm = []
        self._failpoints.hit("claim.confirmed")
        while words.settle:
            file_id, fate = words.settle[-1]
            await carry_out(self._store, file_id, fate)
            words.settle.pop()
        while words.remove:
            reason, ids = next(iter(words.remove.items()))
            await self._store.remove_files(ids, reason)
            del words.remove[reason]
        await self._thread.call(self._claimer.finish, group)
        self._moved = Group(moved=True)
        return sum(not file.undone for file in group.files)

    async def _enter_prepared(self) -> None:
        """Decide what becomes of each file of the new group, and write its rows."""
        group = self._prepared
        if not group.files:
            return
        if self._settings.duplicates != "process" or self._settings.zero_byte == "quarantine":
            await self._decide(group.files)
            await self._thread.call(self._claimer.put_off, group)
        if group.files:
            await self._store.add_files(self._claimer.rows(group))
            self._failpoints.hit("claim.added")

    async def _decide(self, files: Sequence[Claiming]) -> None:
        contents: set[str] = set()
        for file in files:
            file.fate = await decide(self._settings, self._store, file.held.sha256, file.held.stamp[0], contents)


def _trouble(settings: FolderSettings, error: OSError | None) -> Problem | None:
    if error is None:
        return None
    return Problem(
        code="DM-I008",
        what=f"files cannot be claimed: {error.strerror or error}",
        where=str(settings.path),
        todo="free space on the file system, mount it for writing, or see what ails the disk; it is tried again by itself",
    )
