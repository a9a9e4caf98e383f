"""Transitions of deliveries: leased, sent, delayed, dead, re-armed, dropped, evicted.

Every answer carries the fence of its lease; one that does not match is put on record and changes nothing. The transition that
ends a file's last delivery decides where the file goes, and the one that ends a report's last delivery gives its payload back,
in the same transaction.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dropmill.api import Evict
from dropmill.queue.errors import StoreClosed
from dropmill.queue.records import Acknowledged, Claimed, Lease
from dropmill.queue.sqlite.codec import dump, load, unpack
from dropmill.queue.sqlite.payloads import INLINE, seal
from dropmill.queue.sqlite.transaction import Transaction

__all__ = [
    "DEFAULT_ATTEMPTS",
    "Victim",
    "acknowledge",
    "claim",
    "damaged",
    "drop",
    "evict",
    "fail",
    "free_payload",
    "oldest",
    "release_lane",
    "retry",
    "set_lane",
    "snooze",
    "supersede",
    "victims",
]

DEFAULT_ATTEMPTS = 21
_DUE_BATCH = 256
_NEVER = float("inf")


def set_lane(tx: Transaction, lane: str, *, max_attempts: int) -> None:
    tx.execute(
        "INSERT INTO lane VALUES (?, ?) ON CONFLICT DO UPDATE SET max_attempts = excluded.max_attempts",
        (lane, max_attempts),
    )
    tx.shared.lanes[lane] = max_attempts


# --- leasing -------------------------------------------------------------------------------------------------------------


def _wake_due(tx: Transaction, lane: str, limit: int) -> float:
    """Make delayed deliveries of the lane that are due ready; when the next one is due."""
    bound = tx.shared.due.get(lane, _NEVER)
    if bound > tx.now:
        return bound
    woken = tx.execute(
        "UPDATE delivery SET state = 'ready', next_at = 0 WHERE id IN (SELECT id FROM delivery WHERE lane = ? AND state ="
        " 'delayed' AND next_at <= ? ORDER BY next_at LIMIT ?)",
        (lane, tx.now, max(limit, _DUE_BATCH)),
    ).rowcount
    if woken:
        tx.ledger.became_ready(lane, woken)
    (bound,) = tx.execute("SELECT min(next_at) FROM delivery WHERE lane = ? AND state = 'delayed'", (lane,)).fetchone()
    tx.shared.due[lane] = bound = _NEVER if bound is None else bound
    return bound


_READY = (
    "SELECT d.id, d.fence, d.attempts, d.created_at, d.size, r.uid, r.revision, r.media_type, r.schema, r.fields,"
    " r.sha256, r.crc, r.seal, r.tier, r.segment, r.place, b.data FROM delivery d JOIN report r ON r.no = d.report"
    " LEFT JOIN blob b ON b.report = d.report WHERE d.lane = ? AND d.state = 'ready' AND d.id < ? ORDER BY d.id LIMIT ?"
)


def claim(tx: Transaction, lane: str, limit: int, *, max_bytes: int | None, ordered: bool) -> Claimed:
    """ready -> leased."""
    if tx.shared.sealed:
        raise StoreClosed("the queue is closing: nothing new is handed out", where=lane)
    next_at = _wake_due(tx, lane, limit)
    before = 1 << 62
    if ordered:
        for state in ("leased", "delayed"):
            row = tx.execute(
                "SELECT id FROM delivery WHERE lane = ? AND state = ? ORDER BY id LIMIT 1", (lane, state)
            ).fetchone()
            if row is not None:
                before = min(before, row[0])
    allowed = tx.shared.lanes.get(lane, DEFAULT_ATTEMPTS)
    leases: list[Lease] = []
    broken: list[int] = []
    total = 0
    cursor = tx.execute(_READY, (lane, before, limit))
    for row in cursor:
        (delivery, fence, attempts, created_at, size, uid, revision, media_type, schema, fields) = row[:10]
        (sha256, crc, sealed, tier, segment, place, data) = row[10:]
        if leases and max_bytes is not None and total + size > max_bytes:
            break
        sound = seal(uid, revision, media_type, schema, fields, size, sha256, crc) == sealed
        body = _payload(tx, tier, segment, place, data, size) if sound and size <= INLINE else None
        if not sound or (size <= INLINE and (body is None or len(body) != size or zlib.crc32(body) != crc)):
            broken.append(delivery)
            continue
        total += size
        name = unpack(uid)
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
    owner = tx.shared.instance
    tx.executemany(
        "UPDATE delivery SET state = 'leased', attempts = attempts + 1, fence = fence + 1, owner = ?, updated_at = ?"
        " WHERE id = ?",
        [(owner, tx.now, lease.id) for lease in leases],
    )
    for lease in leases:
        tx.ledger.delivery(lane, None, "ready", "leased", lease.size)
    for delivery in broken:
        _end_damaged(tx, delivery, "ready")
    return Claimed(leases=leases, next_at=None if next_at == _NEVER else next_at)


def _payload(
    tx: Transaction, tier: str, segment: int | None, place: Any, data: bytes | None, size: int
) -> bytes | None:
    if tier == "row":
        return data
    try:
        if tier == "segment":
            return b"".join(tx.shared.payloads.pieces(tier, segment, place, None, size, size or 1))
        return b"".join(tx.shared.payloads.pieces(tier, None, None, place, size, size or 1))
    except OSError:
        return None


# --- answers -------------------------------------------------------------------------------------------------------------


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
        file_id, folder = settle(tx, file, dead=0)
        tx.ledger.delivery(lease.lane, folder, "leased", "sent", lease.size)
        free_payload(tx, report)
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
        _bury(tx, lease.id, lease.lane, lease.report_id, file, lease.size, "leased", why, dump(error))
    else:
        _set_aside(tx, lease, file, delay or 0.0, charged=True, reason="", error=dump(error))
    return Acknowledged(True)


def _bury(
    tx: Transaction,
    delivery: int,
    lane: str,
    report_id: str,
    file: int | None,
    size: int,
    before: str,
    reason: str,
    error: str | None,
) -> None:
    """A pending delivery becomes a dead letter."""
    tx.execute(
        "UPDATE delivery SET state = 'dead', reason = ?, error = coalesce(?, error), owner = NULL, updated_at = ?"
        " WHERE id = ?",
        (reason, error, tx.now, delivery),
    )
    file_id, folder = settle(tx, file, dead=1)
    tx.ledger.delivery(lane, folder, before, "dead", size)
    tx.event(file_id or report_id, "delivery.dead", {"delivery": delivery, "lane": lane, "reason": reason})
    tx.topics.add("capacity")


def _set_aside(
    tx: Transaction, lease: Lease, file: int | None, delay: float, *, charged: bool, reason: str, error: str | None
) -> None:
    """leased -> delayed, or ready where there is no delay."""
    state = "delayed" if delay > 0 else "ready"
    next_at = tx.now + delay if delay > 0 else 0.0
    tx.execute(
        "UPDATE delivery SET state = ?, next_at = ?, attempts = attempts - ?, reason = ?, error = coalesce(?, error),"
        " owner = NULL, updated_at = ? WHERE id = ?",
        (state, next_at, not charged, reason, error, tx.now, lease.id),
    )
    tx.ledger.delivery(lease.lane, None, "leased", state, lease.size)
    if delay > 0:
        tx.shared.due[lease.lane] = min(tx.shared.due.get(lease.lane, _NEVER), next_at)
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


def release_lane(tx: Transaction, lane: str, reason: str) -> int:
    """leased -> ready for whatever an earlier incarnation of the lane held, not charged; its late answers are stale."""
    rows = tx.execute(
        "SELECT d.id, d.size, f.id, r.uid FROM delivery d JOIN report r ON r.no = d.report LEFT JOIN file f ON f.no = d.file"
        " WHERE d.lane = ? AND d.state = 'leased'",
        (lane,),
    ).fetchall()
    for delivery, size, file_id, uid in rows:
        tx.execute(
            "UPDATE delivery SET state = 'ready', attempts = attempts - 1, owner = NULL, reason = ?, updated_at = ?"
            " WHERE id = ?",
            (reason, tx.now, delivery),
        )
        tx.ledger.delivery(lane, None, "leased", "ready", size)
        tx.event(file_id or uid, "delivery.snoozed", {"delivery": delivery, "lane": lane, "reason": reason})
    if rows:
        tx.topics.add(f"lane:{lane}")
    return len(rows)


def damaged(tx: Transaction, delivery: int, fence: int) -> None:
    """A leased delivery whose payload proved damaged while it was read."""
    if tx.execute(
        "SELECT 1 FROM delivery WHERE id = ? AND state = 'leased' AND fence = ?", (delivery, fence)
    ).fetchone():
        _end_damaged(tx, delivery, "leased")


def _end_damaged(tx: Transaction, delivery: int, before: str) -> None:
    lane, file, size, report, uid = tx.execute(
        "SELECT d.lane, d.file, d.size, d.report, r.uid FROM delivery d JOIN report r ON r.no = d.report WHERE d.id = ?",
        (delivery,),
    ).fetchone()
    error = {
        "code": "DM-Q008",
        "what": "the payload on disk is damaged or missing",
        "todo": "convert the file again (retry), or drop the delivery",
    }
    _bury(tx, delivery, lane, unpack(uid), file, size, before, "payload damaged", dump(error))
    _lose_payload(tx, report)


def _lose_payload(tx: Transaction, report: int) -> None:
    """The payload is worthless: its place is given back, so that a new conversion can store it again."""
    tier, segment, place = tx.execute("SELECT tier, segment, place FROM report WHERE no = ?", (report,)).fetchone()
    tx.execute("UPDATE report SET tier = 'gone', segment = NULL, place = NULL WHERE no = ?", (report,))
    tx.execute("DELETE FROM blob WHERE report = ?", (report,))
    if tier in ("segment", "file"):
        tx.freed(tier, segment, place if tier == "file" else None)


# --- dead letters and eviction -------------------------------------------------------------------------------------------


def retry(tx: Transaction, ids: Sequence[int]) -> int:
    """dead -> ready with fresh attempts, as many as there is room for."""
    changed = 0
    capacity, total = tx.shared.capacity, tx.ledger.total
    for delivery in ids:
        row = tx.execute(
            "SELECT d.lane, d.size, d.file, r.uid FROM delivery d JOIN report r ON r.no = d.report"
            " WHERE d.id = ? AND d.state = 'dead' AND r.tier <> 'gone'",
            (delivery,),
        ).fetchone()
        if row is None:
            continue
        lane, size, file, uid = row
        if total["items"] >= capacity.marks.max_items or total["bytes"] + size > capacity.marks.max_bytes:
            break
        tx.execute(
            "UPDATE delivery SET state = 'ready', reason = '', attempts = 0, next_at = 0, updated_at = ? WHERE id = ?",
            (tx.now, delivery),
        )
        file_id, folder = _unsettle(tx, file)
        tx.ledger.delivery(lane, folder, "dead", "ready", size)
        tx.event(file_id or uid, "delivery.retried", {"delivery": delivery, "lane": lane})
        tx.topics.add(f"lane:{lane}")
        changed += 1
    return changed


def _unsettle(tx: Transaction, file: int | None) -> tuple[str | None, str | None]:
    """A dead letter of the file is pending again."""
    if file is None:
        return None, None
    row = tx.execute(
        "UPDATE file SET pending = pending + 1, dead = dead - 1, disposal = CASE WHEN target IS NULL AND state IN"
        " ('converted', 'finished') THEN NULL ELSE disposal END WHERE no = ? RETURNING id, folder",
        (file,),
    ).fetchone()
    return row[0], row[1]


def drop(tx: Transaction, ids: Sequence[int], *, reason: str) -> int:
    """dead -> dropped, on record; the payload goes with its last need."""
    changed = 0
    for delivery in ids:
        row = tx.execute(
            "SELECT d.lane, d.size, d.file, d.report, r.uid, r.revision, r.sha256 FROM delivery d JOIN report r"
            " ON r.no = d.report WHERE d.id = ? AND d.state = 'dead'",
            (delivery,),
        ).fetchone()
        if row is not None:
            _drop(tx, delivery, *row, reason=reason, counted=1)
            changed += 1
    if changed:
        tx.topics.add("capacity")
    return changed


def _drop(
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


def supersede(tx: Transaction, uid: str | bytes, revision: int, file: int) -> int:
    """Dead letters of earlier revisions of a report are dropped now that a newer one is queued; how many were the file's."""
    rows = tx.execute(
        "SELECT d.id, d.lane, d.size, d.file, d.report, r.uid, r.revision, r.sha256 FROM report r JOIN delivery d"
        " ON d.report = r.no WHERE r.uid = ? AND r.revision < ? AND d.state = 'dead'",
        (uid, revision),
    ).fetchall()
    for row in rows:
        _drop(tx, *row, reason=f"superseded by revision {revision}", counted=0)
    return sum(row[3] == file for row in rows)


@dataclass(frozen=True)
class Victim:
    """A delivery that is to make room."""

    id: int
    lane: str
    state: str
    size: int


def victims(tx: Transaction, evict: Evict) -> list[Victim]:
    """The oldest deliveries that nobody has leased, until there are `evict.items` of them with `evict.bytes` bytes."""
    cursors = [
        tx.connection.execute(
            "SELECT id, lane, state, size FROM delivery WHERE lane = ? AND state = ? ORDER BY id", (lane, state)
        )
        for lane in tx.ledger.lanes()
        for state in ("ready", "delayed")
    ]
    heads = [(row, cursor) for cursor in cursors if (row := cursor.fetchone()) is not None]
    chosen: list[Victim] = []
    size = 0
    while heads and (len(chosen) < evict.items or size < evict.bytes):
        index = min(range(len(heads)), key=lambda position: heads[position][0][0])
        row, cursor = heads[index]
        chosen.append(Victim(*row))
        size += row[3]
        following = cursor.fetchone()
        if following is None:
            del heads[index]
        else:
            heads[index] = (following, cursor)
    for cursor in cursors:
        cursor.close()
    return chosen


def evict(tx: Transaction, chosen: Sequence[Victim]) -> None:
    """Each victim becomes a dead letter with its payload; beyond `max_dead`, or on a full disk, it is dropped, on record."""
    capacity, total = tx.shared.capacity, tx.ledger.total
    for victim in chosen:
        file, report, uid, revision, sha256 = tx.execute(
            "SELECT d.file, d.report, r.uid, r.revision, r.sha256 FROM delivery d JOIN report r ON r.no = d.report"
            " WHERE d.id = ?",
            (victim.id,),
        ).fetchone()
        _bury(tx, victim.id, victim.lane, unpack(uid), file, victim.size, victim.state, "evicted: queue full", None)
        if total["dead"] > capacity.marks.max_dead or capacity.disk_lacks(0):
            _drop(
                tx,
                victim.id,
                victim.lane,
                victim.size,
                file,
                report,
                uid,
                revision,
                sha256,
                reason="evicted: queue full, and no room to keep it",
                counted=1,
            )


def oldest(tx: Transaction) -> float | None:
    """When the oldest unfinished delivery was queued."""
    found = [
        row[0]
        for lane in tx.ledger.lanes()
        for state in ("ready", "leased", "delayed")
        if (
            row := tx.execute(
                "SELECT created_at FROM delivery WHERE lane = ? AND state = ? ORDER BY id LIMIT 1", (lane, state)
            ).fetchone()
        )
    ]
    return min(found, default=None)
