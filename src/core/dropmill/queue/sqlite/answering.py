"""What a lane answers about its leases: sent, failed, put off.

Every answer carries the fence of its lease; one that does not match is put on record and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dropmill.queue.records import Acknowledged, Lease
from dropmill.queue.sqlite.codec import code_of, dump, pack
from dropmill.queue.sqlite.leasing import DEFAULT_ATTEMPTS
from dropmill.queue.sqlite.transaction import NEVER, Held, Transaction

__all__ = ["acknowledge", "fail", "snooze"]

_ATTEMPT = "INSERT OR REPLACE INTO attempt VALUES (?, ?, ?, ?, ?, ?)"
_SENT = (
    "UPDATE delivery SET state = 'sent', reason = '', owner = NULL, updated_at = ?, started_at = ?, receipt = ?"
    " WHERE id = ? AND state = 'leased'"
)
_DEAD = (
    "UPDATE delivery SET state = 'dead', reason = ?, code = ?, error = ?, owner = NULL, updated_at = ?"
    " WHERE id = ? AND state = 'leased'"
)
_ASIDE = (
    "UPDATE delivery SET state = ?, next_at = ?, attempts = attempts - ?, reason = ?, code = coalesce(?, code),"
    " error = coalesce(?, error), owner = NULL, updated_at = ? WHERE id = ? AND state = 'leased'"
)
_LOST = "a lease that was answered is not held"

_COUNTED = Acknowledged(True)


def acknowledge(
    tx: Transaction, leases: Sequence[Lease], receipts: Sequence[Mapping[str, Any]]
) -> Sequence[Acknowledged]:
    """leased -> sent."""
    answers = []
    now = tx.now
    for lease, receipt in zip(leases, receipts, strict=True):
        held = tx.lease(lease.id, lease.fence)
        if held is None:
            answers.append(_stale(tx, lease, "sent"))
            continue
        tx.set_lease(lease.id, None)
        tx.later(_SENT, (now, held.started, dump(receipt), lease.id), required=_LOST)
        tx.ended(held.file, dead=0)
        tx.ledger.delivery(held.lane, held.folder, "leased", "sent", held.size)
        tx.unneeded(held.report, held.size)
        tx.event(held.subject, "delivery.sent", {"delivery": lease.id, "lane": held.lane, "attempt": lease.attempt})
        answers.append(_COUNTED)
    tx.topics.add("capacity")
    return answers


def fail(
    tx: Transaction, lease: Lease, *, error: Mapping[str, Any], delay: float | None, permanent: bool
) -> Acknowledged:
    """leased -> delayed, or dead."""
    held = tx.lease(lease.id, lease.fence)
    if held is None:
        return _stale(tx, lease, "failed")
    tx.set_lease(lease.id, None)
    text = dump(error)
    tx.later(_ATTEMPT, (lease.id, lease.fence, held.started, tx.now, "refused" if permanent else "failed", text))
    if not permanent and lease.attempt < tx.shared.lanes.get(held.lane, DEFAULT_ATTEMPTS):
        _set_aside(tx, lease, held, delay or 0.0, charged=True, reason="", error=error)
        return _COUNTED
    reason = "refused" if permanent else f"attempts used up ({lease.attempt})"
    tx.later(_DEAD, (reason, code_of(error), text, tx.now, lease.id), required=_LOST)
    tx.ended(held.file, dead=1)
    tx.ledger.delivery(held.lane, held.folder, "leased", "dead", held.size)
    tx.event(held.subject, "delivery.dead", {"delivery": lease.id, "lane": held.lane, "reason": reason, "error": error})
    tx.topics.add("capacity")
    return _COUNTED


def snooze(tx: Transaction, leases: Sequence[Lease], *, delay: float, reason: str) -> None:
    """leased -> ready or delayed, the attempt not charged."""
    for lease in leases:
        held = tx.lease(lease.id, lease.fence)
        if held is None:
            _stale(tx, lease, "snoozed")
        else:
            tx.set_lease(lease.id, None)
            _set_aside(tx, lease, held, delay, charged=False, reason=reason, error=None)


def _set_aside(
    tx: Transaction,
    lease: Lease,
    held: Held,
    delay: float,
    *,
    charged: bool,
    reason: str,
    error: Mapping[str, Any] | None,
) -> None:
    """leased -> delayed, or ready where there is no delay."""
    state = "delayed" if delay > 0 else "ready"
    next_at = tx.now + delay if delay > 0 else 0.0
    text = None if error is None else dump(error)
    tx.later(
        _ASIDE, (state, next_at, not charged, pack(reason), code_of(error), text, tx.now, lease.id), required=_LOST
    )
    tx.ledger.delivery(held.lane, None, "leased", state, held.size)
    if delay > 0:
        tx.shared.due[held.lane] = min(tx.shared.due.get(held.lane, NEVER), next_at)
    tx.topics.add(f"lane:{held.lane}")
    told: dict[str, Any] = {
        "delivery": lease.id,
        "lane": held.lane,
        "attempt": lease.attempt,
        "nextAt": next_at or None,
    }
    if charged:
        tx.event(held.subject, "delivery.delayed", {**told, "error": error})
    else:
        tx.event(held.subject, "delivery.snoozed", {**told, "reason": reason})


def _stale(tx: Transaction, lease: Lease, answer: str) -> Acknowledged:
    """The lease was lost meanwhile: on record, without effect."""
    tx.flush()
    row = tx.execute(
        "SELECT coalesce(f.id, r.uid), d.state, d.fence FROM delivery d JOIN report r ON r.no = d.report"
        " LEFT JOIN file f ON f.no = d.file WHERE d.id = ?",
        (lease.id,),
    ).fetchone()
    subject, state, fence = row or (pack(lease.report_id), "unknown", None)
    tx.event(
        subject,
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
