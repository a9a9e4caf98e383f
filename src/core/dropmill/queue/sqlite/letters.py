"""Dead letters: tried again by hand, given up by hand, or made to make room for newer items.

Nothing that is leased is ever made to go. What goes is on record with its key, size, checksum and reason.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dropmill.api import Evict
from dropmill.queue.sqlite import endings
from dropmill.queue.sqlite.codec import unpack
from dropmill.queue.sqlite.transaction import Transaction

__all__ = ["Victim", "drop", "drop_oldest", "evict", "oldest", "retry", "supersede", "victims"]


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
        file_id, folder = endings.unsettle(tx, file)
        tx.ledger.delivery(lane, folder, "dead", "ready", size)
        tx.event(file_id or uid, "delivery.retried", {"delivery": delivery, "lane": lane})
        tx.topics.add(f"lane:{lane}")
        changed += 1
    return changed


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
            endings.drop_letter(tx, delivery, *row, reason=reason, counted=1)
            changed += 1
    if changed:
        tx.topics.add("capacity")
    return changed


def supersede(tx: Transaction, uid: str | bytes, revision: int, file: int) -> int:
    """Dead letters of earlier revisions of a report are dropped now that a newer one is queued; how many were the file's."""
    rows = tx.execute(
        "SELECT d.id, d.lane, d.size, d.file, d.report, r.uid, r.revision, r.sha256 FROM report r JOIN delivery d"
        " ON d.report = r.no WHERE r.uid = ? AND r.revision < ? AND d.state = 'dead'",
        (uid, revision),
    ).fetchall()
    for row in rows:
        endings.drop_letter(tx, *row, reason=f"superseded by revision {revision}", counted=0)
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
    chosen: list[Victim] = []
    size = 0
    for row in _by_age(tx, ("ready", "delayed")):
        if len(chosen) >= evict.items and size >= evict.bytes:
            break
        chosen.append(Victim(*row))
        size += row[3]
    return chosen


def _by_age(tx: Transaction, states: Sequence[str]) -> Iterator[tuple[int, str, str, int]]:
    """(id, lane, state, size) of deliveries in any of the states, oldest first."""

    def one(lane: str, state: str) -> Iterator[tuple[int, str, str, int]]:
        last = -1
        while True:
            rows = tx.execute(
                "SELECT id, lane, state, size FROM delivery WHERE lane = ? AND state = ? AND id > ? ORDER BY id LIMIT 64",
                (lane, state, last),
            ).fetchall()
            yield from rows
            if len(rows) < 64:
                return
            last = rows[-1][0]

    return heapq.merge(*(one(lane, state) for lane in tx.ledger.lanes() for state in states))


def drop_oldest(tx: Transaction, count: int) -> None:
    """Give up the oldest dead letters, on record, where newer items are worth more."""
    chosen = [row[0] for row, _ in zip(_by_age(tx, ("dead",)), range(count), strict=False)]
    drop(tx, chosen, reason="evicted: too many dead letters")


def evict(tx: Transaction, chosen: Sequence[Victim]) -> None:
    """Each victim becomes a dead letter with its payload; beyond `max_dead`, or on a full disk, it is dropped, on record."""
    capacity, total = tx.shared.capacity, tx.ledger.total
    for victim in chosen:
        file, report, uid, revision, sha256 = tx.execute(
            "SELECT d.file, d.report, r.uid, r.revision, r.sha256 FROM delivery d JOIN report r ON r.no = d.report"
            " WHERE d.id = ?",
            (victim.id,),
        ).fetchone()
        endings.bury(
            tx,
            victim.id,
            lane=victim.lane,
            report_id=unpack(uid),
            file=file,
            size=victim.size,
            before=victim.state,
            reason="evicted: queue full",
            error=None,
        )
        if total["dead"] > capacity.marks.max_dead:
            endings.drop_letter(
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
