"""Transitions of files: from the claim to the place where they come to rest.

Each function is an operation (see `transaction`). Where a file is to go follows from its deliveries and is worked out in the
transaction that ends the last of them (`Transaction.ended`), or here when its conversion ends without any. What changes where a
file stands is recorded as an event; the steps of a move under way are columns alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from dropmill.queue.errors import NotHeld, StoreClosed
from dropmill.queue.records import FileRecord, FileState, NewFile
from dropmill.queue.sqlite.codec import code_of, dump, dump_identity, pack, unpack
from dropmill.queue.sqlite.transaction import Transaction

__all__ = [
    "add",
    "confirm",
    "fail",
    "finish_disposals",
    "park",
    "plan_disposals",
    "release",
    "release_converting",
    "relocate",
    "remove",
    "start",
    "wanted",
]


def wanted(dead: int, dropped: int) -> str:
    """Where a file without pending deliveries belongs."""
    return "failed" if dead or dropped else "done"


_Found = tuple[int, str, str, str, Any]


def _find(tx: Transaction, ids: Sequence[str], states: Collection[str], what: str) -> list[_Found]:
    """(no, id, folder, state, name) of each file, all of them known and in one of the states."""
    found = []
    for file_id in ids:
        row = tx.execute("SELECT no, id, folder, state, name FROM file WHERE id = ?", (file_id,)).fetchone()
        if row is None:
            raise NotHeld(f"there is no file {file_id} to {what}", where=file_id)
        if row[3] not in states:
            raise NotHeld(f"the file {file_id} is {row[3]}: it is not the time to {what} it", where=file_id)
        found.append(row)
    return found


_ANY = tuple(str(state) for state in FileState)

_ADD = (
    "INSERT INTO file (no, id, folder, name, place, origin, state, identity, size, sha256, occurrence, priority, tags,"
    " claimed_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, 'claimed', ?, ?, ?, ?, ?, ?, ?, ?)"
)


def add(tx: Transaction, files: Sequence[NewFile]) -> Sequence[FileRecord]:
    """Claim files: rows in state claimed, not yet confirmed."""
    records = []
    rows: list[Sequence[Any]] = []
    occurrences: dict[tuple[str, str], int] = {}
    shared, now = tx.shared, tx.now
    for file in files:
        content = (file.sha256, file.folder)
        occurrence = occurrences.get(content)
        if occurrence is None:
            (occurrence,) = tx.execute(
                "SELECT coalesce(max(occurrence) + 1, 0) FROM file WHERE sha256 = ? AND folder = ?", content
            ).fetchone()
        occurrences[content] = occurrence + 1
        paths = (pack(file.name), pack(file.place), pack(file.origin))
        identity = file.identity
        what = (dump_identity(identity), identity.size, file.sha256, occurrence, file.priority, dump(file.tags))
        rows.append((shared.next_file, file.id, file.folder, *paths, *what, now, now))
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
                identity=identity,
                sha256=file.sha256,
                occurrence=occurrence,
                claimed_at=now,
                updated_at=now,
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
        tx.ledger.file(file.folder, None, "claimed")
        told = {"folder": file.folder, "name": file.name, "size": identity.size, "sha256": file.sha256}
        tx.event(file.id, "file.claimed", told)
    tx.executemany(_ADD, rows)
    return records


def confirm(tx: Transaction, ids: Sequence[str]) -> None:
    """The files lie in work/: they may be converted."""
    for file_id in ids:
        tx.later(
            "UPDATE file SET confirmed = 1, updated_at = ? WHERE id = ?",
            (tx.now, file_id),
            required="a file that was to be confirmed is not known",
        )
    tx.topics.add("files")


def remove(tx: Transaction, ids: Sequence[str], reason: str) -> None:
    """The claims did not come about: the rows go, the events stay."""
    for number, file_id, folder, state, name in _find(tx, ids, ("claimed", "converting", "parked"), "give back"):
        tx.execute("DELETE FROM file WHERE no = ?", (number,))
        _left(tx, file_id, folder, state, None)
        tx.event(file_id, "file.removed", {"folder": folder, "name": unpack(name), "reason": reason})
    tx.topics.add("capacity")


def _left(tx: Transaction, file_id: str, folder: str, before: str, after: str | None) -> None:
    """A file went from one state to another."""
    tx.ledger.file(folder, before, after)
    if before == "converting":
        tx.set_conversion(file_id, None)


def start(tx: Transaction, ids: Sequence[str]) -> None:
    """claimed -> converting."""
    if tx.shared.sealed:
        raise StoreClosed("the queue is closing: nothing new is converted")
    found = _find(tx, ids, ("claimed",), "convert")
    tx.executemany(
        "UPDATE file SET state = 'converting', reason = '', updated_at = ? WHERE no = ?",
        [(tx.now, row[0]) for row in found],
    )
    for number, file_id, folder, state, name in found:
        tx.set_conversion(file_id, (number, folder, name))
        tx.ledger.file(folder, state, "converting")
        tx.event(file_id, "file.converting", {})


def fail(
    tx: Transaction, file_id: str, *, code: str, reason: str, error: Mapping[str, Any], converter: str | None
) -> None:
    """converting (or claimed) -> failed, to be moved to failed/."""
    ((number, _, folder, state, _),) = _find(tx, (file_id,), ("claimed", "converting", "parked"), "fail")
    tx.execute(
        "UPDATE file SET state = 'failed', reason = ?, code = ?, error = ?, converter = ?, confirmed = 1, updated_at = ?,"
        " disposal = 'failed' WHERE no = ?",
        (pack(reason), code, dump(error), converter, tx.now, number),
    )
    _left(tx, file_id, folder, state, "failed")
    tx.event(file_id, "file.failed", {"code": code, "reason": reason, "converter": converter, "error": error})
    tx.topics.update(("disposals", "capacity"))


def park(tx: Transaction, file_id: str, *, reason: str, error: Mapping[str, Any] | None, converter: str | None) -> None:
    """converting (or claimed) -> parked."""
    ((number, _, folder, state, _),) = _find(tx, (file_id,), ("claimed", "converting"), "park")
    tx.execute(
        "UPDATE file SET state = 'parked', reason = ?, code = ?, error = ?, converter = coalesce(?, converter), updated_at = ?"
        " WHERE no = ?",
        (pack(reason), code_of(error), None if error is None else dump(error), converter, tx.now, number),
    )
    _left(tx, file_id, folder, state, "parked")
    tx.event(file_id, "file.parked", {"reason": reason, "converter": converter, "error": error})
    tx.topics.add("capacity")


def release(
    tx: Transaction, ids: Sequence[str], *, reason: str, not_before: float, charge: bool, converter: str | None
) -> None:
    """converting, parked or failed -> claimed. A file that rests in failed/ counts as in work again."""
    for number, file_id, folder, state, _ in _find(tx, ids, ("claimed", "converting", "parked", "failed"), "release"):
        tx.execute(
            "UPDATE file SET state = 'claimed', reason = ?, not_before = ?, attempts = attempts + ?, updated_at = ?,"
            " live = 1, forced = coalesce(?, forced), disposal = CASE WHEN target IS NULL THEN NULL ELSE disposal END"
            " WHERE no = ?",
            (pack(reason), not_before, charge, tx.now, converter, number),
        )
        _left(tx, file_id, folder, state, "claimed")
        told: dict[str, Any] = {"from": state, "reason": reason}
        if charge:
            told["charged"] = True
        if converter is not None:
            told["converter"] = converter
        if not_before:
            told["notBefore"] = not_before
        tx.event(file_id, "file.released", told)
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
    for file_id, target in targets.items():
        tx.later(
            "UPDATE file SET target = ?1, live = ?1 IS NOT NULL OR laid IS NULL, updated_at = ?2 WHERE id = ?3",
            (pack(target) if target else None, tx.now, file_id),
            required="a file that was to be moved is not known",
        )
        if not target:
            tx.topics.add("disposals")


_LAID = (
    "UPDATE file SET state = ?, place = ?, target = NULL, laid = ?, disposal = ?, live = ?, updated_at = ? WHERE no = ?"
)


def finish_disposals(tx: Transaction, places: Mapping[str, str]) -> None:
    """The files lie at their places; empty: removed on request."""
    for file_id, place in places.items():
        row = tx.execute(
            "SELECT no, folder, state, disposal, laid, pending, dead, dropped FROM file WHERE id = ?", (file_id,)
        ).fetchone()
        if row is None:
            raise NotHeld(f"there is no file {file_id} to lay down", where=file_id)
        number, folder, state, disposal, laid, pending, dead, dropped = row
        belongs = wanted(dead, dropped)
        lies = disposal or laid or ("failed" if state == "failed" else belongs)
        after = "finished" if state == "converted" else state
        again = belongs if after == "finished" and pending == 0 and belongs != lies else None
        if again:
            tx.topics.add("disposals")
        at_rest = after in ("finished", "failed")
        tx.later(_LAID, (after, pack(place), lies, again, not at_rest, tx.now, number))
        if after != state:
            tx.ledger.file(folder, state, after)
        tx.event(file_id, "file.laid", {"outcome": lies, "place": place})


def relocate(tx: Transaction, file_id: str, place: str) -> None:
    """The file was found at another place."""
    ((number, *_),) = _find(tx, (file_id,), _ANY, "find")
    tx.execute("UPDATE file SET place = ?, updated_at = ? WHERE no = ?", (pack(place), tx.now, number))
    tx.event(file_id, "file.found", {"place": place})
