"""How a delivery ends other than by an answer, and what becomes of its payload and of its file.

The transition that ends a file's last delivery decides where the file goes, and the one that ends a report's last need for its
payload gives it back, in the same transaction (`Transaction.ended`, `Transaction.unneeded`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from dropmill.queue.sqlite.codec import code_of, dump, unpack
from dropmill.queue.sqlite.transaction import Transaction

__all__ = ["Row", "bury", "drop_letter", "lose_payload", "row_of"]


class Row(NamedTuple):
    """A delivery with what its end concerns."""

    id: int
    state: str
    lane: str
    size: int
    report: int
    uid: str | bytes
    revision: int
    sha256: str
    tier: str
    file: int | None
    file_id: str | None
    folder: str | None

    @property
    def subject(self) -> str | bytes:
        """Whom events are about."""
        return self.file_id or self.uid


def row_of(tx: Transaction, delivery: int) -> Row | None:
    """The delivery's row; None: unknown."""
    row = tx.execute(
        "SELECT d.id, d.state, d.lane, d.size, d.report, r.uid, r.revision, r.sha256, r.tier, d.file, f.id, f.folder"
        " FROM delivery d JOIN report r ON r.no = d.report LEFT JOIN file f ON f.no = d.file WHERE d.id = ?",
        (delivery,),
    ).fetchone()
    return None if row is None else Row(*row)


def bury(tx: Transaction, row: Row, *, reason: str, error: Mapping[str, Any] | None) -> None:
    """A pending delivery becomes a dead letter."""
    tx.execute(
        "UPDATE delivery SET state = 'dead', reason = ?, code = coalesce(?, code), error = coalesce(?, error),"
        " owner = NULL, updated_at = ? WHERE id = ?",
        (reason, code_of(error), None if error is None else dump(error), tx.now, row.id),
    )
    if row.state == "leased":
        tx.set_lease(row.id, None)
    tx.ended(row.file, dead=1)
    tx.ledger.delivery(row.lane, row.folder, row.state, "dead", row.size)
    tx.event(row.subject, "delivery.dead", {"delivery": row.id, "lane": row.lane, "reason": reason})
    tx.topics.add("capacity")


def drop_letter(tx: Transaction, row: Row, *, reason: str, counted: int = 1) -> None:
    """A dead letter is given up; `counted`: 0 where its file may be done all the same."""
    tx.flush()
    tx.execute(
        "UPDATE delivery SET state = 'dropped', reason = ?, updated_at = ? WHERE id = ?", (reason, tx.now, row.id)
    )
    if row.file is not None:
        tx.execute("UPDATE file SET dead = dead - 1, dropped = dropped + ? WHERE no = ?", (counted, row.file))
    tx.ledger.delivery(row.lane, None, "dead", "dropped", row.size)
    tx.unneeded(row.report, row.size)
    tx.event(
        row.subject,
        "delivery.dropped",
        {
            "delivery": row.id,
            "lane": row.lane,
            "key": f"{unpack(row.uid)}.{row.revision}",
            "size": row.size,
            "sha256": row.sha256,
            "reason": reason,
        },
    )


def lose_payload(tx: Transaction, report: int) -> None:
    """The payload is worthless: its place is given back, so that a new conversion can store it again."""
    tier, segment, place = tx.execute("SELECT tier, segment, place FROM report WHERE no = ?", (report,)).fetchone()
    tx.execute("UPDATE report SET tier = 'gone', segment = NULL, place = NULL WHERE no = ?", (report,))
    tx.execute("DELETE FROM blob WHERE report = ?", (report,))
    if tier in ("segment", "file"):
        tx.freed(tier, segment, place if tier == "file" else None)
