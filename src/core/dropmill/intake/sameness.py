"""Whether the file at a path is the one that the journal speaks of: by identity where it is untouched, else by its content."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable

from dropmill.intake.copying import read_pieces
from dropmill.queue.records import FileRecord

__all__ = ["exists", "hash_file", "is_file", "same_file", "same_inode"]


def _status(path: str) -> os.stat_result | None:
    try:
        return os.stat(path, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None


def exists(path: str) -> bool:
    """Whether anything lies there.

    Raises:
        OSError: that cannot be told.
    """
    return _status(path) is not None


def is_file(path: str) -> bool:
    """Whether a regular file lies there."""
    status = _status(path)
    return status is not None and stat.S_ISREG(status.st_mode)


def same_inode(path: str, file: FileRecord) -> bool:
    """Whether the very inode that was claimed lies there, with the size and modification time that it had."""
    status = _status(path)
    return (
        status is not None
        and stat.S_ISREG(status.st_mode)
        and (status.st_ino, status.st_size, status.st_mtime_ns)
        == (file.identity.inode, file.identity.size, file.identity.mtime_ns)
    )


def same_file(path: str, file: FileRecord, *, sign: Callable[[], None] = lambda: None) -> bool:
    """Whether the file's content lies there: the same inode untouched, or another with the same SHA-256."""
    if same_inode(path, file):
        return True
    status = _status(path)
    if status is None or not stat.S_ISREG(status.st_mode) or status.st_size != file.size:
        return False
    return hash_file(path, sign=sign) == file.sha256


def hash_file(path: str, *, sign: Callable[[], None] = lambda: None) -> str:
    """The SHA-256 of a file, hexadecimal; a symbolic link is not followed."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        digest = hashlib.sha256()
        read_pieces(descriptor, digest.update, sign=sign)
        return digest.hexdigest()
    finally:
        os.close(descriptor)
