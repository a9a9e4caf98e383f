"""Every row of a damaged database that can still be read goes into a new one, and the damaged one is put aside, whole.

The file is read page by page (`pages`): first by the trees that its schema names, then whatever leaves of tables nothing leads
to any more. A row that leads nowhere is made whole or left out, so that what is saved can be worked with at once. Nothing in
quarantine is ever changed or deleted by the agent.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dropmill.foundation.failpoints import Failpoints
from dropmill.foundation.files import fsync_directory
from dropmill.queue.records import DeliveryState, FileState
from dropmill.queue.sqlite import schema
from dropmill.queue.sqlite.pages import Database, Row

__all__ = ["Damaged", "Salvaged", "check", "copy_readable", "finish", "is_damage", "replace"]


class Damaged(sqlite3.DatabaseError):
    """A check has found the database malformed."""


@dataclass
class Salvaged:
    """What was saved."""

    rows: dict[str, int] = field(default_factory=dict)
    """Rows by table."""
    bad_pages: int = 0
    """Pages that could not be read, or not in full."""
    quarantine: Path | None = None
    """Where the damaged database lies now."""


def is_damage(error: BaseException) -> bool:
    """Whether the error says that the database is malformed, not just out of reach."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return isinstance(error, Damaged) or code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def check(connection: sqlite3.Connection) -> None:
    """Read the whole database.

    Raises:
        sqlite3.DatabaseError: it is damaged (`is_damage`).
    """
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise Damaged(verdict)


def replace(path: Path, now: float, failpoints: Failpoints) -> Salvaged:
    """Put a new database in the place of a damaged one, with every row of it that can be read.

    The new one is finished and synced, under a name that says so, before the old one is touched: cut short anywhere, this is
    done again or finished by `finish` at the next start.
    """
    beginning = path.with_name("queue.beginning.db")
    for suffix in _SUFFIXES:
        beginning.with_name(beginning.name + suffix).unlink(missing_ok=True)
    target = schema.connect(beginning)
    try:
        schema.create(target)
        saved = copy_readable(path, target)
        failpoints.hit("queue.salvage.copied")
        target.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        target.close()
    descriptor = os.open(beginning, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    beginning.rename(path.with_name(_SALVAGED))
    fsync_directory(path.parent)
    failpoints.hit("queue.salvage.copied")
    saved.quarantine = finish(path, now, failpoints)
    return saved


def finish(path: Path, now: float, failpoints: Failpoints) -> Path | None:
    """If a salvaged database waits for its place: put what is there of the damaged one aside and let it have it; where the
    damaged one lies now."""
    salvaged = path.with_name(_SALVAGED)
    if not salvaged.exists():
        return None
    aside = _put_aside(path, now)
    failpoints.hit("queue.salvage.aside")
    salvaged.rename(path)
    fsync_directory(path.parent)
    return aside


def _put_aside(path: Path, now: float) -> Path:
    """Move the database and its log into `quarantine/`, if that was not done already; where it lies now."""
    quarantine = path.parent / "quarantine"
    quarantine.mkdir(exist_ok=True)
    if not any(path.with_name(path.name + suffix).exists() for suffix in ("", "-wal")):
        newest = max(quarantine.iterdir(), key=lambda entry: entry.stat().st_mtime_ns, default=quarantine)
        return newest / path.name
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    folder, count = quarantine / stamp, 1
    while folder.exists():
        count += 1
        folder = quarantine / f"{stamp}-{count}"
    folder.mkdir()
    for suffix in _SUFFIXES:
        source = path.with_name(path.name + suffix)
        if suffix == "-shm":
            source.unlink(missing_ok=True)
        elif source.exists():
            source.rename(folder / source.name)
    for place in (folder, quarantine, path.parent):
        fsync_directory(place)
    return folder / path.name


_SALVAGED = "queue.salvaged.db"
_SUFFIXES = ("", "-wal", "-shm")

_FILE_STATES = {str(state) for state in FileState}
_DELIVERY_STATES = {str(state) for state in DeliveryState}


def _plausible(table: str, row: dict[str, Any]) -> bool:
    """Whether it is a row of this table, not just one of as many columns."""
    if table == "file":
        return row["state"] in _FILE_STATES and isinstance(row["folder"], str) and isinstance(row["size"], int)
    if table == "delivery":
        return row["state"] in _DELIVERY_STATES and isinstance(row["lane"], str) and isinstance(row["report"], int)
    if table == "report":
        return row["tier"] in ("row", "segment", "file", "gone") and isinstance(row["crc"], int)
    if table == "blob":
        return isinstance(row["data"], bytes)
    if table == "event":
        return isinstance(row["at"], (float, int)) and isinstance(row["name"], str)
    return True


_MADE_ANEW = ("meta", "tally")
_KEYED = {"file": "no", "report": "no", "blob": "report", "delivery": "id", "event": "seq"}
"""Tables that are stored by an integer, and the column that it is."""
_BATCH = 500


def copy_readable(source: Path, target: sqlite3.Connection) -> Salvaged:
    """Copy what can be read of a damaged database into one with fresh, empty tables."""
    saved = Salvaged()
    with Database.load(source) as database:
        _copy(database, target, saved)
    saved.bad_pages = len(database.bad)
    return saved


def _copy(database: Database, target: sqlite3.Connection, saved: Salvaged) -> None:
    roots = database.roots()
    tables = [table for table in schema.TABLES if table not in _MADE_ANEW]
    inserters = {table: _Inserter(target, table) for table in tables}
    target.execute("BEGIN IMMEDIATE")
    for table, inserter in inserters.items():
        if table in roots:
            inserter.take(database.tree(roots[table]))
    for row in _strays(database):
        for table in _KEYED:
            if inserters[table].fits(row):
                inserters[table].take((row,))
                break
    for table, inserter in inserters.items():
        inserter.flush()
        saved.rows[table] = inserter.count
    _mend(target)
    target.execute("COMMIT")


def _strays(database: Database) -> Iterator[Row]:
    """Rows of leaves that no tree leads to, and that are not known to be free."""
    database.seen |= database.free_pages()
    for number in range(2, database.pages + 1):
        if number not in database.seen:
            yield from database.leaf(number)


class _Inserter:
    """Takes rows of one table into the new database; what is there already stays."""

    def __init__(self, target: sqlite3.Connection, table: str) -> None:
        self._target = target
        self._table = table
        self.columns = [row[1] for row in target.execute(f"PRAGMA table_info({table})")]
        places = ", ".join("?" * len(self.columns))
        self._statement = f"INSERT OR IGNORE INTO {table} VALUES ({places})"
        self._rows: list[Sequence[Any]] = []
        self.count = 0

    def fits(self, row: Row) -> bool:
        """Whether the row may be one of this table."""
        return len(row.columns) == len(self.columns) and _plausible(
            self._table, dict(zip(self.columns, row.columns, strict=True))
        )

    def take(self, rows: Iterator[Row] | Sequence[Row]) -> None:
        for row in rows:
            if self.fits(row):
                columns = list(row.columns)
                if self._table in _KEYED:
                    columns[self.columns.index(_KEYED[self._table])] = row.key
                self._rows.append(columns)
                if len(self._rows) >= _BATCH:
                    self.flush()

    def flush(self) -> None:
        before = self._target.total_changes
        self._target.executemany(self._statement, self._rows)
        self.count += self._target.total_changes - before
        self._rows.clear()


def _mend(target: sqlite3.Connection) -> None:
    """Rows whose other half is lost are made whole or left out, so that every reference leads somewhere."""
    run: Callable[[str], object] = target.execute
    run("DELETE FROM delivery WHERE report NOT IN (SELECT no FROM report)")
    run("DELETE FROM attempt WHERE delivery NOT IN (SELECT id FROM delivery)")
    run("DELETE FROM blob WHERE report NOT IN (SELECT report FROM delivery WHERE state NOT IN ('sent', 'dropped'))")
    run("UPDATE report SET tier = 'gone' WHERE tier = 'row' AND no NOT IN (SELECT report FROM blob)")
    run("UPDATE delivery SET file = NULL WHERE file IS NOT NULL AND file NOT IN (SELECT no FROM file)")
    run("UPDATE report SET file = NULL WHERE file IS NOT NULL AND file NOT IN (SELECT no FROM file)")
    run(
        "UPDATE file SET pending = (SELECT count(*) FROM delivery WHERE delivery.file = file.no AND state IN"
        " ('ready', 'leased', 'delayed')), dead = (SELECT count(*) FROM delivery WHERE delivery.file = file.no"
        " AND state = 'dead') WHERE state IN ('converted', 'finished')"
    )
    run(
        "UPDATE file SET disposal = nullif(CASE WHEN dead > 0 OR dropped > 0 THEN 'failed' ELSE 'done' END, laid)"
        " WHERE state IN ('converted', 'finished') AND pending = 0 AND target IS NULL"
    )
