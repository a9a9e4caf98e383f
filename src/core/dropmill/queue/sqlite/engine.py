"""The database and the payload files, driven by one thread: groups of operations in, results out.

A group is one transaction: payloads synced, then one commit, then the answers. An operation that cannot be carried out never
harms its neighbours: it says so before it changes anything, or the group is rolled back and run again one by one. A full disk
costs the ballast and new offers, not acknowledgements. After an I/O error the database is opened anew; nothing is ever synced
twice in the hope that it works the second time.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from dropmill.config.settings import QueueSettings
from dropmill.foundation.clock import Clock
from dropmill.foundation.failpoints import Failpoints
from dropmill.foundation.files import fsync_directory
from dropmill.queue.capacity import Capacity
from dropmill.queue.errors import QueueError, StoreClosed, StoreUnavailable
from dropmill.queue.records import Gauges
from dropmill.queue.sqlite import faults, recovery, salvage, schema
from dropmill.queue.sqlite.ballast import Ballast
from dropmill.queue.sqlite.ledger import Ledger
from dropmill.queue.sqlite.operation import Group, Operation
from dropmill.queue.sqlite.payloads import Payloads
from dropmill.queue.sqlite.segments import SyncFailed
from dropmill.queue.sqlite.transaction import Notice, Shared, Transaction

__all__ = ["Engine"]

_LOG_SIZE = 16 * 1024 * 1024
_WAL_PAGES = _LOG_SIZE // 4096
"""16 MB: when this much is in the write-ahead log it is copied into the database even if there is work waiting."""
_REOPEN_EVERY = 1.0
_STEP = 2.0
"""Seconds by which the wall clock may be corrected without anybody noticing."""
_DISK_EVERY = 1.0
_HEAL_EVERY = 60.0
"""A disk that damages what is written to it must not fill `quarantine/`."""


class Engine:
    """Belongs to one thread from `open` to `close`."""

    def __init__(
        self,
        state: Path,
        settings: QueueSettings,
        *,
        clock: Clock,
        failpoints: Failpoints,
        instance: str,
        free_disk: Callable[[Path], int],
        listening: bool,
    ) -> None:
        self._state = state
        self._path = state / "queue.db"
        self._clock = clock
        self._failpoints = failpoints
        self._free_disk = free_disk
        self._ballast = Ballast(state / "ballast")
        self.capacity = Capacity(settings)
        self._shared = Shared(instance, Ledger(), Payloads(state, failpoints), self.capacity, listening=listening)
        self._connection: sqlite3.Connection | None = None
        self._log = -1
        """Descriptor of the write-ahead log."""
        self._clock_offset = clock.time() - clock.monotonic()
        self._trouble = ""
        self._damage: sqlite3.DatabaseError | None = None
        """Found while the database was being used."""
        self._retry_at = 0.0
        self._looked_at = -1e9
        self._heal_again = -1e9
        self.file_due: float | None = None
        """As of the opening: when the next file that is held back by time is due."""
        self.commits = 0
        """Since the last checkpoint."""
        self._commits_allowed = 256
        self._log_grown = False
        self.wrote = False
        """Whether there are commits that no checkpoint has copied yet."""

    # --- life ------------------------------------------------------------------------------------------------------------

    def open(self) -> Sequence[Notice]:
        """Open, recover, and be ready; what there is to tell about it."""
        self._state.mkdir(parents=True, exist_ok=True)
        self.look_at_disk()
        notices = self._open()
        self.capacity.ballast = self._ballast.make(self._spare_disk())
        return notices

    def _open(self, *, damaged: BaseException | None = None) -> Sequence[Notice]:
        self._failpoints.hit("queue.open")
        opened = recovery.open_database(self._path, self._shared, self._clock.time(), self._failpoints, damaged=damaged)
        self._connection = opened.connection
        self.file_due = opened.file_due
        self._log = os.open(schema.log_of(self._path), os.O_RDONLY | os.O_CLOEXEC)
        fsync_directory(self._state)  # the log's own name must last, too
        self._log_grown = False
        self._sync_log()
        if opened.unchecked:
            threading.Thread(target=self._check, name="queue-check", daemon=True).start()
        self.capacity.full = self.capacity.full and not self._drained()
        self.wrote = True
        return opened.notices

    def _check(self) -> None:
        """In a thread: read a large database that was not left clean while it is used already."""
        connection = sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            salvage.check(connection)
        except sqlite3.DatabaseError as error:
            if salvage.is_damage(error):
                self._damage = error
        finally:
            connection.close()

    def close(self, *, clean: bool) -> None:
        """Give back what is held, and close; `clean` marks that nothing is left to repair."""
        connection, self._connection = self._connection, None
        self._trouble = "it is closed"
        if connection is not None:
            try:
                recovery.mark_end(connection, self._shared, self._clock.time(), clean=clean)
                self._failpoints.hit("queue.close")
                self._sync_log()
            finally:
                self._close_log()
                connection.close()
        self._shared.payloads.close()

    # --- groups ----------------------------------------------------------------------------------------------------------

    def run(self, operations: Sequence[Operation]) -> Group:
        """Carry out a group; every operation has its result or its error afterwards."""
        group = Group()
        if self._clock.monotonic() - self._looked_at >= _DISK_EVERY:
            self.look_at_disk()
        step = self._clock_step()
        if step:
            operations = (Operation(partial(recovery.shift_times, step=step)), *operations)
        self._serve(operations, group)
        if self.capacity.full and self._drained():
            self.capacity.full = False
            group.topics.update(("files", "capacity"))
        self._failpoints.hit("queue.group.committed")
        return group

    def _clock_step(self) -> float:
        """By how much the wall clock was set since the last look; 0 for what clocks do by themselves."""
        offset = self._clock.time() - self._clock.monotonic()
        step, self._clock_offset = offset - self._clock_offset, offset
        return step if abs(step) > _STEP else 0.0

    def _serve(self, operations: Sequence[Operation], group: Group) -> None:
        if self._damage is not None and self._connection is not None:
            damage, self._damage = self._damage, None
            self._heal(damage, group)
        if self._connection is None and not self._came_back(group):
            error = StoreUnavailable(
                f"the queue cannot be used: {self._trouble}", where=str(self._path), todo="free or repair the disk"
            )
            for operation in operations:
                operation.error = StoreClosed("the queue is closed") if self._trouble == "it is closed" else error
            return
        try:
            self._together(operations, group)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not end the thread that serves everybody
            self._apart(operations, group, error)

    def _apart(self, operations: Sequence[Operation], group: Group, error: Exception) -> None:
        """The group failed as a whole and was rolled back."""
        what = faults.kind(error)
        if what == "full":
            self._free_ballast(group)
        elif what == "io":
            self._broke(error)
        elif what == "damage":
            self._heal(error, group)
        if what in ("io", "busy") or (what == "other" and len(operations) == 1):
            for operation in operations:
                operation.error = faults.unavailable(error, self._state)
            return
        for operation in operations:
            if self._connection is None:
                operation.error = faults.unavailable(error, self._state)
                continue
            try:
                self._together((operation,), group)
            except Exception as again:  # noqa: BLE001
                if faults.kind(again) in ("io", "damage"):
                    self._broke(again)
                operation.error = faults.unavailable(again, self._state)

    def _together(self, operations: Sequence[Operation], group: Group) -> None:
        connection = self._connection
        assert connection is not None
        tx = Transaction(connection, self._shared, self._clock.time())
        connection.execute("BEGIN IMMEDIATE")
        committing = False
        try:
            before = connection.total_changes
            for operation in operations:
                operation.result = operation.error = None
                if not operation.defers:
                    tx.flush()
                changes, touches = connection.total_changes, tx.touches
                try:
                    operation.result = operation.run(tx)
                except QueueError as error:
                    if (connection.total_changes, tx.touches) != (changes, touches):
                        raise  # it has changed something: the group runs again without it
                    operation.error = error
            self._failpoints.hit("queue.group.applied")
            tx.prepare()
            self._failpoints.hit("queue.group.prepared")
            changed = connection.total_changes != before
            committing = True
            connection.execute("COMMIT")
            if changed and not all(operation.relaxed for operation in operations):
                self._sync_log()
        except BaseException as error:
            self._roll_back(connection)
            tx.rolled_back(certain=not (committing and faults.kind(error) == "io"))
            raise
        tx.committed()
        if changed:
            self.wrote = True
            self.commits += 1
        group.topics |= tx.topics
        group.notices += tx.notices
        if tx.file_due is not None:
            group.file_due = tx.file_due if group.file_due is None else min(tx.file_due, group.file_due)

    @staticmethod
    def _roll_back(connection: sqlite3.Connection) -> None:
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            pass  # the database is opened anew

    def _close_log(self) -> None:
        descriptor, self._log = self._log, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _sync_log(self) -> None:
        """Make every commit so far durable.

        Raises:
            SyncFailed: some may be lost.
        """
        try:
            self._failpoints.hit("queue.log.sync")
            os.fdatasync(self._log)
        except OSError as error:
            raise SyncFailed(error.errno, error.strerror, str(schema.log_of(self._path))) from error

    # --- trouble ---------------------------------------------------------------------------------------------------------

    def _free_ballast(self, group: Group) -> None:
        self.look_at_disk()
        if self._ballast.free():
            self.capacity.ballast = False
            group.notices.append(
                ("queue.disk_full", "queue", {"freeDisk": self.capacity.free_disk, "path": str(self._state)})
            )
            self.look_at_disk()

    def _broke(self, error: BaseException) -> None:
        """An I/O error: this connection is not to be trusted any more."""
        connection, self._connection = self._connection, None
        self._close_log()
        self._trouble = str(error)
        self._retry_at = self._clock.monotonic()
        if connection is not None:
            try:
                connection.close()
            except sqlite3.Error:
                pass

    def _came_back(self, group: Group) -> bool:
        if self._trouble == "it is closed" or self._clock.monotonic() < self._retry_at:
            return False
        self._retry_at = self._clock.monotonic() + _REOPEN_EVERY
        try:
            group.notices += self._open()
        except (OSError, sqlite3.Error, QueueError) as error:
            self._broke(error)
            self._retry_at = self._clock.monotonic() + _REOPEN_EVERY
            return False
        group.notices.append(("queue.reopened", "queue", {"after": self._trouble}))
        self.checkpoint()  # what the log may have lost is in the database from now on
        return self._connection is not None

    def _heal(self, error: BaseException, group: Group) -> None:
        """The database is malformed: it goes to quarantine, a new one takes what can be read of it."""
        self._broke(error)
        if self._clock.monotonic() < self._heal_again:
            self._retry_at = self._heal_again
            return
        self._heal_again = self._clock.monotonic() + _HEAL_EVERY
        try:
            group.notices += self._open(damaged=error)
        except (OSError, sqlite3.Error, QueueError) as again:
            self._broke(again)
            self._retry_at = self._clock.monotonic() + _REOPEN_EVERY

    # --- upkeep ----------------------------------------------------------------------------------------------------------

    def look_at_disk(self) -> None:
        """How much room there is; taken at most every second while there is work."""
        self._looked_at = self._clock.monotonic()
        try:
            self.capacity.free_disk = self._free_disk(self._state)
        except OSError:
            self.capacity.free_disk = 0

    def upkeep(self) -> None:
        """Look at the disk, make the ballast again where there is room for it, remove empty segments beyond a few."""
        self.look_at_disk()
        if self._connection is not None:
            if not self.capacity.ballast:
                self.capacity.ballast = self._ballast.make(self._spare_disk())
            self.payloads.segments.trim()

    def _spare_disk(self) -> int:
        return self.capacity.free_disk - self.capacity.marks.min_free_disk

    def grow_log(self) -> None:
        """Give the write-ahead log its room ahead, once, when there is nothing else to do."""
        if self._log_grown or self._connection is None or self._spare_disk() < 2 * _LOG_SIZE:
            return
        self._log_grown = True
        try:
            schema.grow_log(self._connection, _LOG_SIZE)
            self._sync_log()  # now, not with the next commit
        except (sqlite3.Error, OSError) as error:
            self._roll_back(self._connection)
            if faults.kind(error) != "full":
                self._broke(error)

    def checkpoint_due(self) -> bool:
        return self.commits >= self._commits_allowed

    def checkpoint(self) -> None:
        """Copy the write-ahead log into the database, as far as no reader still needs it."""
        connection = self._connection
        if connection is None:
            return
        try:
            self._failpoints.hit("queue.checkpoint")
            _, pages, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except (sqlite3.Error, OSError) as error:
            if faults.kind(error) in ("io", "damage"):
                self._broke(error)
            return
        if pages > 0 and self.commits > 0:
            self._commits_allowed = min(100_000, max(16, self.commits * _WAL_PAGES // pages))
        self.commits = 0
        self.wrote = False

    def gauges(self) -> Gauges:
        total, capacity = self._shared.ledger.total, self.capacity
        return Gauges(
            items=total["items"],
            bytes=total["bytes"],
            leased=total["leased"],
            dead=total["dead"],
            claimed=total["claimed"],
            converting=total["converting"],
            parked=total["parked"],
            full=capacity.full,
            free_disk=capacity.free_disk,
            writable=self._connection is not None and capacity.ballast,
            most_items=total["most_items"],
            most_bytes=total["most_bytes"],
        )

    def seal(self) -> None:
        """From now on nothing new is leased or converted."""
        self._shared.sealed = True

    @property
    def payloads(self) -> Payloads:
        return self._shared.payloads

    def _drained(self) -> bool:
        total = self._shared.ledger.total
        return self.capacity.drained(total["items"], total["bytes"])
