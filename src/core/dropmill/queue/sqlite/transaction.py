"""What the operations of one group share: the open transaction, what it counts, and what is to happen once it is committed.

An operation is a function of a `Transaction`. It checks everything first and raises a `QueueError` before it changes
anything; any other exception rolls the whole group back, and the others of the group are run again without it. It touches
nothing but its transaction, so that it may be run twice.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dropmill.queue.capacity import Capacity
from dropmill.queue.sqlite.codec import dump
from dropmill.queue.sqlite.ledger import Ledger
from dropmill.queue.sqlite.payloads import Payloads, Placed

__all__ = ["NEVER", "Notice", "Shared", "Transaction"]

NEVER = float("inf")

Notice = tuple[str, str, Mapping[str, Any]]
"""Name, subject and data of an event."""


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
    refused: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By file: the items and bytes that its publication needed and there was no room for."""
    swept: int = 0
    """Events up to this one were looked at in the current round of retention."""
    sealed: bool = False
    """The store is closing: nothing new is leased or converted."""


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
        self._events: list[tuple[float, str | bytes, str, str]] = []
        self._placed: list[Placed] = []
        self._used: list[tuple[Placed, Callable[[], None]]] = []
        self._freed: list[tuple[str, int | None, str | None]] = []
        self.file_due: float | None = None
        """When the next file that is held back by time is due."""
        self._numbers = (shared.next_file, shared.next_report, shared.next_delivery, dict(shared.lanes))

    def event(self, subject: str | bytes, name: str, data: Mapping[str, Any]) -> None:
        """Something that `explain` tells; written with the transaction."""
        text = subject if isinstance(subject, str) else subject.decode("utf-8", "surrogateescape")
        self._events.append((self.now, subject, name, dump(data)))
        self.notices.append((name, text, data))

    def placed(self, placed: Placed) -> None:
        """A payload belongs to this transaction: kept when it commits, discarded when it does not."""
        self._placed.append(placed)

    def uses(self, placed: Placed, used: Callable[[], None]) -> None:
        """A payload that was placed before this transaction belongs to it if it commits."""
        self._used.append((placed, used))

    def freed(self, tier: str, segment: int | None, name: str | None) -> None:
        """A payload is not needed once this transaction is durable."""
        self._freed.append((tier, segment, name))

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

    def prepare(self) -> None:
        """The last writes before the commit: payloads synced, events and counts in their tables."""
        self.shared.payloads.sync()
        if self._events:
            self.executemany("INSERT INTO event (at, subject, name, data) VALUES (?, ?, ?, ?)", self._events)
        self.ledger.save(self.connection)

    def committed(self) -> None:
        """It is durable."""
        self.ledger.committed()
        payloads = self.shared.payloads
        for placed in self._placed:
            payloads.committed(placed)
        for tier, segment, name in self._freed:
            payloads.free(tier, segment, name)
        for placed, used in self._used:
            used()
            payloads.committed(placed)

    def rolled_back(self) -> None:
        """It did not happen."""
        self.ledger.rolled_back()
        for placed in self._placed:
            self.shared.payloads.discard(placed)
        shared = self.shared
        shared.next_file, shared.next_report, shared.next_delivery, shared.lanes = self._numbers
