"""What the operations of one group share: the open transaction, what it counts, and what is to happen once it is committed.

An operation is a function of a `Transaction`. It touches nothing else, so that it may be run twice: where one operation of a
group fails, the group is rolled back and the others are run again without it. One that refuses does so before it changes
anything wherever that is expected to happen often.

Statements that many operations of a group repeat are put off (`later`) and executed together, which costs a third; before an
operation that reads what they write, the engine flushes them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dropmill.queue.capacity import Capacity
from dropmill.queue.errors import NotHeld
from dropmill.queue.sqlite.codec import dump
from dropmill.queue.sqlite.ledger import Ledger
from dropmill.queue.sqlite.payloads import Payloads, Placed

__all__ = ["NEVER", "Held", "Notice", "Shared", "Transaction"]

NEVER = float("inf")
_GARBAGE = 256
_GARBAGE_BYTES = 4 * 1024 * 1024
"""Payloads that nobody needs any more, and their bytes, that are given back at the latest."""

Notice = tuple[str, str, Mapping[str, Any]]
"""Name, subject and data of an event."""


class Held(NamedTuple):
    """A lease that is out: what its answer needs, so that it need not be looked up. Leases never outlive the process."""

    fence: int
    lane: str
    report: int
    file: int | None
    subject: str | bytes
    """The file's id, or the report's where it has no file: whom events are about."""
    folder: str | None
    size: int
    started: float


@dataclass
class Shared:
    """What outlives a transaction; the writer thread's alone."""

    instance: str
    ledger: Ledger
    payloads: Payloads
    capacity: Capacity
    next_file: int = 1
    next_report: int = 1
    next_delivery: int = 1
    lanes: dict[str, int] = field(default_factory=dict)
    """Most attempts by lane."""
    due: dict[str, float] = field(default_factory=dict)
    """By lane: no delayed delivery is due before this (it may be later)."""
    leases: dict[int, Held] = field(default_factory=dict)
    """Every delivery in state leased."""
    converting: dict[str, tuple[int, str, Any]] = field(default_factory=dict)
    """Every file in state converting, by id: its number, folder and name (as a column)."""
    refused: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By file: the items and bytes that its publication needed and there was no room for."""
    garbage: dict[int, int] = field(default_factory=dict)
    """Reports whose payload a delivery has ceased to need, and its bytes. After a crash retention looks for those forgotten."""
    stray_blobs: int | None = None
    """Where that search has come to; None: there is nothing to look for."""
    swept_reports: int = 0
    """Reports up to this one were looked at in the current round of retention."""
    swept: int = 0
    """Events up to this one were looked at in the current round of retention."""
    sealed: bool = False
    """The store is closing: nothing new is leased or converted."""
    opened: bool = False
    """The database was opened before, by this process."""
    listening: bool = True
    """Somebody wants to be told of events as they happen."""


class Transaction:
    """One group's transaction."""

    def __init__(self, connection: sqlite3.Connection, shared: Shared, now: float) -> None:
        self.execute = connection.execute
        self.executemany = connection.executemany
        self.connection = connection
        self.shared = shared
        self.ledger = shared.ledger
        self.now = now
        self.topics: set[str] = set()
        self.notices: list[Notice] = []
        self.new_reports: set[str | bytes] = set()
        """Uids of reports whose rows are put off."""
        self.file_due: float | None = None
        """When the next file that is held back by time is due."""
        self.touches = 0
        """Counts whatever was put off or noted: an operation that refuses must not have raised it."""
        self._later: dict[str, list[Sequence[Any]]] = {}
        self._required: dict[str, str] = {}
        self._ended: dict[int, list[int]] = {}
        self._unneeded: dict[int, int] = {}
        self._collected = False
        self._events: list[tuple[float, str | bytes, str, str]] = []
        self._leases: dict[int, Held | None] = {}
        self._converting: dict[str, tuple[int, str, Any] | None] = {}
        self._placed: list[Placed] = []
        self._used: list[tuple[Placed, Callable[[], None]]] = []
        self._freed: list[tuple[str, int | None, str | None]] = []
        self._before = (
            shared.next_file,
            shared.next_report,
            shared.next_delivery,
            dict(shared.lanes),
            dict(shared.due),
        )

    # --- writing ---------------------------------------------------------------------------------------------------------

    def later(self, statement: str, row: Sequence[Any], *, required: str = "") -> None:
        """Execute the statement with this row before the commit, together with others like it.

        `required`: each row must change exactly one; else `NotHeld` with this text, and nothing is changed.
        """
        rows = self._later.get(statement)
        if rows is None:
            rows = self._later[statement] = []
            if required:
                self._required[statement] = required
        rows.append(row)
        self.touches += 1

    def flush(self) -> None:
        """Execute what was put off."""
        if self._later:
            for statement, rows in self._later.items():
                changed = self.executemany(statement, rows).rowcount
                if changed != len(rows) and statement in self._required:
                    raise NotHeld(self._required[statement])
            self._later.clear()
            self.new_reports.clear()
        if self._ended:
            self.executemany(_SETTLE, [(ended, dead, file) for file, (ended, dead) in self._ended.items()])
            self._ended.clear()
            self.topics.add("disposals")

    def _maybe_collect_garbage(self) -> None:
        garbage = {**self.shared.garbage, **self._unneeded}
        if len(garbage) >= _GARBAGE or sum(garbage.values()) >= _GARBAGE_BYTES:
            self.collect_garbage()

    def collect_garbage(self) -> None:
        """Give back the payloads that no delivery needs any more, all that have come together."""
        self.flush()
        for report in {*self.shared.garbage, *self._unneeded}:
            row = self.execute(
                "SELECT tier, segment, place FROM report WHERE no = ?1 AND tier <> 'gone' AND NOT EXISTS"
                " (SELECT 1 FROM delivery WHERE report = ?1 AND state NOT IN ('sent', 'dropped'))",
                (report,),
            ).fetchone()
            if row is not None:
                tier, segment, place = row
                self.execute("UPDATE report SET tier = 'gone', segment = NULL, place = NULL WHERE no = ?", (report,))
                if tier == "row":
                    self.execute("DELETE FROM blob WHERE report = ?", (report,))
                else:
                    self.freed(tier, segment, place if tier == "file" else None)
        self._unneeded.clear()
        self._collected = True

    def ended(self, file: int | None, *, dead: int) -> None:
        """A pending delivery of the file has ended (`dead`: 1, as a dead letter): it goes where that takes it."""
        if file is not None:
            counts = self._ended.get(file)
            if counts is None:
                self._ended[file] = [1, dead]
            else:
                counts[0] += 1
                counts[1] += dead

    def unneeded(self, report: int, size: int) -> None:
        """A delivery does not need the report's payload any more. Payloads that nobody needs are given back many at a time:
        each by itself costs more pages than everything else about an acknowledgement."""
        self._unneeded[report] = size

    def event(self, subject: str | bytes, name: str, data: Mapping[str, Any]) -> None:
        """Something that `explain` tells; written with the transaction."""
        self.touches += 1
        self._events.append((self.now, subject, name, dump(data)))
        if self.shared.listening:
            text = subject if isinstance(subject, str) else subject.decode("utf-8", "surrogateescape")
            self.notices.append((name, text, data))

    # --- leases and conversions ------------------------------------------------------------------------------------------

    def lease(self, delivery: int, fence: int) -> Held | None:
        """The lease that is out for the delivery, if it has this fence."""
        held = self._leases[delivery] if delivery in self._leases else self.shared.leases.get(delivery)
        return held if held is not None and held.fence == fence else None

    def set_lease(self, delivery: int, held: Held | None) -> None:
        """A delivery is leased, or not any more."""
        self.touches += 1
        self._leases[delivery] = held

    def conversion(self, file_id: str) -> tuple[int, str, Any] | None:
        """Number, folder and name of the file, if it is converting."""
        if file_id in self._converting:
            return self._converting[file_id]
        return self.shared.converting.get(file_id)

    def set_conversion(self, file_id: str, file: tuple[int, str, Any] | None) -> None:
        """A file is converting, or not any more."""
        self.touches += 1
        self._converting[file_id] = file

    # --- payloads --------------------------------------------------------------------------------------------------------

    def placed(self, placed: Placed) -> None:
        """A payload belongs to this transaction: kept when it commits, discarded when it does not."""
        self._placed.append(placed)

    def uses(self, placed: Placed, used: Callable[[], None]) -> None:
        """A payload that was placed before this transaction belongs to it if it commits."""
        self._used.append((placed, used))

    def freed(self, tier: str, segment: int | None, name: str | None) -> None:
        """A payload is not needed once this transaction is durable."""
        self._freed.append((tier, segment, name))

    # --- capacity --------------------------------------------------------------------------------------------------------

    def file_due_at(self, at: float) -> None:
        """A file is held back until then."""
        if self.file_due is None or at < self.file_due:
            self.file_due = at

    def full(self) -> None:
        """An offer is turned away for want of room: files wait until the queue has drained."""
        self.shared.capacity.full = True

    def admitted(self) -> None:
        """An offer was taken."""
        if self.shared.capacity.full:
            self.shared.capacity.full = False
            self.topics.update(("files", "capacity"))

    # --- the end ---------------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """The last writes before the commit: payloads synced, events and counts in their tables."""
        self.flush()
        if self._unneeded:
            self._maybe_collect_garbage()
        self.shared.payloads.sync()
        if self._events:
            self.executemany("INSERT INTO event (at, subject, name, data) VALUES (?, ?, ?, ?)", self._events)
        self.ledger.save(self.connection)

    def committed(self) -> None:
        """It is durable."""
        shared = self.shared
        self.ledger.committed()
        if self._collected:
            shared.garbage.clear()
        shared.garbage.update(self._unneeded)
        _apply(shared.leases, self._leases)
        _apply(shared.converting, self._converting)
        payloads = shared.payloads
        for placed in self._placed:
            payloads.committed(placed)
        for placed, used in self._used:
            used()
            payloads.committed(placed)
        for tier, segment, name in self._freed:
            payloads.free(tier, segment, name)

    def rolled_back(self, *, certain: bool = True) -> None:
        """It did not happen. Where that is not `certain` (a commit that failed may come back after a crash) the places of its
        payloads are not used again before the next start."""
        self.ledger.rolled_back()
        if certain:
            for placed in self._placed:
                self.shared.payloads.discard(placed)
        shared = self.shared
        shared.next_file, shared.next_report, shared.next_delivery, shared.lanes, shared.due = self._before


_SETTLE = (
    "UPDATE file SET pending = pending - ?1, dead = dead + ?2, disposal ="
    " CASE WHEN pending = ?1 AND target IS NULL AND state IN ('converted', 'finished')"
    " THEN nullif(CASE WHEN dead + ?2 > 0 OR dropped > 0 THEN 'failed' ELSE 'done' END, laid) ELSE disposal END WHERE no = ?3"
)


def _apply(known: dict[Any, Any], changes: Mapping[Any, Any]) -> None:
    for key, value in changes.items():
        if value is None:
            known.pop(key, None)
        else:
            known[key] = value
