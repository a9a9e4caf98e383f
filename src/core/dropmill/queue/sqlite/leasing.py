"""Hands deliveries out and takes them back: leases, and what becomes of those whose holder is gone.

A lease is a row's fence at the time it was handed out; every lease raises it, so that an answer to an earlier one is known for
what it is. What is handed out was read and its checksum verified.
"""

from __future__ import annotations

import zlib
from typing import Any

from dropmill.queue.errors import StoreClosed
from dropmill.queue.records import Claimed, Lease
from dropmill.queue.sqlite import endings
from dropmill.queue.sqlite.codec import load, unpack
from dropmill.queue.sqlite.payloads import INLINE, seal
from dropmill.queue.sqlite.transaction import NEVER, Held, Transaction

__all__ = ["DEFAULT_ATTEMPTS", "claim", "damaged", "release_lane", "set_lane"]

DEFAULT_ATTEMPTS = 21
"""Of a lane that nobody has defined."""
_DUE_BATCH = 256


def set_lane(tx: Transaction, lane: str, *, max_attempts: int) -> None:
    """Define or change a lane."""
    tx.execute(
        "INSERT INTO lane VALUES (?, ?) ON CONFLICT DO UPDATE SET max_attempts = excluded.max_attempts",
        (lane, max_attempts),
    )
    tx.shared.lanes[lane] = max_attempts


def _wake_due(tx: Transaction, lane: str, limit: int) -> float:
    """Make delayed deliveries of the lane that are due ready; when the next one is due."""
    bound = tx.shared.due.get(lane, NEVER)
    if bound > tx.now:
        return bound
    woken = tx.execute(
        "UPDATE delivery SET state = 'ready', next_at = 0 WHERE id IN (SELECT id FROM delivery WHERE lane = ? AND state ="
        " 'delayed' AND next_at <= ? ORDER BY next_at LIMIT ?)",
        (lane, tx.now, max(limit, _DUE_BATCH)),
    ).rowcount
    if woken:
        tx.ledger.became_ready(lane, woken)
    (found,) = tx.execute("SELECT min(next_at) FROM delivery WHERE lane = ? AND state = 'delayed'", (lane,)).fetchone()
    tx.shared.due[lane] = bound = NEVER if found is None else float(found)
    return bound


_READY = (
    "SELECT d.id, d.fence, d.attempts, d.created_at, d.size, d.report, d.file, f.id, f.folder, r.uid, r.revision, r.media_type,"
    " r.schema, r.fields, r.sha256, r.crc, r.seal, r.tier, r.segment, r.place, b.data FROM delivery d"
    " JOIN report r ON r.no = d.report LEFT JOIN file f ON f.no = d.file LEFT JOIN blob b ON b.report = d.report"
    " WHERE d.lane = ? AND d.state = 'ready' AND d.id < ? ORDER BY d.id LIMIT ?"
)


def claim(tx: Transaction, lane: str, limit: int, *, max_bytes: int | None, ordered: bool) -> Claimed:
    """ready -> leased."""
    shared = tx.shared
    if shared.sealed:
        raise StoreClosed("the queue is closing: nothing new is handed out", where=lane)
    next_at = _wake_due(tx, lane, limit)
    before = _before_unfinished(tx, lane) if ordered else 1 << 62
    leases: list[Lease] = []
    while not leases:
        leases, broken = _take(tx, lane, before, limit, max_bytes)
        for delivery in broken:
            _bury_damaged(tx, delivery)
        if not broken:
            break
    if leases:
        tx.executemany(
            "UPDATE delivery SET state = 'leased', attempts = attempts + 1, fence = fence + 1, owner = ?, updated_at = ?"
            " WHERE id = ?",
            [(shared.instance, tx.now, lease.id) for lease in leases],
        )
        tx.ledger.delivery(lane, None, "ready", "leased", sum(lease.size for lease in leases), len(leases))
    return Claimed(leases=leases, next_at=None if next_at == NEVER else next_at)


def _take(tx: Transaction, lane: str, before: int, limit: int, max_bytes: int | None) -> tuple[list[Lease], list[int]]:
    """Leases of the oldest that are ready, and ids of those among them that are damaged."""
    allowed = tx.shared.lanes.get(lane, DEFAULT_ATTEMPTS)
    leases: list[Lease] = []
    broken: list[int] = []
    total = 0
    cursor = tx.execute(_READY, (lane, before, limit))
    for row in cursor:
        (delivery, fence, attempts, created_at, size, report, file, file_id, folder, uid, revision) = row[:11]
        (media_type, schema, fields, sha256, crc, sealed, tier, segment, place, data) = row[11:]
        if leases and max_bytes is not None and total + size > max_bytes:
            break
        try:
            sound = seal(uid, revision, media_type, schema, fields, size, sha256, crc) == sealed
        except (AttributeError, TypeError, UnicodeError):
            sound = False  # a damaged row may hold anything
        body = _payload(tx, tier, segment, place, data, size) if sound and size <= INLINE else None
        if not sound or (size <= INLINE and (body is None or len(body) != size or zlib.crc32(body) != crc)):
            broken.append(delivery)
            continue
        total += size
        name = unpack(uid)
        tx.set_lease(delivery, Held(fence + 1, lane, report, file, file_id or uid, folder, size, tx.now))
        leases.append(
            Lease(
                id=delivery,
                fence=fence + 1,
                lane=lane,
                key=f"{name}.{revision}",
                report_id=name,
                media_type=media_type,
                size=size,
                sha256=sha256,
                fields=load(fields),
                attempt=attempts + 1,
                attempts_left=max(0, allowed - attempts - 1),
                created_at=created_at,
                body=body,
            )
        )
    cursor.close()
    return leases, broken


def _before_unfinished(tx: Transaction, lane: str) -> int:
    """The first delivery of the lane that is leased or delayed: in strict order nothing behind it may go."""
    query = "SELECT id FROM delivery WHERE lane = ? AND state = ? ORDER BY id LIMIT 1"
    found = (tx.execute(query, (lane, state)).fetchone() for state in ("leased", "delayed"))
    return min((row[0] for row in found if row is not None), default=1 << 62)


def _payload(
    tx: Transaction, tier: str, segment: int | None, place: Any, data: bytes | None, size: int
) -> bytes | None:
    """A small payload, whole; None: it cannot be read."""
    if tier == "row":
        return data
    try:
        if tier == "segment":
            return b"".join(tx.shared.payloads.pieces(tier, segment, place, None, size, size or 1))
        return b"".join(tx.shared.payloads.pieces(tier, None, None, place, size, size or 1))
    except OSError:
        return None


def release_lane(tx: Transaction, lane: str, reason: str) -> int:
    """leased -> ready for whatever an earlier incarnation of the lane held, not charged; its late answers are stale."""
    rows = tx.execute(
        "SELECT d.id, d.size, coalesce(f.id, r.uid) FROM delivery d JOIN report r ON r.no = d.report"
        " LEFT JOIN file f ON f.no = d.file WHERE d.lane = ? AND d.state = 'leased'",
        (lane,),
    ).fetchall()
    for delivery, size, subject in rows:
        release(tx, delivery, lane, size, subject, reason)
    return len(rows)


def release(tx: Transaction, delivery: int, lane: str, size: int, subject: str | bytes, reason: str) -> None:
    """leased -> ready, the attempt not charged."""
    tx.execute(
        "UPDATE delivery SET state = 'ready', attempts = attempts - 1, owner = NULL, reason = ?, updated_at = ?"
        " WHERE id = ?",
        (reason, tx.now, delivery),
    )
    tx.set_lease(delivery, None)
    tx.ledger.delivery(lane, None, "leased", "ready", size)
    tx.event(subject, "delivery.snoozed", {"delivery": delivery, "lane": lane, "reason": reason})
    tx.topics.add(f"lane:{lane}")


def damaged(tx: Transaction, delivery: int, fence: int) -> None:
    """A leased delivery whose payload proved damaged while it was read."""
    if tx.lease(delivery, fence) is not None:
        _bury_damaged(tx, delivery)


def _bury_damaged(tx: Transaction, delivery: int) -> None:
    row = endings.row_of(tx, delivery)
    assert row is not None
    error = {
        "code": "DM-Q008",
        "what": "the payload on disk is damaged or missing",
        "todo": "convert the file again (retry), or drop the delivery",
    }
    endings.bury(tx, row, reason="payload damaged", error=error)
    endings.lose_payload(tx, row.report)
