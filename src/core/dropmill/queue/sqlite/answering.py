"""What a lane answers about its leases: sent, failed, put off.

Every answer carries the fence of its lease; one that does not match is put on record and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dropmill.queue.records import Acknowledged, Lease
from dropmill.queue.sqlite import endings
from dropmill.queue.sqlite.codec import code_of, dump
from dropmill.queue.sqlite.leasing import DEFAULT_ATTEMPTS
from dropmill.queue.sqlite.transaction import NEVER, Transaction

__all__ = ["acknowledge", "fail", "snooze"]


def _stale(tx: Transaction, lease: Lease, answer: str) -> Acknowledged:
    row = tx.execute(
        "SELECT f.id, d.state, d.fence FROM delivery d LEFT JOIN file f ON f.no = d.file WHERE d.id = ?", (lease.id,)
    ).fetchone()
    file_id, state, fence = row or (None, "unknown", None)
    tx.event(
        file_id or lease.report_id,
        "delivery.stale",
        {
            "delivery": lease.id,
            "lane": lease.lane,
            "answer": answer,
            "fence": lease.fence,
            "current": fence,
            "state": state,
        },
    )
    return Acknowledged(False)


def _attempted(tx: Transaction, lease: Lease, started: float, outcome: str, answer: Mapping[str, Any]) -> None:
    tx.execute(
        "INSERT OR REPLACE INTO attempt VALUES (?, ?, ?, ?, ?, ?)",
        (lease.id, lease.fence, started, tx.now, outcome, dump(answer)),
    )


def acknowledge(
    tx: Transaction, leases: Sequence[Lease], receipts: Sequence[Mapping[str, Any]]
) -> Sequence[Acknowledged]:
    """leased -> sent."""
    if len(leases) != len(receipts):
        raise ValueError(f"{len(leases)} leases were answered with {len(receipts)} receipts")
    answers = []
    for lease, receipt in zip(leases, receipts, strict=True):
        row = tx.execute(
            "SELECT updated_at FROM delivery WHERE id = ? AND state = 'leased' AND fence = ?", (lease.id, lease.fence)
        ).fetchone()
        if row is None:
            answers.append(_stale(tx, lease, "sent"))
            continue
        report, file = tx.execute(
            "UPDATE delivery SET state = 'sent', reason = '', owner = NULL, updated_at = ? WHERE id = ?"
            " RETURNING report, file",
            (tx.now, lease.id),
        ).fetchone()
        _attempted(tx, lease, row[0], "sent", receipt)
        file_id, folder = endings.settle(tx, file, dead=0)
        tx.ledger.delivery(lease.lane, folder, "leased", "sent", lease.size)
        endings.free_payload(tx, report)
        tx.event(
            file_id or lease.report_id,
            "delivery.sent",
            {"delivery": lease.id, "lane": lease.lane, "attempt": lease.attempt},
        )
        answers.append(Acknowledged(True))
    tx.topics.add("capacity")
    return answers


def fail(
    tx: Transaction, lease: Lease, *, error: Mapping[str, Any], delay: float | None, permanent: bool
) -> Acknowledged:
    """leased -> delayed, or dead."""
    row = tx.execute(
        "SELECT updated_at, attempts, file FROM delivery WHERE id = ? AND state = 'leased' AND fence = ?",
        (lease.id, lease.fence),
    ).fetchone()
    if row is None:
        return _stale(tx, lease, "failed")
    started, attempts, file = row
    exhausted = attempts >= tx.shared.lanes.get(lease.lane, DEFAULT_ATTEMPTS)
    _attempted(tx, lease, started, "refused" if permanent else "failed", error)
    if permanent or exhausted:
        why = "refused" if permanent else f"attempts used up ({attempts})"
        endings.bury(
            tx,
            lease.id,
            lane=lease.lane,
            report_id=lease.report_id,
            file=file,
            size=lease.size,
            before="leased",
            reason=why,
            error=error,
        )
    else:
        _set_aside(tx, lease, file, delay or 0.0, charged=True, reason="", error=error)
    return Acknowledged(True)


def _set_aside(
    tx: Transaction,
    lease: Lease,
    file: int | None,
    delay: float,
    *,
    charged: bool,
    reason: str,
    error: Mapping[str, Any] | None,
) -> None:
    """leased -> delayed, or ready where there is no delay."""
    state = "delayed" if delay > 0 else "ready"
    next_at = tx.now + delay if delay > 0 else 0.0
    tx.execute(
        "UPDATE delivery SET state = ?, next_at = ?, attempts = attempts - ?, reason = ?, code = coalesce(?, code),"
        " error = coalesce(?, error), owner = NULL, updated_at = ? WHERE id = ?",
        (state, next_at, not charged, reason, code_of(error), None if error is None else dump(error), tx.now, lease.id),
    )
    tx.ledger.delivery(lease.lane, None, "leased", state, lease.size)
    if delay > 0:
        tx.shared.due[lease.lane] = min(tx.shared.due.get(lease.lane, NEVER), next_at)
    tx.topics.add(f"lane:{lease.lane}")
    tx.event(
        _file_id(tx, file) or lease.report_id,
        "delivery.delayed" if charged else "delivery.snoozed",
        {
            "delivery": lease.id,
            "lane": lease.lane,
            "attempt": lease.attempt,
            "nextAt": next_at or None,
            "reason": reason,
        },
    )


def _file_id(tx: Transaction, file: int | None) -> str | None:
    if file is None:
        return None
    row = tx.execute("SELECT id FROM file WHERE no = ?", (file,)).fetchone()
    return None if row is None else str(row[0])


def snooze(tx: Transaction, leases: Sequence[Lease], *, delay: float, reason: str) -> None:
    """leased -> ready or delayed, the attempt not charged."""
    for lease in leases:
        row = tx.execute(
            "SELECT file FROM delivery WHERE id = ? AND state = 'leased' AND fence = ?", (lease.id, lease.fence)
        ).fetchone()
        if row is None:
            _stale(tx, lease, "snoozed")
        else:
            _set_aside(tx, lease, row[0], delay, charged=False, reason=reason, error=None)
