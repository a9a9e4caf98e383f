"""Looks into a store without touching it: for the API, the console and the command line, beside a running agent or without one.

Synchronous and read-only; never takes the lock, never holds a snapshot longer than one call, may be used from several threads.
Answers are plain JSON values: times in ISO 8601 (UTC), sizes in bytes, names with undecodable bytes as lone surrogates. Every
list is a page, `{"items": [...], "next": cursor or None}`; `next` is given as `after` for the page behind it. A page never takes
much longer than its time budget: where a filter matches little it may be short, or even empty, and still have a `next`.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dropmill.foundation.clock import Clock, SystemClock
from dropmill.queue.errors import PayloadDamaged, QueueError, StoreUnavailable
from dropmill.queue.queries import DeliveryQuery, FileQuery
from dropmill.queue.records import DeliveryState, FileState
from dropmill.queue.sqlite import rows, schema, searching
from dropmill.queue.sqlite.codec import load, pack
from dropmill.queue.sqlite.payloads import PAYLOADS_FOLDER, SEGMENTS_FOLDER

__all__ = ["DeliveryQuery", "FileQuery", "QueueReader"]

_IDLE = 4
"""Connections that are kept open between calls."""

Json = dict[str, Any]


class QueueReader:
    """Reads the store in the folder `state`.

    Every method raises `StoreUnavailable` where there is no store or it cannot be read, and `SchemaTooNew` where a newer
    dropmill wrote it.
    """

    def __init__(self, state: Path, *, clock: Clock | None = None) -> None:
        self._state = state
        self._path = state / "queue.db"
        self._clock = clock or SystemClock()
        self._idle: list[tuple[sqlite3.Connection, int]] = []
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connections that are kept; the reader may be used again."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection, _ in idle:
            connection.close()

    @property
    def exists(self) -> bool:
        """Whether there is a store at all."""
        return self._path.exists()

    # --- the whole -------------------------------------------------------------------------------------------------------

    def status(self) -> Json:
        """Counts, depth, marks and flags:

        `files` (by state), `folders` (name -> by state, and `pending` deliveries), `deliveries` (lane -> by state, and
        `bytes` not finished), `totals` (deliveries by state, and `pending`, `failed`), `queue` (`items`, `bytes`,
        `maxItems`, `maxBytes`, `highItems`, `lowItems`, `maxDead`, `maxClaimed`, `mostItems`, `mostBytes`, `oldestAge`),
        `flags` (name -> what was set, and `since`), `clean` (whether the last instance ended with nothing to repair).
        """
        with self._connected() as connection:
            meta = dict(connection.execute("SELECT key, value FROM meta"))
            tallies = {
                (kind, name): load(counts)
                for kind, name, counts in connection.execute("SELECT kind, name, counts FROM tally")
            }
            flags = {
                name: {**load(value), "since": rows.moment(since)}
                for name, value, since in connection.execute("SELECT name, value, since FROM flag")
            }
            lanes = {name: counts for (kind, name), counts in tallies.items() if kind == "lane"}
            folders = {name: counts for (kind, name), counts in tallies.items() if kind == "folder"}
            oldest = _oldest(connection, lanes)
        states = [str(state) for state in DeliveryState]
        totals = {state: sum(counts.get(state, 0) for counts in lanes.values()) for state in states}
        total = tallies.get(("total", ""), {})
        return {
            "files": {str(state): sum(counts.get(state, 0) for counts in folders.values()) for state in FileState},
            "folders": {
                name: {**{str(state): counts.get(state, 0) for state in FileState}, "pending": counts.get("pending", 0)}
                for name, counts in sorted(folders.items())
            },
            "deliveries": {
                name: {**{state: counts.get(state, 0) for state in states}, "bytes": counts.get("bytes", 0)}
                for name, counts in sorted(lanes.items())
            },
            "totals": {
                **totals,
                "pending": totals["ready"] + totals["leased"] + totals["delayed"],
                "failed": totals["dead"],
            },
            "queue": {
                "items": total.get("items", 0),
                "bytes": total.get("bytes", 0),
                **(load(meta.get("marks")) or {}),
                "mostItems": total.get("most_items", 0),
                "mostBytes": total.get("most_bytes", 0),
                "oldestAge": 0.0 if oldest is None else round(max(0.0, self._clock.time() - oldest), 3),
            },
            "flags": flags,
            "clean": meta.get("clean") == 1,
        }

    def events(self, *, since: int = 0, limit: int = 1000) -> Sequence[Json]:
        """Events of everything with a `seq` above `since`, in order."""
        with self._connected() as connection:
            return [
                rows.event(row)
                for row in connection.execute(
                    f"SELECT {rows.EVENT} FROM event WHERE seq > ? ORDER BY seq LIMIT ?",
                    (since, limit),
                )
            ]

    # --- files -----------------------------------------------------------------------------------------------------------

    def files(self, query: FileQuery | None = None, *, after: str | None = None, limit: int = 100) -> Json:
        """A page of files, newest first; the keys of each are those of `rows.file`."""
        with self._connected() as connection:
            wanted = searching.files(connection, query)
            found, following = searching.search(connection, wanted, after, limit, descending=True)
            return {"items": [rows.file(row) for row in found], "next": following}

    def file_ids(
        self, query: FileQuery | None = None, *, after: str | None = None, limit: int = 500
    ) -> tuple[Sequence[str], str | None]:
        """Ids of files, oldest first, and where to go on: for walking through all that match while they change."""
        with self._connected() as connection:
            wanted = searching.files(connection, query)
            found, following = searching.search(connection, wanted, after, limit, descending=False)
            return [row[1] for row in found], following

    def count_files(self, query: FileQuery | None = None) -> int:
        """How many match; looks at every row that the index cannot rule out."""
        with self._connected() as connection:
            return searching.count(connection, searching.files(connection, query))

    def file(self, file_id: str) -> Json | None:
        """A file with its `events`, `reports` and `deliveries` (each with its `history`); None: unknown."""
        with self._connected() as connection:
            row = connection.execute(f"SELECT {rows.FILE} FROM file WHERE id = ?", (file_id,)).fetchone()
            return None if row is None else rows.file_detail(connection, row)

    def find_files(self, text: str, *, limit: int = 20) -> Sequence[str]:
        """Ids of the files that `text` may mean, newest first: an id, a sha256, a name, or a path where one lies or lay."""
        with self._connected() as connection:
            return searching.find_files(connection, text, limit)

    def timeline(self, file_id: str) -> Sequence[Json] | None:
        """Everything that happened to a file, in order: `{"at", "kind", "name", "data"}` with kind `event`, `report`,
        `delivery` or `attempt`; None: unknown."""
        detail = self.file(file_id)
        return None if detail is None else rows.timeline(detail)

    # --- deliveries ------------------------------------------------------------------------------------------------------

    def deliveries(self, query: DeliveryQuery | None = None, *, after: str | None = None, limit: int = 100) -> Json:
        """A page of deliveries, newest first; the keys of each are those of `rows.delivery`."""
        with self._connected() as connection:
            wanted = searching.deliveries(connection, query)
            found, following = searching.search(connection, wanted, after, limit, descending=True)
            return {"items": [rows.delivery(row) for row in found], "next": following}

    def delivery_ids(
        self, query: DeliveryQuery | None = None, *, after: str | None = None, limit: int = 500
    ) -> tuple[Sequence[int], str | None]:
        """Ids of deliveries, oldest first, and where to go on."""
        with self._connected() as connection:
            wanted = searching.deliveries(connection, query)
            found, following = searching.search(connection, wanted, after, limit, descending=False)
            return [row[0] for row in found], following

    def count_deliveries(self, query: DeliveryQuery | None = None) -> int:
        """How many match; looks at every row that the index cannot rule out."""
        with self._connected() as connection:
            return searching.count(connection, searching.deliveries(connection, query))

    def delivery(self, delivery_id: int) -> Json | None:
        """A delivery with its `history`; None: unknown."""
        with self._connected() as connection:
            table = searching.DELIVERIES
            row = connection.execute(
                f"SELECT {table.columns} FROM {table.source} WHERE {table.qualified} = ?", (delivery_id,)
            ).fetchone()
            return None if row is None else {**rows.delivery(row), "history": rows.history(connection, delivery_id)}

    def payload(self, report_id: str, revision: int | None = None) -> bytes | None:
        """The bytes of a report (None: the newest revision); None: unknown, or nobody needs them any more.

        Raises:
            PayloadDamaged: they are not what was written.
        """
        query = (
            "SELECT no, tier, segment, place, size, crc FROM report WHERE uid = ?1 AND (?2 IS NULL OR revision = ?2)"
            " ORDER BY revision DESC LIMIT 1"
        )
        seen: tuple[Any, ...] | None = None
        while True:
            with self._connected() as connection:
                row = connection.execute(query, (pack(report_id), revision)).fetchone()
                if row is None or row[1] == "gone":
                    return None
                data = self._bytes(connection, *row[:5])
            if data is not None and zlib.crc32(data) == row[5]:
                return data
            if row == seen:
                if row[1] == "row":
                    return None
                raise PayloadDamaged("the payload on disk is not what was written", where=report_id)
            seen = row  # it may have been moved, or given back and its place used again, while it was read

    def _bytes(
        self, connection: sqlite3.Connection, number: int, tier: str, segment: int | None, place: Any, size: int
    ) -> bytes | None:
        if tier == "row":
            row = connection.execute("SELECT data FROM blob WHERE report = ?", (number,)).fetchone()
            return None if row is None else bytes(row[0])
        path, offset = (
            (self._state / SEGMENTS_FOLDER / str(segment), place)
            if tier == "segment"
            else (self._state / PAYLOADS_FOLDER / place, 0)
        )
        try:
            with path.open("rb") as file:
                file.seek(offset)
                return file.read(size)
        except OSError:
            return None

    # --- machinery -------------------------------------------------------------------------------------------------------

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """A connection in a read transaction: all that one call sees is of one moment."""
        try:
            connection, inode = self._take()
        except (sqlite3.Error, OSError) as error:
            raise self._unavailable(error) from error
        try:
            connection.execute("BEGIN")
            yield connection
            connection.execute("COMMIT")
        except BaseException as error:
            connection.close()
            if isinstance(error, (sqlite3.Error, OSError)):
                raise self._unavailable(error) from error
            raise
        with self._lock:
            if len(self._idle) < _IDLE:
                self._idle.append((connection, inode))
                return
        connection.close()

    def _take(self) -> tuple[sqlite3.Connection, int]:
        inode = os.stat(self._path).st_ino
        with self._lock:
            while self._idle:
                connection, known = self._idle.pop()
                if known == inode:
                    return connection, inode
                connection.close()  # the database was put into quarantine, and another took its place
        connection = sqlite3.connect(
            f"{self._path.absolute().as_uri()}?mode=ro",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=5.0,
        )
        try:
            connection.execute("PRAGMA query_only = ON")
            if schema.check_version(connection, self._path) == 0:
                raise sqlite3.OperationalError("it is being made at this moment")
        except BaseException:
            connection.close()
            raise
        return connection, inode

    def _unavailable(self, error: BaseException) -> QueueError:
        if isinstance(error, FileNotFoundError):
            return StoreUnavailable(
                "there is no queue yet",
                where=str(self._path),
                todo="start the agent, or check agent.state in the config",
            )
        return StoreUnavailable(
            f"the queue cannot be read: {error}", where=str(self._path), todo="start the agent: it repairs its queue"
        )


def _oldest(connection: sqlite3.Connection, lanes: Mapping[str, Mapping[str, int]]) -> float | None:
    """When the oldest unfinished delivery was queued."""
    query = "SELECT created_at FROM delivery WHERE lane = ? AND state = ? ORDER BY id LIMIT 1"
    found = [
        row[0]
        for lane, counts in lanes.items()
        for state in ("ready", "leased", "delayed")
        if counts.get(state) and (row := connection.execute(query, (lane, state)).fetchone())
    ]
    return min(found, default=None)
