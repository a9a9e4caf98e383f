"""Transitions of files: from the claim to the place where they come to rest.

Each function is an operation (see `transaction`): it checks first, raises before it changes anything, and records an event
with every file. Where a file is to go follows from its deliveries and is worked out in the transaction that ends the last of
them (`deliveries.settle`), or here when its conversion ends without any.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from dropmill.queue.errors import NotHeld, StoreClosed
from dropmill.queue.records import Disposal, FileRecord, FileState, NewFile
from dropmill.queue.sqlite.codec import code_of, dump, dump_identity, load, load_identity, pack, unpack
from dropmill.queue.sqlite.transaction import Transaction

__all__ = [
    "COLUMNS",
    "add",
    "confirm",
    "fail",
    "finish_disposals",
    "known_content",
    "live",
    "next_disposals",
    "next_due",
    "next_to_convert",
    "park",
    "parked",
    "plan_disposals",
    "record_of",
    "release",
    "release_converting",
    "relocate",
    "remove",
    "start",
    "unconfirmed",
    "wanted",
]

COLUMNS = (
    "id, folder, name, place, origin, state, reason, identity, sha256, occurrence, claimed_at, updated_at, attempts, "
    "not_before, converter, error, target, pending, dead, tags, forced"
)


def record_of(row: Sequence[Any]) -> FileRecord:
    """The record of a row of `COLUMNS`."""
    return FileRecord(
        id=row[0],
        folder=row[1],
        name=unpack(row[2]),
        place=unpack(row[3]),
        origin=unpack(row[4]),
        state=FileState(row[5]),
        reason=unpack(row[6]),
        identity=load_identity(row[7]),
        sha256=row[8],
        occurrence=row[9],
        claimed_at=row[10],
        updated_at=row[11],
        attempts=row[12],
        not_before=row[13],
        converter=row[14],
        error=load(row[15]),
        target=None if row[16] is None else unpack(row[16]),
        pending=row[17],
        dead=row[18],
        tags=load(row[19]),
        forced_converter=row[20],
    )


def wanted(dead: int, dropped: int) -> str:
    """Where a file without pending deliveries belongs."""
    return "failed" if dead or dropped else "done"


def _held(tx: Transaction, ids: Sequence[str], states: Collection[str], what: str) -> list[tuple[int, str, str, str]]:
    """(no, id, folder, state) of each file, all of them known and in one of the states."""
    found = []
    for file_id in ids:
        row = tx.execute("SELECT no, id, folder, state FROM file WHERE id = ?", (file_id,)).fetchone()
        if row is None:
            raise NotHeld(f"there is no file {file_id} to {what}", where=file_id)
        if row[3] not in states:
            raise NotHeld(f"the file {file_id} is {row[3]}, too late to {what} it", where=file_id)
        found.append(row)
    return found


def add(tx: Transaction, files: Sequence[NewFile]) -> Sequence[FileRecord]:
    """Claim files: rows in state claimed, not yet confirmed."""
    records = []
    rows = []
    occurrences: dict[tuple[str, str], int] = {}
    shared = tx.shared
    for file in files:
        content = (file.folder, file.sha256)
        occurrence = occurrences.get(content)
        if occurrence is None:
            (occurrence,) = tx.execute(
                "SELECT coalesce(max(occurrence) + 1, 0) FROM file WHERE sha256 = ? AND folder = ?",
                (file.sha256, file.folder),
            ).fetchone()
        occurrences[content] = occurrence + 1
        rows.append(
            (
                shared.next_file,
                file.id,
                file.folder,
                pack(file.name),
                pack(file.place),
                pack(file.origin),
                dump_identity(file.identity),
                file.identity.size,
                file.sha256,
                occurrence,
                file.priority,
                dump(file.tags),
                tx.now,
                tx.now,
            )
        )
        shared.next_file += 1
        records.append(
            FileRecord(
                id=file.id,
                folder=file.folder,
                name=file.name,
                place=file.place,
                origin=file.origin,
                state=FileState.CLAIMED,
                reason="",
                identity=file.identity,
                sha256=file.sha256,
                occurrence=occurrence,
                claimed_at=tx.now,
                updated_at=tx.now,
                attempts=0,
                not_before=0.0,
                converter=None,
                error=None,
                target=None,
                pending=0,
                dead=0,
                tags=file.tags,
            )
        )
    tx.executemany(
        "INSERT INTO file (no, id, folder, name, place, origin, state, identity, size, sha256, occurrence, priority, tags,"
        " claimed_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, 'claimed', ?, ?, ?, ?, ?, ?, ?, ?)",
        rows,
    )
    for record in records:
        tx.ledger.file(record.folder, None, "claimed")
        tx.event(
            record.id,
            "file.claimed",
            {"folder": record.folder, "name": record.name, "size": record.size, "sha256": record.sha256},
        )
    return records


def confirm(tx: Transaction, ids: Sequence[str]) -> None:
    """The files lie in work/: they may be converted."""
    held = _held(tx, ids, _ANY, "confirm")
    tx.executemany("UPDATE file SET confirmed = 1, updated_at = ? WHERE no = ?", [(tx.now, row[0]) for row in held])
    for _, file_id, _, _ in held:
        tx.event(file_id, "file.confirmed", {})
    tx.topics.add("files")


def remove(tx: Transaction, ids: Sequence[str], reason: str) -> None:
    """The claims did not come about: the rows go, the events stay."""
    for number, file_id, folder, state in _held(tx, ids, ("claimed", "converting", "parked"), "give back"):
        name, size = tx.execute("DELETE FROM file WHERE no = ? RETURNING name, size", (number,)).fetchone()
        tx.ledger.file(folder, state, None)
        tx.event(file_id, "file.removed", {"folder": folder, "name": unpack(name), "size": size, "reason": reason})
    tx.topics.add("capacity")


def start(tx: Transaction, ids: Sequence[str]) -> None:
    """claimed -> converting."""
    if tx.shared.sealed:
        raise StoreClosed("the queue is closing: nothing new is converted")
    held = _held(tx, ids, ("claimed",), "convert")
    tx.executemany(
        "UPDATE file SET state = 'converting', reason = '', updated_at = ? WHERE no = ?",
        [(tx.now, row[0]) for row in held],
    )
    for _, file_id, folder, _ in held:
        tx.ledger.file(folder, "claimed", "converting")
        tx.event(file_id, "file.converting", {})


def fail(
    tx: Transaction, file_id: str, *, code: str, reason: str, error: Mapping[str, Any], converter: str | None
) -> None:
    """converting (or claimed) -> failed, to be moved to failed/."""
    ((number, _, folder, state),) = _held(tx, (file_id,), ("claimed", "converting", "parked"), "fail")
    tx.execute(
        "UPDATE file SET state = 'failed', reason = ?, code = ?, error = ?, converter = ?, confirmed = 1, updated_at = ?,"
        " disposal = nullif('failed', laid) WHERE no = ?",
        (pack(reason), code, dump(error), converter, tx.now, number),
    )
    tx.ledger.file(folder, state, "failed")
    tx.event(file_id, "file.failed", {"code": code, "reason": reason, "converter": converter, "error": error})
    tx.topics.update(("disposals", "capacity"))


def park(tx: Transaction, file_id: str, *, reason: str, error: Mapping[str, Any] | None, converter: str | None) -> None:
    """converting (or claimed) -> parked."""
    ((number, _, folder, state),) = _held(tx, (file_id,), ("claimed", "converting"), "park")
    tx.execute(
        "UPDATE file SET state = 'parked', reason = ?, code = ?, error = ?, converter = coalesce(?, converter), updated_at = ?"
        " WHERE no = ?",
        (pack(reason), code_of(error), None if error is None else dump(error), converter, tx.now, number),
    )
    tx.ledger.file(folder, state, "parked")
    tx.event(file_id, "file.parked", {"reason": reason, "converter": converter, "error": error})
    tx.topics.add("capacity")


def release(
    tx: Transaction, ids: Sequence[str], *, reason: str, not_before: float, charge: bool, converter: str | None
) -> None:
    """converting, parked or failed -> claimed."""
    held = _held(tx, ids, ("claimed", "converting", "parked", "failed"), "release")
    tx.executemany(
        "UPDATE file SET state = 'claimed', reason = ?, not_before = ?, attempts = attempts + ?, updated_at = ?, live = 1,"
        " forced = coalesce(?, forced), disposal = CASE WHEN target IS NULL THEN NULL ELSE disposal END WHERE no = ?",
        [(pack(reason), not_before, charge, tx.now, converter, row[0]) for row in held],
    )
    for _, file_id, folder, state in held:
        tx.ledger.file(folder, state, "claimed")
        tx.event(
            file_id,
            "file.released",
            {"from": state, "reason": reason, "notBefore": not_before, "charged": charge, "converter": converter},
        )
    if not_before > tx.now:
        tx.file_due_at(not_before)
    tx.topics.add("files")


def release_converting(tx: Transaction, reason: str) -> int:
    """converting -> claimed for every file, not charged; how many there were."""
    ids = [row[0] for row in tx.execute("SELECT id FROM file WHERE state = 'converting'")]
    release(tx, ids, reason=reason, not_before=0.0, charge=False, converter=None)
    return len(ids)


def plan_disposals(tx: Transaction, targets: Mapping[str, str]) -> None:
    """Where each file is about to be moved; an empty target takes the plan back."""
    for number, file_id, _, _ in _held(tx, list(targets), _ANY, "move"):
        target = targets[file_id]
        tx.execute(
            "UPDATE file SET target = ?, live = CASE WHEN ? THEN 1 ELSE laid IS NULL END, updated_at = ? WHERE no = ?",
            (pack(target) if target else None, bool(target), tx.now, number),
        )
        if target:
            tx.event(file_id, "file.moving", {"target": target})
        else:
            tx.event(file_id, "file.move_put_off", {})
            tx.topics.add("disposals")


def finish_disposals(tx: Transaction, places: Mapping[str, str]) -> None:
    """The files lie at their places; empty: removed on request."""
    for number, file_id, folder, state in _held(tx, list(places), _ANY, "lay down"):
        disposal, laid, pending, dead, dropped = tx.execute(
            "SELECT disposal, laid, pending, dead, dropped FROM file WHERE no = ?", (number,)
        ).fetchone()
        lies = disposal or laid or ("failed" if state == "failed" else wanted(dead, dropped))
        after = "finished" if state in ("converted", "finished") else state
        at_rest = after in ("finished", "failed")
        again = None
        if after == "finished" and pending == 0 and wanted(dead, dropped) != lies:
            again = wanted(dead, dropped)
            tx.topics.add("disposals")
        place = places[file_id]
        tx.execute(
            "UPDATE file SET state = ?, place = ?, target = NULL, laid = ?, disposal = ?, live = ?, updated_at = ?"
            " WHERE no = ?",
            (after, pack(place), lies, again, not at_rest, tx.now, number),
        )
        if after != state:
            tx.ledger.file(folder, state, after)
        tx.event(file_id, "file.finished" if after == "finished" else "file.laid", {"outcome": lies, "place": place})


def relocate(tx: Transaction, file_id: str, place: str) -> None:
    """The file was found at another place."""
    ((number, _, _, _),) = _held(tx, (file_id,), _ANY, "find")
    tx.execute("UPDATE file SET place = ?, updated_at = ? WHERE no = ?", (pack(place), tx.now, number))
    tx.event(file_id, "file.found", {"place": place})


_ANY = tuple(str(state) for state in FileState)


# --- queries -------------------------------------------------------------------------------------------------------------


def _records(tx: Transaction, where: str, parameters: Sequence[Any]) -> list[FileRecord]:
    return [record_of(row) for row in tx.execute(f"SELECT {COLUMNS} FROM file WHERE {where}", parameters)]


def unconfirmed(tx: Transaction) -> Sequence[FileRecord]:
    return _records(tx, "confirmed = 0 ORDER BY id", ())


def live(tx: Transaction, folder: str, after: str, limit: int) -> Sequence[FileRecord]:
    return _records(tx, "live = 1 AND folder = ? AND id > ? ORDER BY id LIMIT ?", (folder, after, limit))


def known_content(tx: Transaction, folder: str, sha256: str) -> Sequence[FileRecord]:
    return _records(tx, "sha256 = ? AND folder = ? ORDER BY no DESC LIMIT 100", (sha256, folder))


def next_to_convert(tx: Transaction, limit: int) -> Sequence[FileRecord]:
    shared = tx.shared
    capacity = shared.capacity
    if shared.sealed or capacity.full or capacity.disk_lacks(0) or capacity.dead_lack(tx.ledger.total["dead"]):
        return []
    found = _records(
        tx,
        "state = 'claimed' AND confirmed = 1 AND not_before <= ? ORDER BY priority DESC, no LIMIT ?",
        (tx.now, limit + len(shared.refused)),
    )
    return [file for file in found if not _still_too_much(tx, file.id)][:limit]


def _still_too_much(tx: Transaction, file_id: str) -> bool:
    """Whether what was made of the file did not fit, and would not fit now."""
    needed = tx.shared.refused.get(file_id)
    if needed is None:
        return False
    total = tx.ledger.total
    return bool(tx.shared.capacity.lacks(total["items"], total["bytes"], total["dead"], *needed))


def next_due(tx: Transaction) -> None:
    """Have the loop told when the next file that is held back by time is due."""
    (at,) = tx.execute(
        "SELECT min(not_before) FROM file WHERE state = 'claimed' AND confirmed = 1 AND not_before > ?", (tx.now,)
    ).fetchone()
    if at is not None:
        tx.file_due_at(at)


def parked(tx: Transaction, reason: str, limit: int) -> Sequence[FileRecord]:
    return _records(tx, "state = 'parked' AND reason = ? ORDER BY no LIMIT ?", (pack(reason), limit))


def next_disposals(tx: Transaction, limit: int, skip_folders: Collection[str]) -> Sequence[Disposal]:
    skipped = ", ".join("?" * len(skip_folders))
    rows = tx.execute(
        f"SELECT {COLUMNS}, disposal FROM file WHERE disposal IS NOT NULL AND target IS NULL"
        f" AND folder NOT IN ({skipped}) ORDER BY no LIMIT ?",
        (*skip_folders, limit),
    )
    return [Disposal(file=record_of(row), outcome=row[-1]) for row in rows]
