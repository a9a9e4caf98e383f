"""What a conversion or an offer puts into the queue: reports, payloads and deliveries, all in one transaction or none.

The limits are exact: room is checked, and where a policy said so made, in the transaction that fills it. A report that exists
with the same bytes is not queued again; with other bytes its revision rises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dropmill.api import Evict, QueueView
from dropmill.queue.errors import NotHeld, QueueFull, TooLarge
from dropmill.queue.records import NewReport, Published
from dropmill.queue.sqlite import letters
from dropmill.queue.sqlite.codec import dump, pack, unpack
from dropmill.queue.sqlite.payloads import Placed, seal
from dropmill.queue.sqlite.transaction import Transaction

__all__ = ["Preplaced", "offer", "publish", "view"]

_REFUSED = 1000
"""Files whose need for room is remembered, so that they are not converted again before there is room."""

Preplaced = tuple[Placed, set[int]]
"""A payload that is on disk and synced already, and where to say that it is used."""


@dataclass(slots=True)
class _Plan:
    """What a report needs: found out before anything changes."""

    report: NewReport
    uid: str | bytes
    number: int | None
    """Of the row that has these bytes already; None: a new row."""
    revision: int
    stored: bool
    """The payload is there already."""
    lanes: Sequence[str]
    """Lanes that have no delivery of it yet."""
    revive: Sequence[tuple[int, str]]
    """(delivery, lane) of dead letters whose payload was lost, and now comes again."""

    @property
    def items(self) -> int:
        return len(self.lanes) + len(self.revive)


def _plan(tx: Transaction, reports: Sequence[NewReport]) -> list[_Plan]:
    plans = []
    seen: set[str | bytes] = set()
    for report in reports:
        uid = pack(report.uid)
        if uid in seen:
            raise ValueError(f"the report {report.uid} stands twice in one publication")
        seen.add(uid)
        if uid in tx.new_reports:
            tx.flush()
        row = tx.execute(
            "SELECT no, revision, sha256, size, tier FROM report WHERE uid = ? ORDER BY revision DESC LIMIT 1", (uid,)
        ).fetchone()
        if row is None:
            plans.append(_Plan(report, uid, None, 1, False, report.lanes, ()))
        elif row[2] != report.sha256 or row[3] != report.size:
            plans.append(_Plan(report, uid, None, row[1] + 1, False, report.lanes, ()))
        else:
            plans.append(_known(tx, report, uid, number=row[0], revision=row[1], tier=row[4]))
    return plans


def _known(tx: Transaction, report: NewReport, uid: str | bytes, *, number: int, revision: int, tier: str) -> _Plan:
    """The report exists with these bytes."""
    tx.flush()
    stored = tier != "gone"
    known = {
        lane: (delivery, state)
        for delivery, lane, state in tx.execute("SELECT id, lane, state FROM delivery WHERE report = ?", (number,))
    }
    lanes = [lane for lane in report.lanes if lane not in known]
    revive = [(known[lane][0], lane) for lane in report.lanes if not stored and known.get(lane, (0, ""))[1] == "dead"]
    return _Plan(report, uid, number, revision, stored, lanes, revive)


def view(tx: Transaction) -> QueueView:
    """A snapshot for a policy or a caller."""
    total, marks = tx.ledger.total, tx.shared.capacity.marks
    oldest = letters.oldest(tx)
    return QueueView(
        max_items=marks.max_items,
        max_bytes=marks.max_bytes,
        items=total["items"],
        bytes=total["bytes"],
        high_items=marks.high_items,
        low_items=marks.low_items,
        oldest_age=0.0 if oldest is None else max(0.0, tx.now - oldest),
        evictable_items=total["items"] - total["leased"],
        evictable_bytes=total["bytes"] - total["leased_bytes"],
        folders=tx.ledger.folders(),
    )


def _admit(tx: Transaction, plans: Sequence[_Plan], evict: Evict | None, file_id: str | None) -> None:
    """Check the room, and make it where `evict` says so.

    Raises:
        QueueFull, TooLarge: there is none; nothing was changed.
    """
    items = sum(plan.items for plan in plans)
    size = sum(plan.items * plan.report.size for plan in plans)
    if items == 0:
        return
    capacity, total = tx.shared.capacity, tx.ledger.total
    if not capacity.fits_at_all(items, size):
        raise TooLarge(
            f"{items} deliveries of {size} bytes are more than the whole queue may hold",
            todo="raise queue.max_items or queue.max_bytes",
        )
    victims: Sequence[letters.Victim] = ()
    lacking = capacity.room_lacks(total["items"], total["bytes"], items, size)
    if lacking and evict is not None:
        victims = letters.victims(tx, evict)
        gone = sum(victim.size for victim in victims)
        lacking = capacity.room_lacks(total["items"] - len(victims), total["bytes"] - gone, items, size)
    lacking = lacking or capacity.disk_lacks(size)
    if not lacking and evict is None:
        lacking = capacity.dead_lack(total["dead"])
    if lacking:
        if not capacity.drained(total["items"], total["bytes"]):
            tx.full()
        if file_id is not None and len(tx.shared.refused) < _REFUSED:
            tx.shared.refused[file_id] = (items, size)
        raise QueueFull(lacking, view(tx))
    if evict is not None and capacity.dead_lack(total["dead"]):
        letters.drop_oldest(tx, total["dead"] - capacity.marks.max_dead + 1)
    if victims:
        letters.evict(tx, victims)
    tx.admitted()


_REPORT = (
    "INSERT INTO report (no, uid, revision, file, ordinal, media_type, schema, fields, size, sha256, crc, seal, tier, segment,"
    " place, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_STORED_AGAIN = (
    "UPDATE report SET media_type = ?, schema = ?, fields = ?, crc = ?, seal = ?, tier = ?, segment = ?, place = ?"
    " WHERE no = ?"
)
_BLOB = "INSERT OR REPLACE INTO blob VALUES (?, ?)"
_DELIVERY = (
    "INSERT INTO delivery (id, report, file, lane, state, size, created_at, updated_at)"
    " VALUES (?, ?, ?, ?, 'ready', ?, ?, ?)"
)
_REVIVED = "UPDATE delivery SET state = 'ready', reason = '', attempts = 0, updated_at = ? WHERE id = ?"
_CONVERTED = (
    "UPDATE file SET state = 'converted', reason = '', code = NULL, error = NULL, confirmed = 1, converter = ?1,"
    " warnings = ?2, updated_at = ?3, pending = pending + ?4, dead = dead - ?5, disposal = CASE WHEN pending + ?4 > 0"
    " THEN NULL ELSE nullif(CASE WHEN dead - ?5 > 0 OR dropped > 0 THEN 'failed' ELSE 'done' END, laid) END WHERE no = ?6"
)


def _queue(
    tx: Transaction,
    plan: _Plan,
    fields: str,
    placed: Preplaced | None,
    *,
    file: int | None = None,
    folder: str | None = None,
) -> None:
    """A report's row, payload and deliveries. One without any lane is kept on record, without its payload."""
    shared, report, now = tx.shared, plan.report, tx.now
    number = plan.number
    if number is None or not plan.stored:
        tier, crc, segment, place, data = "gone", 0, None, None, None
        if plan.items:
            payload = _place(tx, report, placed)
            tier, crc, segment, data = payload.tier, payload.crc, payload.segment, payload.data
            place = payload.offset if tier == "segment" else payload.name
        sealed = seal(
            plan.uid, plan.revision, report.media_type, report.schema, fields, report.size, report.sha256, crc
        )
        where = (crc, sealed, tier, segment, place)
        if number is None:
            number = shared.next_report
            shared.next_report += 1
            what = (report.ordinal, report.media_type, report.schema, fields, report.size, report.sha256)
            tx.later(_REPORT, (number, plan.uid, plan.revision, file, *what, *where, now))
            tx.new_reports.add(plan.uid)
        else:
            tx.later(_STORED_AGAIN, (report.media_type, report.schema, fields, *where, number))
        if data is not None:
            tx.later(_BLOB, (number, data))
    for lane in plan.lanes:
        tx.later(_DELIVERY, (shared.next_delivery, number, file, lane, report.size, now, now))
        shared.next_delivery += 1
        tx.ledger.delivery(lane, folder, None, "ready", report.size)
        tx.topics.add(f"lane:{lane}")
    for delivery, lane in plan.revive:
        tx.later(_REVIVED, (now, delivery))
        tx.ledger.delivery(lane, folder, "dead", "ready", report.size)
        tx.topics.add(f"lane:{lane}")


def _place(tx: Transaction, report: NewReport, placed: Preplaced | None) -> Placed:
    if placed is None:
        payload = tx.shared.payloads.place(report)
        tx.placed(payload)
        return payload
    payload, used = placed
    tx.uses(payload, lambda: used.add(id(payload)))
    return payload


def publish(
    tx: Transaction,
    file_id: str,
    reports: Sequence[NewReport],
    *,
    converter: str,
    warnings: Sequence[Mapping[str, Any]],
    evict: Evict | None,
    placed: Mapping[int, Preplaced],
) -> Published:
    """converting -> converted, with everything that was made of the file. `placed` holds payloads that are on disk already,
    by index."""
    number, folder, name, state = _converting(tx, file_id)
    plans = _plan(tx, reports)
    _admit(tx, plans, evict, file_id)
    tx.shared.refused.pop(file_id, None)
    origin = {"folder": folder, "file": unpack(name), "converter": converter}
    queued = wanted = revived = 0
    for index, plan in enumerate(plans):
        if plan.items or plan.number is None:
            fields = dump({**origin, **plan.report.fields})
            _queue(tx, plan, fields, placed.get(index), file=number, folder=folder)
        if plan.number is None and plan.revision > 1:
            letters.supersede(tx, plan.uid, plan.revision)
        queued += plan.items
        wanted += len(plan.report.lanes)
        revived += len(plan.revive)
    tx.later(_CONVERTED, (converter, dump(warnings) if warnings else None, tx.now, queued, revived, number))
    tx.set_conversion(file_id, None)
    tx.ledger.file(folder, state, "converted")
    told: dict[str, Any] = {"converter": converter, "reports": len(reports), "queued": queued}
    if wanted > queued:
        told["unchanged"] = wanted - queued
    if warnings:
        told["warnings"] = len(warnings)
    tx.event(file_id, "file.converted", told)
    tx.topics.add("capacity")
    if not queued:
        tx.topics.add("disposals")
    return Published(file_id=file_id, deliveries=queued, unchanged=wanted - queued)


def _converting(tx: Transaction, file_id: str) -> tuple[int, str, Any, str]:
    """Number, folder, name and state of a file that may be published.

    Raises:
        NotHeld: it is not being converted.
    """
    known = tx.conversion(file_id)
    if known is not None:
        return *known, "converting"
    tx.flush()
    row = tx.execute("SELECT no, folder, name, state FROM file WHERE id = ?", (file_id,)).fetchone()
    if row is None or row[3] != "claimed":
        state = "unknown" if row is None else row[3]
        raise NotHeld(f"the file {file_id} is {state}, not being converted: its reports are not taken", where=file_id)
    return row[0], row[1], row[2], row[3]


def offer(
    tx: Transaction, reports: Sequence[NewReport], *, evict: Evict | None, placed: Mapping[int, Preplaced]
) -> Sequence[str]:
    """Queue reports that have no file."""
    plans = _plan(tx, reports)
    _admit(tx, plans, evict, None)
    answers = []
    for index, plan in enumerate(plans):
        if plan.number is not None and not plan.items:
            answers.append("known")
            continue
        _queue(tx, plan, dump(plan.report.fields), placed.get(index))
        if plan.number is None and plan.revision > 1:
            letters.supersede(tx, plan.uid, plan.revision)
        told: dict[str, Any] = {"lanes": plan.lanes, "size": plan.report.size, "revision": plan.revision}
        tx.event(plan.uid, "report.queued", told)
        answers.append("queued")
    return answers
