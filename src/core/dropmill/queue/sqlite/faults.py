"""What went wrong, sorted by what there is to do about it, and how it is told."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Mapping
from pathlib import Path

from dropmill.queue.errors import StoreUnavailable
from dropmill.queue.sqlite import salvage
from dropmill.queue.sqlite.segments import SyncFailed

__all__ = ["kind", "unavailable"]


_KINDS: Mapping[int, str] = {
    sqlite3.SQLITE_FULL: "full",
    sqlite3.SQLITE_IOERR: "io",
    sqlite3.SQLITE_CANTOPEN: "io",
    sqlite3.SQLITE_READONLY: "io",
    sqlite3.SQLITE_CORRUPT: "damage",
    sqlite3.SQLITE_NOTADB: "damage",
    sqlite3.SQLITE_BUSY: "busy",
    sqlite3.SQLITE_LOCKED: "busy",
}


def kind(error: BaseException) -> str:
    """full, io, damage, busy or other."""
    if isinstance(error, salvage.Damaged):
        return "damage"
    if isinstance(error, sqlite3.Error):
        return _KINDS.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, "other")
    if isinstance(error, SyncFailed):
        return "io"
    if isinstance(error, OSError):
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return "full"
        if error.errno in (errno.EIO, errno.EROFS):
            return "io"
    return "other"


def unavailable(error: BaseException, state: Path) -> BaseException:
    """What the caller is told of an error of the disk or the database; other errors as they are."""
    if not isinstance(error, OSError) and kind(error) == "other":
        return error  # a defect, or an argument that makes no sense
    told = StoreUnavailable(
        f"the queue could not be written: {error}", where=str(state), todo="free or repair the disk"
    )
    told.__cause__ = error
    return told
