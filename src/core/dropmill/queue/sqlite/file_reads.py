"""Which files there are: to convert, to lay down, parked, known, unresolved. Nothing here changes anything."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from dropmill.queue.records import Disposal, FileRecord, FileState
from dropmill.queue.sqlite.codec import load, load_identity, pack, unpack
from dropmill.queue.sqlite.transaction import Transaction

__all__ = ["known_content", "live", "next_disposals", "next_due", "next_to_convert", "parked", "unconfirmed"]

_COLUMNS = (
    "id, folder, name, place, origin, state, reason, identity, sha256, occurrence, claimed_at, updated_at, attempts, "
    "not_before, converter, error, target, pending, dead, tags, forced"
)


_STATES = {str(state): state for state in FileState}


def _record(row: Sequence[Any]) -> FileRecord:
    """The record of a row of `_COLUMNS`."""
    return FileRecord(
        id=row[0],
        folder=row[1],
        name=unpack(row[2]),
        place=unpack(row[3]),
        origin=unpack(row[4]),
        state=_STATES[row[5]],
        reason=unpack(row[6]),
        identity=load_identity(row[7]),
        sha256=row[8],
        occurrence=row[9],
        claimed_at=row[10],
        updated_at=row[11],
        attempts=row[12],
        not_before=row[13],
        converter=row[14],
        error=None if row[15] is None else load(row[15]),
        target=None if row[16] is None else unpack(row[16]),
        pending=row[17],
        dead=row[18],
        tags={} if row[19] == "{}" else load(row[19]),
        forced_converter=row[20],
    )


def _records(tx: Transaction, where: str, parameters: Sequence[Any]) -> list[FileRecord]:
    return [_record(row) for row in tx.execute(f"SELECT {_COLUMNS} FROM file WHERE {where}", parameters)]


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
        f"SELECT {_COLUMNS}, disposal FROM file WHERE disposal IS NOT NULL AND target IS NULL"
        f" AND folder NOT IN ({skipped}) ORDER BY no LIMIT ?",
        (*skip_folders, limit),
    )
    return [Disposal(file=_record(row), outcome=row[-1]) for row in rows]
