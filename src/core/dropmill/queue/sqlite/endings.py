"""How a delivery ends, whoever ends it: what becomes of its file, of its payload, and what is told.

The transition that ends a file's last delivery decides where the file goes, and the one that ends a report's last need for its
payload gives it back, in the same transaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dropmill.queue.sqlite.codec import code_of, dump, unpack
from dropmill.queue.sqlite.transaction import Transaction

__all__ = ["bury", "drop_letter", "free_payload", "lose_payload", "settle", "unsettle"]


def settle(tx: Transaction, file: int | None, *, dead: int) -> tuple[str | None, str | None]:
    """One pending delivery of the file has ended (`dead`: 1, as a dead letter): where the file goes. Its id and folder."""
    if file is None:
        return None, None
    file_id, folder, disposal = tx.execute(
        "UPDATE file SET pending = pending - 1, dead = dead + ?1, disposal ="
        " CASE WHEN pending = 1 AND target IS NULL AND state IN ('converted', 'finished')"
        " THEN nullif(CASE WHEN dead + ?1 > 0 OR dropped > 0 THEN 'failed' ELSE 'done' END, laid) ELSE disposal END"
        " WHERE no = ?2 RETURNING id, folder, disposal",
        (dead, file),
    ).fetchone()
    if disposal is not None:
        tx.topics.add("disposals")
    return file_id, folder


def unsettle(tx: Transaction, file: int | None) -> tuple[str | None, str | None]:
    """A dead letter of the file is pending again."""
    if file is None:
        return None, None
    row = tx.execute(
        "UPDATE file SET pending = pending + 1, dead = dead - 1, disposal = CASE WHEN target IS NULL AND state IN"
        " ('converted', 'finished') THEN NULL ELSE disposal END WHERE no = ? RETURNING id, folder",
        (file,),
    ).fetchone()
    return row[0], row[1]


def free_payload(tx: Transaction, report: int) -> None:
    """Give the report's payload back if no delivery needs it any more (a dead letter does)."""
    row = tx.execute(
        "SELECT tier, segment, place FROM report WHERE no = ?1 AND NOT EXISTS"
        " (SELECT 1 FROM delivery WHERE report = ?1 AND state NOT IN ('sent', 'dropped'))",
        (report,),
    ).fetchone()
    if row is None or row[0] == "gone":
        return
    tier, segment, place = row
    tx.execute("UPDATE report SET tier = 'gone', segment = NULL, place = NULL WHERE no = ?", (report,))
    if tier == "row":
        tx.execute("DELETE FROM blob WHERE report = ?", (report,))
    else:
        tx.freed(tier, segment, place if tier == "file" else None)


def lose_payload(tx: Transaction, report: int) -> None:
    """The payload is worthless: its place is given back, so that a new conversion can store it again."""
    tier, segment, place = tx.execute("SELECT tier, segment, place FROM report WHERE no = ?", (report,)).fetchone()
    tx.execute("UPDATE report SET tier = 'gone', segment = NULL, place = NULL WHERE no = ?", (report,))
    tx.execute("DELETE FROM blob WHERE report = ?", (report,))
    if tier in ("segment", "file"):
        tx.freed(tier, segment, place if tier == "file" else None)


def bury(
    tx: Transaction,
    delivery: int,
    *,
    lane: str,
    report_id: str,
    file: int | None,
    size: int,
    before: str,
    reason: str,
    error: Mapping[str, Any] | None,
) -> None:
    """A pending delivery becomes a dead letter."""
    tx.execute(
        "UPDATE delivery SET state = 'dead', reason = ?, code = coalesce(?, code), error = coalesce(?, error),"
        " owner = NULL, updated_at = ? WHERE id = ?",
        (reason, code_of(error), None if error is None else dump(error), tx.now, delivery),
    )
    file_id, folder = settle(tx, file, dead=1)
    tx.ledger.delivery(lane, folder, before, "dead", size)
    tx.event(file_id or report_id, "delivery.dead", {"delivery": delivery, "lane": lane, "reason": reason})
    tx.topics.add("capacity")


def drop_letter(
    tx: Transaction,
    delivery: int,
    lane: str,
    size: int,
    file: int | None,
    report: int,
    uid: str | bytes,
    revision: int,
    sha256: str,
    *,
    reason: str,
    counted: int,
) -> None:
    tx.execute(
        "UPDATE delivery SET state = 'dropped', reason = ?, updated_at = ? WHERE id = ?", (reason, tx.now, delivery)
    )
    file_id = None
    if file is not None:
        (file_id,) = tx.execute(
            "UPDATE file SET dead = dead - 1, dropped = dropped + ? WHERE no = ? RETURNING id", (counted, file)
        ).fetchone()
    tx.ledger.delivery(lane, None, "dead", "dropped", size)
    free_payload(tx, report)
    tx.event(
        file_id or uid,
        "delivery.dropped",
        {
            "delivery": delivery,
            "lane": lane,
            "key": f"{unpack(uid)}.{revision}",
            "size": size,
            "sha256": sha256,
            "reason": reason,
        },
    )
