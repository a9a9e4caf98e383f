"""Counts of everything in the store, by state, exact at every commit.

The writer thread alone changes them, inside the transaction that changes the rows; what a rolled back transaction counted is
taken back. They are written with each transaction (only the lines it touched), so that a reader of the database sees counts
that fit the rows, and are recounted from the rows after an unclean end.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from dropmill.queue.sqlite.codec import dump, load

__all__ = ["PENDING", "Ledger"]

PENDING = frozenset({"ready", "leased", "delayed"})

Counts = dict[str, int]

_TOTAL = ("total", "")


class Ledger:
    """Lines of counts: one for each lane (deliveries by state), one for each folder (files by state), one total."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, str], Counts] = {}
        self._undo: list[tuple[Counts, str, int]] = []
        self._touched: set[tuple[str, str]] = set()
        self.total: Counts = {}
        self._clear()

    def _clear(self) -> None:
        self.total = {
            "items": 0,
            "bytes": 0,
            "leased": 0,
            "leased_bytes": 0,
            "dead": 0,
            "most_items": 0,
            "most_bytes": 0,
            "claimed": 0,
            "converting": 0,
            "parked": 0,
        }
        self._lines = {_TOTAL: self.total}
        self._undo.clear()
        self._touched.clear()

    def _add(self, line: tuple[str, str], counts: Counts, field: str, amount: int) -> None:
        counts[field] = counts.get(field, 0) + amount
        self._undo.append((counts, field, amount))
        self._touched.add(line)

    def _line(self, kind: str, name: str) -> tuple[tuple[str, str], Counts]:
        key = (kind, name)
        counts = self._lines.get(key)
        if counts is None:
            counts = self._lines[key] = {}
        return key, counts

    def file(self, folder: str, before: str | None, after: str | None, count: int = 1) -> None:
        """Files went from one state to another; None: they were not there, or are no more."""
        line, counts = self._line("folder", folder)
        for state, amount in ((before, -count), (after, count)):
            if state is not None:
                self._add(line, counts, state, amount)
                if state in self.total:
                    self._add(_TOTAL, self.total, state, amount)

    def delivery(
        self, lane: str, folder: str | None, before: str | None, after: str | None, size: int, count: int = 1
    ) -> None:
        """Deliveries of `size` bytes in all went from one state to another; None: they are new, or are no more."""
        line, counts = self._line("lane", lane)
        for state, amount in ((before, -count), (after, count)):
            if state is not None:
                self._add(line, counts, state, amount)
                if state in ("leased", "dead"):
                    self._add(_TOTAL, self.total, state, amount)
        if before == "leased" or after == "leased":
            self._add(_TOTAL, self.total, "leased_bytes", size if after == "leased" else -size)
        change = (after in PENDING) - (before in PENDING)
        if change:
            self._add(line, counts, "bytes", change * size)
            self._add(_TOTAL, self.total, "items", change * count)
            self._add(_TOTAL, self.total, "bytes", change * size)
            if folder is not None:
                line, counts = self._line("folder", folder)
                self._add(line, counts, "pending", change * count)

    def became_ready(self, lane: str, count: int) -> None:
        """`count` delayed deliveries of a lane became due."""
        line, counts = self._line("lane", lane)
        self._add(line, counts, "delayed", -count)
        self._add(line, counts, "ready", count)

    def save(self, connection: sqlite3.Connection) -> None:
        """Write the lines that changed, in the open transaction; remember the most that ever waited."""
        if not self._touched:
            return
        total = self.total
        for most, now in (("most_items", "items"), ("most_bytes", "bytes")):
            if total[now] > total[most]:
                self._add(_TOTAL, total, most, total[now] - total[most])
        connection.executemany(
            "INSERT INTO tally VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET counts = excluded.counts",
            [(*line, dump(self._lines[line])) for line in self._touched],
        )

    def committed(self) -> None:
        """What was counted since the last commit stands."""
        self._undo.clear()
        self._touched.clear()

    def rolled_back(self) -> None:
        """What was counted since the last commit did not happen."""
        for counts, field, amount in reversed(self._undo):
            counts[field] -= amount
        self.committed()

    def load(self, connection: sqlite3.Connection) -> bool:
        """Take the counts that the last commit wrote; whether there were any (a salvaged database has none)."""
        self._clear()
        rows = connection.execute("SELECT kind, name, counts FROM tally").fetchall()
        for kind, name, text in rows:
            self._line(kind, name)[1].update(load(text))
        return bool(rows)

    def recount(self, connection: sqlite3.Connection) -> None:
        """Count the rows anew, in the open transaction; the caller saves and commits."""
        most = {name: self.total[name] for name in ("most_items", "most_bytes")}
        self._clear()
        connection.execute("DELETE FROM tally")
        for folder, state, count in connection.execute(
            "SELECT folder, state, count(*) FROM file GROUP BY folder, state"
        ):
            line, counts = self._line("folder", folder)
            self._add(line, counts, state, count)
            if state in self.total:
                self._add(_TOTAL, self.total, state, count)
        for folder, pending in connection.execute(
            "SELECT folder, sum(pending) FROM file WHERE pending > 0 GROUP BY folder"
        ):
            line, counts = self._line("folder", folder)
            self._add(line, counts, "pending", pending)
        for lane, state, count, size in connection.execute(
            "SELECT lane, state, count(*), sum(size) FROM delivery GROUP BY lane, state"
        ):
            line, counts = self._line("lane", lane)
            self._add(line, counts, state, count)
            if state in PENDING:
                self._add(line, counts, "bytes", size)
                self._add(_TOTAL, self.total, "items", count)
                self._add(_TOTAL, self.total, "bytes", size)
            if state in ("leased", "dead"):
                self._add(_TOTAL, self.total, state, count)
            if state == "leased":
                self._add(_TOTAL, self.total, "leased_bytes", size)
        self.total.update(most)
        self._touched.add(_TOTAL)

    def lanes(self) -> Sequence[str]:
        """Every lane that ever had a delivery."""
        return [name for kind, name in self._lines if kind == "lane"]

    def folders(self) -> Mapping[str, int]:
        """Unfinished deliveries by folder."""
        return {
            name: counts["pending"]
            for (kind, name), counts in self._lines.items()
            if kind == "folder" and counts.get("pending")
        }
