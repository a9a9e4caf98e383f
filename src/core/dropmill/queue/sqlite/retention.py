"""Forgets, in small batches, what has come to rest longer ago than it is to be explained.

A file goes with its reports, deliveries, attempts and events, and only when none of its deliveries is pending or dead: what
was not delivered is never forgotten by age.
"""

from __future__ import annotations

from dropmill.queue.sqlite.codec import dump
from dropmill.queue.sqlite.transaction import Transaction

__all__ = ["forget"]

_FILES = 50
_REPORTS = 200
"""Reports in a batch: a file of very many takes several."""
_EVENTS = 500


def forget(tx: Transaction, before: float) -> bool:
    """One batch of what came to rest before that time; True: there may be more."""
    more = _files(tx, before) | _lone_reports(tx, before) | _events(tx, before) | _stray_blobs(tx)
    tx.collect_garbage()
    shared = tx.shared
    numbers = {
        "next_file": shared.next_file,
        "next_report": shared.next_report,
        "next_delivery": shared.next_delivery,
    }
    if more:  # numbers of rows that are gone are not used again
        tx.execute("INSERT OR REPLACE INTO meta VALUES ('next', ?)", (dump(numbers),))
    return more


def _files(tx: Transaction, before: float) -> bool:
    files = tx.execute(
        "SELECT no, id, folder, state FROM file WHERE live = 0 AND updated_at < ? AND pending = 0 AND dead = 0"
        " ORDER BY updated_at LIMIT ?",
        (before, _FILES),
    ).fetchall()
    left = _REPORTS
    for number, file_id, folder, state in files:
        reports = tx.execute("SELECT no, uid FROM report WHERE file = ? LIMIT ?", (number, left + 1)).fetchall()
        for report, uid in reports[:left]:
            _report(tx, report, uid)
        left -= len(reports)
        if left < 0:
            return True
        tx.execute("DELETE FROM file WHERE no = ?", (number,))
        tx.execute("DELETE FROM event WHERE subject = ?", (file_id,))
        tx.ledger.file(folder, state, None)
    return bool(files)


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


def _lone_reports(tx: Transaction, before: float) -> bool:
    """Reports that were offered without a file, all of whose deliveries ended before."""
    shared = tx.shared
    found = tx.execute(
        "SELECT no, uid, file FROM report WHERE no > ? AND created_at < ? ORDER BY no LIMIT ?",
        (shared.swept_reports, before, _EVENTS),
    ).fetchall()
    if not found:
        shared.swept_reports = 0
        return False
    for report, uid, file in found:
        if (
            file is None
            and not tx.execute(
                "SELECT 1 FROM delivery WHERE report = ? AND (state NOT IN ('sent', 'dropped') OR updated_at >= ?)",
                (report, before),
            ).fetchone()
        ):
            _report(tx, report, uid)
    shared.swept_reports = found[-1][0]
    return len(found) == _EVENTS


def _stray_blobs(tx: Transaction) -> bool:
    """After a crash: payloads whose last need ended, and that were not given back in time."""
    shared = tx.shared
    if shared.stray_blobs is None:
        return False
    found = [
        row[0]
        for row in tx.execute(
            "SELECT no FROM report WHERE no > ? AND tier <> 'gone' ORDER BY no LIMIT ?", (shared.stray_blobs, _EVENTS)
        )
    ]
    shared.garbage.update(dict.fromkeys(found, 0))
    shared.stray_blobs = found[-1] if len(found) == _EVENTS else None
    return shared.stray_blobs is not None


def _events(tx: Transaction, before: float) -> bool:
    """Events that belong to nothing that is still known; those of files and reports go with them."""
    shared = tx.shared
    found = tx.execute(
        "SELECT seq FROM event WHERE seq > ?1 AND at < ?2 ORDER BY seq LIMIT ?3", (shared.swept, before, _EVENTS)
    ).fetchall()
    if not found:
        shared.swept = 0
        return False
    first, last = found[0][0], found[-1][0]
    tx.execute(
        "DELETE FROM event WHERE seq BETWEEN ? AND ? AND at < ? AND seq < (SELECT max(seq) FROM event)"
        " AND NOT EXISTS (SELECT 1 FROM file WHERE file.id = event.subject)"
        " AND NOT EXISTS (SELECT 1 FROM report WHERE report.uid = event.subject)",
        (first, last, before),
    )
    shared.swept = last
    return len(found) == _EVENTS
