"""Forgets, in small batches, what has come to rest longer ago than it is to be explained.

A file goes with its reports, deliveries, attempts and events, and only when none of its deliveries is pending or dead: what
was not delivered is never forgotten by age.
"""

from __future__ import annotations

from dropmill.queue.sqlite.codec import dump
from dropmill.queue.sqlite.transaction import Transaction

__all__ = ["forget"]

_BATCH = 100
_EVENTS = 500


def forget(tx: Transaction, before: float) -> bool:
    """One batch; True: there may be more."""
    more = _files(tx, before)
    more |= _lone_deliveries(tx, before)
    more |= _events(tx, before)
    if more:
        numbers = {"next_file": tx.shared.next_file, "next_report": tx.shared.next_report}
        numbers["next_delivery"] = tx.shared.next_delivery
        tx.execute("INSERT OR REPLACE INTO meta VALUES ('next', ?)", (dump(numbers),))
    return more


def _files(tx: Transaction, before: float) -> bool:
    rows = tx.execute(
        "SELECT no, id, folder, state FROM file WHERE live = 0 AND updated_at < ? AND pending = 0 AND dead = 0"
        " ORDER BY updated_at LIMIT ?",
        (before, _BATCH),
    ).fetchall()
    for number, file_id, folder, state in rows:
        for report, uid in tx.execute("SELECT no, uid FROM report WHERE file = ?", (number,)).fetchall():
            _report(tx, report, uid)
        tx.execute("DELETE FROM file WHERE no = ?", (number,))
        tx.execute("DELETE FROM event WHERE subject = ?", (file_id,))
        tx.ledger.file(folder, state, None)
    return len(rows) == _BATCH


def _report(tx: Transaction, report: int, uid: str | bytes) -> None:
    for delivery, lane, state, size in tx.execute(
        "SELECT id, lane, state, size FROM delivery WHERE report = ?", (report,)
    ).fetchall():
        tx.execute("DELETE FROM attempt WHERE delivery = ?", (delivery,))
        tx.execute("DELETE FROM delivery WHERE id = ?", (delivery,))
        tx.ledger.delivery(lane, None, state, None, size)
    tx.execute("DELETE FROM report WHERE no = ?", (report,))
    tx.execute("DELETE FROM blob WHERE report = ?", (report,))
    tx.execute("DELETE FROM event WHERE subject = ?", (uid,))


def _lone_deliveries(tx: Transaction, before: float) -> bool:
    rows = tx.execute(
        "SELECT d.report, r.uid FROM delivery d JOIN report r ON r.no = d.report WHERE d.file IS NULL"
        " AND d.state IN ('sent', 'dropped') AND d.updated_at < ? ORDER BY d.updated_at LIMIT ?",
        (before, _BATCH),
    ).fetchall()
    for report, uid in dict(rows).items():
        if not tx.execute(
            "SELECT 1 FROM delivery WHERE report = ? AND state NOT IN ('sent', 'dropped') LIMIT 1", (report,)
        ).fetchone():
            _report(tx, report, uid)
    return len(rows) == _BATCH


def _events(tx: Transaction, before: float) -> bool:
    """Events that belong to nothing that is still known; those of files and reports go with them."""
    rows = tx.execute(
        "SELECT seq FROM event WHERE seq > ?1 AND at < ?2 ORDER BY seq LIMIT ?3", (tx.shared.swept, before, _EVENTS)
    ).fetchall()
    if not rows:
        tx.shared.swept = 0
        return False
    tx.execute(
        "DELETE FROM event WHERE seq BETWEEN ? AND ? AND at < ? AND seq < (SELECT max(seq) FROM event)"
        " AND NOT EXISTS (SELECT 1 FROM file WHERE file.id = event.subject)"
        " AND NOT EXISTS (SELECT 1 FROM report WHERE report.uid = event.subject)",
        (rows[0][0], rows[-1][0], before),
    )
    tx.shared.swept = rows[-1][0]
    return len(rows) == _EVENTS
