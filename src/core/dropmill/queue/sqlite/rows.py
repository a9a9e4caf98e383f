"""Rows as JSON values, with the names that API and command line show: documented, and only ever added to."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from dropmill.foundation.clock import utc_iso
from dropmill.queue.sqlite.codec import load, unpack

__all__ = [
    "DELIVERY",
    "EVENT",
    "FILE",
    "REPORT",
    "attempt",
    "delivery",
    "event",
    "file",
    "moment",
    "report",
    "timeline",
]

Json = dict[str, Any]

FILE = (
    "no, id, folder, name, state, reason, size, sha256, occurrence, claimed_at, updated_at, attempts, converter, pending, dead,"
    " place, origin, error, tags, not_before, code, warnings, dropped"
)
DELIVERY = (
    "d.id, d.lane, d.state, d.reason, r.uid, r.revision, f.id, f.folder, f.name, d.size, d.created_at, d.updated_at, d.next_at,"
    " d.attempts, d.error, d.code"
)
REPORT = "uid, revision, ordinal, media_type, schema, fields, size, sha256, created_at, tier <> 'gone'"
_MOST = 10_000
EVENT = "seq, at, subject, name, data"


def moment(seconds: float | None) -> str | None:
    """ISO 8601; None for none."""
    return None if not seconds else utc_iso(seconds)


def file(row: Sequence[Any]) -> Json:
    """A file of the columns `FILE`."""
    return {
        "id": row[1],
        "folder": row[2],
        "name": unpack(row[3]),
        "state": row[4],
        "reason": unpack(row[5]),
        "size": row[6],
        "sha256": row[7],
        "occurrence": row[8],
        "claimedAt": utc_iso(row[9]),
        "updatedAt": utc_iso(row[10]),
        "attempts": row[11],
        "converter": row[12],
        "pending": row[13],
        "dead": row[14],
        "place": unpack(row[15]),
        "origin": unpack(row[16]),
        "error": load(row[17]),
        "tags": load(row[18]),
        "notBefore": moment(row[19]),
        "code": row[20],
        "warnings": load(row[21]) or [],
        "dropped": row[22],
    }


def delivery(row: Sequence[Any]) -> Json:
    """A delivery of the columns `DELIVERY`."""
    return {
        "id": row[0],
        "destination": row[1],
        "state": row[2],
        "reason": unpack(row[3]),
        "reportId": unpack(row[4]),
        "revision": row[5],
        "key": f"{unpack(row[4])}.{row[5]}",
        "fileId": row[6],
        "folder": row[7],
        "name": None if row[8] is None else unpack(row[8]),
        "size": row[9],
        "createdAt": utc_iso(row[10]),
        "updatedAt": utc_iso(row[11]),
        "nextAt": moment(row[12]) if row[2] == "delayed" else None,
        "attempts": row[13],
        "error": load(row[14]),
        "code": row[15],
    }


def report(row: Sequence[Any]) -> Json:
    """A report of the columns `REPORT`."""
    return {
        "reportId": unpack(row[0]),
        "revision": row[1],
        "ordinal": row[2],
        "mediaType": row[3],
        "schema": row[4],
        "fields": load(row[5]),
        "size": row[6],
        "sha256": row[7],
        "createdAt": utc_iso(row[8]),
        "stored": bool(row[9]),
    }


def attempt(row: Sequence[Any]) -> Json:
    """One lease of a delivery and how it ended: (fence, started, ended, outcome, answer)."""
    return {
        "number": row[0],
        "startedAt": utc_iso(row[1]),
        "endedAt": utc_iso(row[2]),
        "outcome": row[3],
        "answer": load(row[4]),
    }


def event(row: Sequence[Any]) -> Json:
    """An event of the columns `EVENT`."""
    return {"seq": row[0], "at": utc_iso(row[1]), "subject": unpack(row[2]), "name": row[3], "data": load(row[4])}


def history(connection: sqlite3.Connection, delivery_id: int) -> list[Json]:
    """The leases of a delivery that have ended, in order; the one that succeeded is kept in its own row."""
    found = connection.execute(
        "SELECT fence, started_at, ended_at, outcome, answer FROM attempt WHERE delivery = ?1 UNION ALL"
        " SELECT fence, started_at, updated_at, 'sent', receipt FROM delivery WHERE id = ?1 AND state = 'sent' ORDER BY 1",
        (delivery_id,),
    )
    return [attempt(row) for row in found]


def file_detail(connection: sqlite3.Connection, row: Sequence[Any]) -> Json:
    """A file of the columns `FILE` with its `events`, `reports` and `deliveries`, each with its `history`.

    At most 10,000 of each, the oldest; the event `file.converted` tells how many there are.
    """
    number, file_id = row[0], row[1]
    events = connection.execute(f"SELECT {EVENT} FROM event WHERE subject = ? ORDER BY seq LIMIT {_MOST}", (file_id,))
    reports = connection.execute(f"SELECT {REPORT} FROM report WHERE file = ? ORDER BY no LIMIT {_MOST}", (number,))
    deliveries = connection.execute(
        f"SELECT {DELIVERY} FROM report r JOIN delivery d ON d.report = r.no JOIN file f ON f.no = r.file WHERE r.file = ?"
        f" ORDER BY r.no LIMIT {_MOST}",
        (number,),
    )
    return {
        **file(row),
        "events": [event(found) for found in events],
        "reports": [report(found) for found in reports],
        "deliveries": [{**delivery(found), "history": history(connection, found[0])} for found in deliveries],
    }


def timeline(detail: Mapping[str, Any]) -> list[Json]:
    """What happened to a file, in order, from its detail."""
    entries = [{"at": one["at"], "kind": "event", "name": one["name"], "data": one["data"]} for one in detail["events"]]
    entries += [
        {"at": one["createdAt"], "kind": "report", "name": f"{one['reportId']}.{one['revision']}", "data": one}
        for one in detail["reports"]
    ]
    for one in detail["deliveries"]:
        shown = {key: value for key, value in one.items() if key != "history"}
        entries.append({"at": one["createdAt"], "kind": "delivery", "name": one["destination"], "data": shown})
        entries += [
            {
                "at": tried["endedAt"],
                "kind": "attempt",
                "name": tried["outcome"],
                "data": {"destination": one["destination"], "delivery": one["id"], **tried},
            }
            for tried in one["history"]
        ]
    return sorted(entries, key=lambda entry: str(entry["at"]))
