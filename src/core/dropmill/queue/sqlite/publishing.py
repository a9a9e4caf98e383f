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
from dropmill.queue.sqlite import endings, letters
from dropmill.queue.sqlite.codec import dump, pack, unpack
from dropmill.queue.sqlite.files import wanted
from dropmill.queue.sqlite.payloads import Placed, seal
from dropmill.queue.sqlite.transaction import Transaction

__all__ = ["offer", "publish", "view"]


_REFUSED = 1000
"""Files whose need for room is remembered, so that they are not converted again before there is room."""


@dataclass
class _Plan:
    """What a report needs: computed before anything changes."""

    report: NewReport
    uid: str | bytes
    number: int | None
    """Of the row that has these bytes already; None: a new row."""
    revision: int
    stored: bool
    """The payload is there already."""
    lanes: list[str]
    """Lanes that have no delivery of it yet."""
    revive: list[tuple[int, str, str]]
    """(delivery id, lane, state) of those whose payload was lost."""


def _plan(tx: Transaction, reports: Sequence[NewReport]) -> list[_Plan]:
    plans: dict[str, _Plan] = {}
    for report in reports:
        uid = pack(report.uid)
        earlier = plans.get(report.uid)
        if earlier is not None:
            raise ValueError(f"the report {report.uid} stands twice in one publication")
        row = tx.execute(
            "SELECT no, revision, sha256, size, tier FROM report WHERE uid = ? ORDER BY revision DESC LIMIT 1", (uid,)
        ).fetchone()
        if row is None:
            plan = _Plan(report, uid, None, 1, False, list(report.lanes), [])
        elif (row[2], row[3]) != (report.sha256, report.size):
            plan = _Plan(report, uid, None, row[1] + 1, False, list(report.lanes), [])
        else:
            known = {
                lane: (number, state, reason)
                for number, lane, state, reason in tx.execute(
                    "SELECT id, lane, state, reason FROM delivery WHERE report = ?", (row[0],)
                )
            }
            lost = [
                (known[lane][0], lane, known[lane][1])
                for lane in report.lanes
                if lane in known and known[lane][1] == "dead" and row[4] == "gone"
            ]
            lanes = [lane for lane in report.lanes if lane not in known]
            plan = _Plan(report, uid, row[0], row[1], row[4] != "gone", lanes, lost)
        plans[report.uid] = plan
    return list(plans.values())


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


def _admit(tx: Transaction, plans: Sequence[_Plan], evict: Evict | None, file_id: str | None = None) -> None:
    """Check the room, and make it where `evict` says so."""
    items = sum(len(plan.lanes) + len(plan.revive) for plan in plans)
    size = sum((len(plan.lanes) + len(plan.revive)) * plan.report.size for plan in plans)
    if items == 0:
        return
    capacity, total = tx.shared.capacity, tx.ledger.total
    if not capacity.fits_at_all(items, size):
        raise TooLarge(
            f"{items} deliveries of {size} bytes are more than the whole queue may hold",
            todo="raise queue.max_items or queue.max_bytes",
        )
    dead = total["dead"]
    victims: Sequence[letters.Victim] = ()
    lacking = capacity.room_lacks(total["items"], total["bytes"], items, size)
    if lacking and evict is not None:
        victims = letters.victims(tx, evict)
        gone = sum(victim.size for victim in victims)
        lacking = capacity.room_lacks(total["items"] - len(victims), total["bytes"] - gone, items, size)
    lacking = lacking or capacity.disk_lacks(size)
    if not lacking and evict is None:
        lacking = capacity.dead_lack(dead)
    if lacking:
        if not capacity.drained(total["items"], total["bytes"]):
            tx.full()
        if file_id is not None and len(tx.shared.refused) < _REFUSED:
            tx.shared.refused[file_id] = (items, size)
        raise QueueFull(lacking, view(tx))
    if evict is not None and capacity.dead_lack(dead):
        letters.drop_oldest(tx, dead - capacity.marks.max_dead + 1)
    letters.evict(tx, victims)
    tx.admitted()


Preplaced = tuple[Placed, set[int]]
"""A payload that is on disk and synced already, and where to say that it is used."""


def _store(
    tx: Transaction, plan: _Plan, file: int | None, fields: str, index: int, preplaced: Mapping[int, Preplaced]
) -> int:
    """The report's row and payload; its number."""
    report, shared = plan.report, tx.shared
    if plan.number is not None and plan.stored:
        return plan.number
    if index in preplaced:
        placed, used = preplaced[index]
        tx.uses(placed, lambda: used.add(index))
    else:
        placed = shared.payloads.place(report)
        tx.placed(placed)
    sealed = seal(
        plan.uid, plan.revision, report.media_type, report.schema, fields, report.size, report.sha256, placed.crc
    )
    place = placed.offset if placed.tier == "segment" else placed.name
    if plan.number is not None:
        number = plan.number
        tx.execute(
            "UPDATE report SET media_type = ?, schema = ?, fields = ?, crc = ?, seal = ?, tier = ?, segment = ?,"
            " place = ? WHERE no = ?",
            (report.media_type, report.schema, fields, placed.crc, sealed, placed.tier, placed.segment, place, number),
        )
    else:
        number = shared.next_report
        shared.next_report += 1
        tx.execute(
            "INSERT INTO report (no, uid, revision, file, ordinal, media_type, schema, fields, size, sha256, crc, seal,"
            " tier, segment, place, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                number,
                plan.uid,
                plan.revision,
                file,
                report.ordinal,
                report.media_type,
                report.schema,
                fields,
                report.size,
                report.sha256,
                placed.crc,
                sealed,
                placed.tier,
                placed.segment,
                place,
                tx.now,
            ),
        )
    if placed.tier == "row":
        tx.execute("INSERT OR REPLACE INTO blob VALUES (?, ?)", (number, placed.data))
    return number


def _queue(tx: Transaction, plan: _Plan, number: int, file: int | None, folder: str | None) -> None:
    shared, size = tx.shared, plan.report.size
    rows = []
    for lane in plan.lanes:
        rows.append((shared.next_delivery, number, file, lane, size, tx.now, tx.now))
        shared.next_delivery += 1
        tx.ledger.delivery(lane, folder, None, "ready", size)
        tx.topics.add(f"lane:{lane}")
    tx.executemany(
        "INSERT INTO delivery (id, report, file, lane, state, size, created_at, updated_at)"
        " VALUES (?, ?, ?, ?, 'ready', ?, ?, ?)",
        rows,
    )
    for delivery, lane, state in plan.revive:
        tx.execute(
            "UPDATE delivery SET state = 'ready', reason = '', attempts = 0, updated_at = ? WHERE id = ?",
            (tx.now, delivery),
        )
        tx.ledger.delivery(lane, folder, state, "ready", size)
        tx.topics.add(f"lane:{lane}")


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
    """converting -> converted, with everything that was made of the file. `placed` holds
    payloads that are on disk already, by index."""
    row = tx.execute(
        "SELECT no, folder, name, state, pending, dead, dropped, laid FROM file WHERE id = ?", (file_id,)
    ).fetchone()
    if row is None or row[3] not in ("converting", "claimed"):
        state = "unknown" if row is None else row[3]
        raise NotHeld(f"the file {file_id} is {state}, not being converted: its reports are not taken", where=file_id)
    number, folder, name, state, pending, dead, dropped, laid = row
    plans = _plan(tx, reports)
    _admit(tx, plans, evict, file_id)
    tx.shared.refused.pop(file_id, None)
    if evict is not None:
        pending, dead = tx.execute("SELECT pending, dead FROM file WHERE no = ?", (number,)).fetchone()
    unchanged = queued = 0
    origin = {"folder": folder, "file": unpack(name), "converter": converter}
    for index, plan in enumerate(plans):
        fields = dump({**origin, **plan.report.fields})
        report = _store(tx, plan, number, fields, index, placed) if plan.lanes or plan.revive else plan.number
        if report is None:
            report = _store(tx, plan, number, fields, index, placed)
            endings.free_payload(tx, report)  # nobody needs it: the report is kept on record alone
        if plan.lanes or plan.revive:
            _queue(tx, plan, report, number, folder)
        if plan.number is None and plan.revision > 1:
            dead -= letters.supersede(tx, plan.uid, plan.revision, number)
        queued += len(plan.lanes) + len(plan.revive)
        dead -= len(plan.revive)
        unchanged += len(plan.report.lanes) - len(plan.lanes) - len(plan.revive)
    pending += queued
    disposal = None
    if pending == 0 and wanted(dead, dropped) != laid:
        disposal = wanted(dead, dropped)
        tx.topics.add("disposals")
    tx.execute(
        "UPDATE file SET state = 'converted', reason = '', code = NULL, error = NULL, confirmed = 1, converter = ?, warnings = ?,"
        " updated_at = ?, pending = ?, dead = ?, disposal = ? WHERE no = ?",
        (converter, dump(warnings) if warnings else None, tx.now, pending, dead, disposal, number),
    )
    tx.ledger.file(folder, state, "converted")
    tx.event(
        file_id,
        "file.converted",
        {
            "converter": converter,
            "reports": len(reports),
            "queued": queued,
            "unchanged": unchanged,
            "warnings": len(warnings),
        },
    )
    tx.topics.add("capacity")
    return Published(file_id=file_id, deliveries=queued, unchanged=unchanged)


def offer(
    tx: Transaction, reports: Sequence[NewReport], *, evict: Evict | None, placed: Mapping[int, Preplaced]
) -> Sequence[str]:
    """Queue reports that have no file."""
    plans = _plan(tx, reports)
    _admit(tx, plans, evict)
    answers = []
    for index, plan in enumerate(plans):
        if not plan.lanes and not plan.revive:
            answers.append("known")
            continue
        report = _store(tx, plan, None, dump(plan.report.fields), index, placed)
        _queue(tx, plan, report, None, None)
        tx.event(plan.uid, "report.queued", {"lanes": plan.lanes, "size": plan.report.size, "revision": plan.revision})
        answers.append("queued")
    return answers
