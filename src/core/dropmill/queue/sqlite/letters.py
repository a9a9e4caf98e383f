"""Dead letters: tried again by hand, given up by hand, or made to make room for newer items.

Nothing that is leased is ever made to go. What goes is on record with its key, size, checksum and reason.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dropmill.api import Evict
from dropmill.queue.sqlite import endings
from dropmill.queue.sqlite.transaction import Transaction

__all__ = ["Victim", "drop", "drop_oldest", "evict", "oldest", "retry", "supersede", "victims"]

_CHUNK = 64


def retry(tx: Transaction, ids: Sequence[int]) -> int:
    """dead -> ready with fresh attempts, as many as there is room for."""
    changed = 0
    capacity, total = tx.shared.capacity, tx.ledger.total
    for delivery in ids:
        row = endings.row_of(tx, delivery)
        if row is None or row.state != "dead" or row.tier == "gone":
            continue
        if capacity.room_lacks(total["items"], total["bytes"], 1, row.size):
            break
        tx.execute(
            "UPDATE delivery SET state = 'ready', reason = '', attempts = 0, next_at = 0, updated_at = ? WHERE id = ?",
            (tx.now, delivery),
        )
        tx.execute(
            "UPDATE file SET pending = pending + 1, dead = dead - 1, disposal = CASE WHEN target IS NULL AND state IN"
            " ('converted', 'finished') THEN NULL ELSE disposal END WHERE no = ?",
            (row.file,),
        )
        tx.ledger.delivery(row.lane, row.folder, "dead", "ready", row.size)
        tx.event(row.subject, "delivery.retried", {"delivery": delivery, "lane": row.lane})
        tx.topics.update((f"lane:{row.lane}", "capacity", "files"))
        changed += 1
    return changed


def drop(tx: Transaction, ids: Sequence[int], *, reason: str) -> int:
    """dead -> dropped, on record; the payload goes with its last need."""
    changed = 0
    for delivery in ids:
        row = endings.row_of(tx, delivery)
        if row is not None and row.state == "dead":
            endings.drop_letter(tx, row, reason=reason)
            changed += 1
    if changed:
        tx.topics.update(("capacity", "files"))
    return changed


def supersede(tx: Transaction, uid: str | bytes, revision: int) -> None:
    """Dead letters of earlier revisions of a report are dropped now that a newer one is queued."""
    tx.flush()
    found = tx.execute(
        "SELECT d.id FROM report r JOIN delivery d ON d.report = r.no WHERE r.uid = ? AND r.revision < ? AND d.state = 'dead'",
        (uid, revision),
    ).fetchall()
    for (delivery,) in found:
        row = endings.row_of(tx, delivery)
        assert row is not None
        endings.drop_letter(tx, row, reason=f"superseded by revision {revision}", counted=0)


@dataclass(frozen=True)
class Victim:
    """A delivery that is to make room."""

    id: int
    size: int


def victims(tx: Transaction, evict: Evict) -> list[Victim]:
    """The oldest deliveries that nobody has leased, until there are `evict.items` of them with `evict.bytes` bytes."""
    tx.flush()
    chosen: list[Victim] = []
    size = 0
    for delivery, bytes_ in _by_age(tx, ("ready", "delayed")):
        if len(chosen) >= evict.items and size >= evict.bytes:
            break
        chosen.append(Victim(delivery, bytes_))
        size += bytes_
    return chosen


def _by_age(tx: Transaction, states: Sequence[str]) -> Iterator[tuple[int, int]]:
    """(id, size) of deliveries in any of the states, oldest first."""

    def one(lane: str, state: str) -> Iterator[tuple[int, int]]:
        last = -1
        while True:
            rows = tx.execute(
                "SELECT id, size FROM delivery WHERE lane = ? AND state = ? AND id > ? ORDER BY id LIMIT ?",
                (lane, state, last, _CHUNK),
            ).fetchall()
            yield from rows
            if len(rows) < _CHUNK:
                return
            last = rows[-1][0]

    return heapq.merge(*(one(lane, state) for lane in tx.ledger.lanes() for state in states))


def drop_oldest(tx: Transaction, count: int) -> None:
    """Give up the oldest dead letters, on record, where newer items are worth more."""
    chosen = [row[0] for _, row in zip(range(count), _by_age(tx, ("dead",)), strict=False)]
    drop(tx, chosen, reason="evicted: too many dead letters")


def evict(tx: Transaction, chosen: Sequence[Victim]) -> None:
    """Each victim becomes a dead letter with its payload; beyond `max_dead` the oldest dead letters go for good, on record."""
    for victim in chosen:
        row = endings.row_of(tx, victim.id)
        assert row is not None
        endings.bury(tx, row, reason="evicted: queue full", error=None)
    tx.flush()
    surplus = tx.ledger.total["dead"] - tx.shared.capacity.marks.max_dead
    if surplus > 0:
        drop_oldest(tx, surplus)


def oldest(tx: Transaction) -> float | None:
    """When the oldest unfinished delivery was queued."""
    query = "SELECT created_at FROM delivery WHERE lane = ? AND state = ? ORDER BY id LIMIT 1"
    found = (
        tx.execute(query, (lane, state)).fetchone()
        for lane in tx.ledger.lanes()
        for state in ("ready", "leased", "delayed")
    )
    return min((row[0] for row in found if row is not None), default=None)
