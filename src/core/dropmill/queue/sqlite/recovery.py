"""Opening a store whatever state it was left in, and leaving it so that nothing is left to repair.

After this every file and every delivery is where the last commit left it, except that what a dead instance was working on is
given back without being charged. A database that cannot be read is put aside, whole, and what can be read of it goes into a
new one: it never refuses to start, and never tries the same thing twice.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dropmill.foundation.failpoints import Failpoints
from dropmill.queue.sqlite import file_reads, files, leasing, salvage, schema
from dropmill.queue.sqlite.codec import dump, load
from dropmill.queue.sqlite.transaction import Notice, Shared, Transaction

__all__ = ["CHECK_LIMIT", "GivenBack", "Opened", "give_back", "mark_end", "open_database", "shift_times"]

CHECK_LIMIT = 256 * 1024 * 1024
"""Databases up to this size are checked after an unclean end before they are used; larger ones would hold up the start."""


@dataclass
class Opened:
    """An open, recovered database."""

    connection: sqlite3.Connection
    notices: list[Notice] = field(default_factory=list)
    file_due: float | None = None
    """When the next file that is held back by time is due."""
    unchecked: bool = False
    """It ended unclean and is too large to be checked before it is used."""


@dataclass(frozen=True)
class GivenBack:
    """What was being worked on and now waits again."""

    deliveries: int
    files: int


def open_database(
    path: Path, shared: Shared, now: float, failpoints: Failpoints, *, damaged: BaseException | None = None
) -> Opened:
    """Open `path`, made or repaired as needed, and take over what is in it; `damaged` says that it is known to be.

    Raises:
        SchemaTooNew: a newer dropmill wrote it.
        OSError, sqlite3.Error: the disk refuses.
    """
    notices: list[Notice] = []
    aside = salvage.finish(path, now, failpoints)
    if aside is not None:
        notices.append(("queue.damaged", "queue", {"error": "found before", "quarantine": str(aside)}))
    error = damaged
    for _ in range(2):
        replaced = error is not None
        if error is not None:
            saved = salvage.replace(path, now, failpoints)
            told = {"error": str(error), "quarantine": str(saved.quarantine)}
            notices.append(("queue.damaged", "queue", {**told, "saved": saved.rows, "badPages": saved.bad_pages}))
        try:
            connection, clean = _connect(path)
            try:
                file_due = _take_over(connection, shared, now, notices, clean=clean)
            except BaseException:
                connection.close()
                raise
        except sqlite3.DatabaseError as found:
            if replaced or not salvage.is_damage(found):
                raise
            error = found
        else:
            return Opened(connection, notices, file_due, unchecked=not clean and path.stat().st_size > CHECK_LIMIT)
    raise AssertionError("unreachable")


def _connect(path: Path) -> tuple[sqlite3.Connection, bool]:
    """A connection to a database of the current schema, and whether it was left clean."""
    log = schema.log_of(path)
    if log.exists() and log.stat().st_size > 0 and not (path.exists() and path.stat().st_size > 0):
        raise salvage.Damaged("the database is empty, and its log is not")  # SQLite would delete the log
    connection = schema.connect(path)
    try:
        if schema.check_version(connection, path) == 0:
            schema.create(connection)
            return connection, True
        clean = _meta(connection, "clean") == 1
        if not clean and path.stat().st_size <= CHECK_LIMIT:
            salvage.check(connection)
    except BaseException:
        connection.close()
        raise
    return connection, clean


def _take_over(
    connection: sqlite3.Connection, shared: Shared, now: float, notices: list[Notice], *, clean: bool
) -> float | None:
    counted = shared.ledger.load(connection)
    tx = Transaction(connection, shared, now)
    connection.execute("BEGIN IMMEDIATE")
    try:
        if not counted:
            shared.ledger.recount(connection)
        given = _reconcile(tx, "the queue was opened anew" if shared.opened else "the agent ended without stopping")
        _mind_the_clock(tx)
        if not clean:
            notices.append(("queue.recovered", "queue", {"deliveries": given.deliveries, "files": given.files}))
        for name, subject, data in notices:
            tx.event(subject, name, data)
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('clean', 0)")
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('marks', ?)", (dump(shared.capacity.marks.shown()),))
        tx.prepare()
        connection.execute("COMMIT")
        tx.committed()
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        tx.rolled_back()
        raise
    if not clean and not shared.opened:
        shared.stray_blobs = 0
    shared.opened = True
    numbers = load(_meta(connection, "next")) or {}
    for name, table, column in (
        ("next_file", "file", "no"),
        ("next_report", "report", "no"),
        ("next_delivery", "delivery", "id"),
    ):
        (highest,) = connection.execute(f"SELECT coalesce(max({column}), 0) FROM {table}").fetchone()
        setattr(shared, name, max(highest + 1, numbers.get(name, 1), getattr(shared, name)))
    shared.lanes = dict(connection.execute("SELECT name, max_attempts FROM lane"))
    shared.due = {}
    for lane in shared.ledger.lanes():
        (due,) = connection.execute(
            "SELECT min(next_at) FROM delivery WHERE lane = ? AND state = 'delayed'", (lane,)
        ).fetchone()
        if due is not None:
            shared.due[lane] = due
    segments = connection.execute(
        "SELECT segment, count(*), max(place + size) FROM report WHERE segment IS NOT NULL GROUP BY segment"
    ).fetchall()
    names = frozenset(row[0] for row in connection.execute("SELECT place FROM report WHERE tier = 'file'"))
    shared.payloads.open(segments, names)
    file_reads.next_due(tx)
    return tx.file_due


def _mind_the_clock(tx: Transaction) -> None:
    """The clock was set back while nobody looked: nothing waits longer than it was told to."""
    for lane in tx.ledger.lanes():
        tx.execute(
            "UPDATE delivery SET next_at = ?1 + (next_at - updated_at), updated_at = ?1 WHERE lane = ?2"
            " AND state = 'delayed' AND updated_at > ?1 + 5",
            (tx.now, lane),
        )
    tx.execute(
        "UPDATE file SET not_before = ?1 + (not_before - updated_at), updated_at = ?1 WHERE state = 'claimed'"
        " AND confirmed = 1 AND not_before > ?1 AND updated_at > ?1 + 5",
        (tx.now,),
    )


def shift_times(tx: Transaction, step: float) -> None:
    """The wall clock was set by `step` seconds: whoever waits, waits as long as he was told to."""
    shared = tx.shared
    for lane in tx.ledger.lanes():
        tx.execute(
            "UPDATE delivery SET next_at = next_at + ?1, updated_at = updated_at + ?1 WHERE lane = ?2 AND state = 'delayed'",
            (step, lane),
        )
    shared.due = {lane: at + min(step, 0.0) for lane, at in shared.due.items()}
    tx.execute(
        "UPDATE file SET not_before = not_before + ?1, updated_at = updated_at + ?1 WHERE state = 'claimed'"
        " AND confirmed = 1 AND not_before > 0",
        (step,),
    )
    tx.event("queue", "queue.clock_set", {"seconds": round(step, 3)})
    tx.topics.update((*(f"lane:{lane}" for lane in tx.ledger.lanes()), "files"))


def give_back(tx: Transaction, reason: str) -> GivenBack:
    """leased -> ready and converting -> claimed, nothing charged."""
    leases = sum(leasing.release_lane(tx, lane, reason) for lane in tx.ledger.lanes())
    return GivenBack(leases, files.release_converting(tx, reason))


def _reconcile(tx: Transaction, reason: str) -> GivenBack:
    """What the database says to be held and nobody here holds is given back, and the other way round.

    After a start nobody holds anything; after the database was opened anew in mid-life the lanes still hold their leases.
    """
    shared = tx.shared
    leased: dict[int, int] = {}
    released = 0
    for lane in tx.ledger.lanes():
        for delivery, fence, size, subject in tx.execute(
            "SELECT d.id, d.fence, d.size, coalesce(f.id, r.uid) FROM delivery d JOIN report r ON r.no = d.report"
            " LEFT JOIN file f ON f.no = d.file WHERE d.lane = ? AND d.state = 'leased'",
            (lane,),
        ).fetchall():
            if tx.lease(delivery, fence) is None:
                leasing.release(tx, delivery, lane, size, subject, reason)
                released += 1
            else:
                leased[delivery] = fence
    for delivery in shared.leases.keys() - leased.keys():
        tx.set_lease(delivery, None)
    converting = {row[0] for row in tx.execute("SELECT id FROM file WHERE state = 'converting'")}
    for file_id in shared.converting.keys() - converting:
        tx.set_conversion(file_id, None)
    lost = sorted(converting - shared.converting.keys())
    files.release(tx, lost, reason=reason, not_before=0.0, charge=False, converter=None)
    return GivenBack(released, len(lost))


def mark_end(connection: sqlite3.Connection, shared: Shared, now: float, *, clean: bool) -> GivenBack:
    """Give back what is held, in its own transaction, and mark whether anything is left to repair."""
    tx = Transaction(connection, shared, now)
    connection.execute("BEGIN IMMEDIATE")
    try:
        given = give_back(tx, "shutdown")
        tx.collect_garbage()
        numbers = {name: getattr(shared, name) for name in ("next_file", "next_report", "next_delivery")}
        tx.execute("INSERT OR REPLACE INTO meta VALUES ('next', ?)", (dump(numbers),))
        tx.execute("INSERT OR REPLACE INTO meta VALUES ('clean', ?)", (int(clean),))
        tx.prepare()
        connection.execute("COMMIT")
        tx.committed()
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        tx.rolled_back()
        raise
    return given


def _meta(connection: sqlite3.Connection, key: str) -> Any:
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if row is None else row[0]
