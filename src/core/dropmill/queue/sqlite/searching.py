"""Finds rows for a list: by ranges of an index where one fits, then by conditions, for as long as the time budget lasts.

Nothing is sorted and no row is read that stands behind the page, so that a page costs the same at any length of the list.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dropmill.queue.queries import DeliveryQuery, FileQuery
from dropmill.queue.records import DeliveryState, FileState
from dropmill.queue.sqlite import rows
from dropmill.queue.sqlite.codec import pack
from dropmill.queue.sqlite.walking import Ranges, walk

__all__ = ["DELIVERIES", "FILES", "Search", "Table", "count", "deliveries", "files", "find_files", "search"]

BUDGET = 0.05
"""Seconds that a page may look for rows that match."""
_CHUNK = 200


@dataclass(frozen=True)
class Table:
    """A table to list: its key comes first among the columns."""

    name: str
    key: str
    source: str
    qualified: str
    """The key, as it is called in `source`."""
    columns: str


FILES = Table("file", "no", "file", "no", rows.FILE)
DELIVERIES = Table(
    "delivery",
    "id",
    "delivery d JOIN report r ON r.no = d.report LEFT JOIN file f ON f.no = d.file",
    "d.id",
    rows.DELIVERY,
)


@dataclass(frozen=True)
class Search:
    """A list: rows of a table in ranges (None: all) that meet a condition."""

    table: Table
    ranges: Ranges | None
    condition: str
    values: Sequence[Any]


def files(connection: sqlite3.Connection, query: FileQuery | None) -> Search:
    """The search for a query of files."""
    query = query or FileQuery()
    ranges = None
    if query.folder or query.state:
        folders = query.folder or _names(connection, "folder")
        states = query.state or tuple(FileState)
        ranges = [("folder = ? AND state = ?", (folder, str(state))) for folder in folders for state in states]
    conditions: list[str] = []
    values: list[Any] = []
    if query.reason is not None:
        conditions.append("reason = ?")
        values.append(pack(query.reason))
    if query.name is not None:
        conditions.append("(CAST(name AS TEXT) GLOB CAST(? AS TEXT) OR CAST(name AS TEXT) GLOB CAST(? AS TEXT))")
        values += [pack(query.name), pack(f"*/{query.name}")]
    if query.converter is not None:
        conditions.append("(converter = ? OR converter GLOB ?)")
        values += [query.converter, f"{query.converter} *"]
    if query.code is not None:
        conditions.append("code = ?")
        values.append(query.code)
    _changed(query.since, query.until, "updated_at", conditions, values)
    return Search(FILES, ranges, " AND ".join(conditions), values)


def deliveries(connection: sqlite3.Connection, query: DeliveryQuery | None) -> Search:
    """The search for a query of deliveries."""
    query = query or DeliveryQuery()
    ranges: list[tuple[str, Sequence[Any]]] | None = None
    conditions: list[str] = []
    values: list[Any] = []
    if query.file is not None:
        reports = connection.execute(
            "SELECT r.no FROM file f JOIN report r ON r.file = f.no WHERE f.id = ?", (query.file,)
        ).fetchall()
        ranges = [("report = ?", report) for report in reports]
        for column, wanted in (("d.lane", query.lane), ("d.state", query.state)):
            if wanted:
                conditions.append(f"{column} IN ({', '.join('?' * len(wanted))})")
                values += map(str, wanted)
    elif query.lane or query.state:
        lanes = query.lane or _names(connection, "lane")
        states = query.state or tuple(DeliveryState)
        ranges = [("lane = ? AND state = ?", (lane, str(state))) for lane in lanes for state in states]
    if query.folder:
        conditions.append(f"f.folder IN ({', '.join('?' * len(query.folder))})")
        values += query.folder
    if query.code is not None:
        conditions.append("d.code = ?")
        values.append(query.code)
    _changed(query.since, query.until, "d.updated_at", conditions, values)
    return Search(DELIVERIES, ranges, " AND ".join(conditions), values)


def _names(connection: sqlite3.Connection, kind: str) -> Sequence[str]:
    return [row[0] for row in connection.execute("SELECT name FROM tally WHERE kind = ?", (kind,))]


def _changed(since: float | None, until: float | None, column: str, conditions: list[str], values: list[Any]) -> None:
    for bound, comparison in ((since, ">="), (until, "<")):
        if bound is not None:
            conditions.append(f"{column} {comparison} ?")
            values.append(bound)


def search(
    connection: sqlite3.Connection, wanted: Search, after: str | None, limit: int, *, descending: bool
) -> tuple[list[Any], str | None]:
    """Rows that match, and the cursor behind them (None: there are no more)."""
    table = wanted.table
    deadline = time.monotonic() + BUDGET
    keys = walk(connection, table.name, table.key, wanted.ranges, after=_cursor(after), descending=descending)
    condition = f" AND {wanted.condition}" if wanted.condition else ""
    size = min(limit + 1, _CHUNK) if not condition else _CHUNK
    found: list[Any] = []
    while chunk := [key for _, key in zip(range(size), keys, strict=False)]:
        query = (
            f"SELECT {table.columns} FROM {table.source} WHERE {table.qualified} IN ({', '.join('?' * len(chunk))})"
            f"{condition} ORDER BY {table.qualified} {'DESC' if descending else 'ASC'}"
        )
        found += connection.execute(query, (*chunk, *wanted.values))
        if len(found) > limit:
            return found[:limit], str(found[limit - 1][0])
        if len(chunk) < size:
            break
        if time.monotonic() > deadline:
            return found, str(chunk[-1])
    return found, None


def _cursor(after: str | None) -> int | None:
    """The key in a cursor; with one that is not ours the list begins anew."""
    return int(after) if after is not None and after.isdecimal() and len(after) < 19 else None


def count(connection: sqlite3.Connection, wanted: Search) -> int:
    """How many match; looks at every row that no range rules out."""
    table = wanted.table
    condition = f" AND {wanted.condition}" if wanted.condition else ""
    total = 0
    for where, parameters in wanted.ranges if wanted.ranges is not None else [("1", ())]:
        keys = f"SELECT {table.key} FROM {table.name} WHERE {where}"
        query = f"SELECT count(*) FROM ({keys})"
        if condition:
            query = f"SELECT count(*) FROM {table.source} WHERE {table.qualified} IN ({keys}){condition}"
        total += connection.execute(query, (*parameters, *(wanted.values if condition else ()))).fetchone()[0]
    return total


def find_files(connection: sqlite3.Connection, text: str, limit: int) -> Sequence[str]:
    """Ids of the files that `text` may mean, newest first: an id, a sha256, a name, or a path where one lies or lay."""
    if connection.execute("SELECT 1 FROM file WHERE id = ?", (pack(text),)).fetchone():
        return [text]
    if len(text) == 64 and set(text.lower()) <= set("0123456789abcdef"):
        query = "SELECT id FROM file WHERE sha256 = ? ORDER BY no DESC LIMIT ?"
        return [row[0] for row in connection.execute(query, (text.lower(), limit))]
    parts = [part for part in text.split("/") if part]
    names = [pack("/".join(parts[start:])) for start in range(len(parts))]
    path = pack(text)
    absolute = text.startswith("/")
    query = (
        f"SELECT id FROM file WHERE name IN ({', '.join('?' * len(names))})"
        f" {'AND (origin = ? OR place = ?)' if absolute else ''} ORDER BY no DESC LIMIT ?"
    )
    found = [row[0] for row in connection.execute(query, (*names, *((path, path) if absolute else ()), limit))]
    if found or not parts:
        return found
    place = path if absolute else pack(f"*/{_literally(text)}")
    # It may lie under another name than it was dropped with: looked for as long as the budget lasts.
    moved = Search(FILES, None, "place = ?" if absolute else "CAST(place AS TEXT) GLOB CAST(? AS TEXT)", (place,))
    return [row[1] for row in search(connection, moved, None, limit, descending=True)[0]]


def _literally(text: str) -> str:
    """A pattern that matches the text itself."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in text)
