"""A damaged database is put aside, whole, and every row of it that can still be read goes into a new one.

Each table is read in ranges of its primary key; a range that cannot be read is halved until the damage is narrowed down to
the rows that are really gone. Nothing in quarantine is ever deleted by the agent.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dropmill.foundation.files import fsync_directory
from dropmill.queue.sqlite import schema

__all__ = ["Damaged", "Salvaged", "check", "copy_readable", "is_damage", "put_aside"]


class Damaged(sqlite3.DatabaseError):
    """A check has found the database malformed."""


@dataclass
class Salvaged:
    """What was saved."""

    rows: dict[str, int] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    """Ranges and tables that could not be read."""


def is_damage(error: sqlite3.Error) -> bool:
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


def put_aside(path: Path, now: float) -> Path:
    """Move the database and its log into `quarantine/`; where it lies now."""
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%S")
    quarantine = path.parent / "quarantine"
    quarantine.mkdir(exist_ok=True)
    folder = quarantine / stamp
    count = 1
    while folder.exists():
        count += 1
        folder = quarantine / f"{stamp}-{count}"
    folder.mkdir()
    for suffix in ("-wal", ""):  # the database last: without its log it would be an older one
        source = path.with_name(path.name + suffix)
        if source.exists():
            source.rename(folder / source.name)
    path.with_name(path.name + "-shm").unlink(missing_ok=True)
    for place in (folder, quarantine, path.parent):
        fsync_directory(place)
    return folder / path.name


def copy_readable(source: Path, target: sqlite3.Connection) -> Salvaged:
    """Copy what can be read of a damaged database into one with fresh, empty tables."""
    saved = Salvaged()
    if not source.exists():
        saved.lost.append("the whole database: the file is gone")
        return saved
    try:
        damaged = sqlite3.connect(source, isolation_level=None)
        damaged.execute("PRAGMA writable_schema = ON")  # a malformed schema row must not hide the tables
        damaged.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.DatabaseError as error:
        saved.lost.append(f"the whole database: {error}")
        return saved
    try:
        for table in schema.TABLES:
            saved.rows[table] = _copy_table(damaged, target, table, saved.lost)
        _mend(target)
    finally:
        damaged.close()
    return saved


_KEYS = {
    "meta": None,
    "tally": None,
    "flag": None,
    "lane": None,
    "attempt": "delivery",
    "file": "no",
    "report": "no",
    "blob": "report",
    "delivery": "id",
    "event": "seq",
}
"""The integer that each table is stored by; None: small, read as a whole."""


def _copy_table(damaged: sqlite3.Connection, target: sqlite3.Connection, table: str, lost: list[str]) -> int:
    columns = [row[1] for row in target.execute(f"PRAGMA table_info({table})")]
    places = ", ".join("?" * len(columns))
    names = ", ".join(columns)
    insert = f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({places})"
    select = f"SELECT {names} FROM {table}"
    key = _KEYS[table]
    copied = 0
    if table in ("meta", "tally"):
        return 0  # made anew
    target.execute("BEGIN IMMEDIATE")
    if key is None:
        rows = _read(damaged, select, ())
        if rows is None:
            lost.append(f"{table}: all")
        else:
            target.executemany(insert, rows)
            copied = len(rows)
    else:
        bounds = _bounds(damaged, table, key)
        for rows in _ranges(
            lambda low, high: _read(damaged, f"{select} WHERE {key} BETWEEN ? AND ?", (low, high)),
            *bounds,
            lambda low, high: lost.append(f"{table}: {key} {low} to {high}"),
        ):
            target.executemany(insert, rows)
            copied += len(rows)
    target.execute("COMMIT")
    return copied


def _bounds(damaged: sqlite3.Connection, table: str, key: str) -> tuple[int, int]:
    low = _read(damaged, f"SELECT min({key}) FROM {table}", ())
    high = _read(damaged, f"SELECT max({key}) FROM {table}", ())
    return (
        1 if not low else low[0][0] or 1,
        (1 << 24) if not high else high[0][0] or 0,
    )


def _read(damaged: sqlite3.Connection, query: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]] | None:
    try:
        return damaged.execute(query, parameters).fetchall()
    except sqlite3.DatabaseError:
        return None


_BATCH = 1024


def _ranges(
    read: Callable[[int, int], list[tuple[Any, ...]] | None],
    low: int,
    high: int,
    lose: Callable[[int, int], None],
) -> Iterator[list[tuple[Any, ...]]]:
    """Read [low, high] in batches, halving those that fail; what single rows cannot be read is lost."""
    stack = [(start, min(start + _BATCH - 1, high)) for start in reversed(range(low, high + 1, _BATCH))]
    while stack:
        start, end = stack.pop()
        rows = read(start, end)
        if rows is not None:
            if rows:
                yield rows
        elif start == end:
            lose(start, end)
        else:
            middle = (start + end) // 2
            stack += [(middle + 1, end), (start, middle)]


def _mend(target: sqlite3.Connection) -> None:
    """Rows whose other half is lost are made whole or removed, so that every reference leads somewhere."""
    target.execute("BEGIN IMMEDIATE")
    target.execute("DELETE FROM delivery WHERE report NOT IN (SELECT no FROM report)")
    target.execute("DELETE FROM blob WHERE report NOT IN (SELECT no FROM report)")
    target.execute("UPDATE report SET tier = 'gone' WHERE tier = 'row' AND no NOT IN (SELECT report FROM blob)")
    target.execute("UPDATE delivery SET file = NULL WHERE file IS NOT NULL AND file NOT IN (SELECT no FROM file)")
    target.execute("UPDATE report SET file = NULL WHERE file IS NOT NULL AND file NOT IN (SELECT no FROM file)")
    target.execute(
        "UPDATE file SET pending = (SELECT count(*) FROM delivery WHERE file = file.no AND state IN"
        " ('ready', 'leased', 'delayed')), dead = (SELECT count(*) FROM delivery WHERE file = file.no AND state = 'dead')"
    )
    target.execute(
        "UPDATE file SET disposal = CASE WHEN dead > 0 OR dropped > 0 THEN 'failed' ELSE 'done' END"
        " WHERE state = 'converted' AND pending = 0 AND disposal IS NULL AND target IS NULL"
    )
    target.execute("COMMIT")
