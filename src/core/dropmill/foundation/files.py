"""Durable files: what is said to be written is on disk, and nothing is ever overwritten by a move.

All functions are synchronous and block; the agent calls them in threads. Paths may be any bytes that the file system
allows (surrogate escapes round-trip).
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable
from pathlib import Path

__all__ = ["fsync_directory", "rename_no_replace", "syncfs", "write_all", "write_durably"]

_LIBC = ctypes.CDLL(None, use_errno=True)
_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
_NO_RENAMEAT2 = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP}


def fsync_directory(path: str | os.PathLike[str]) -> None:
    """Make the entries of a directory durable (a rename or a new file is safe only after this)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def syncfs(path: str | os.PathLike[str] | int) -> bool:
    """Flush the whole file system that holds `path` (or an open descriptor); one call for a group of files (syncfs(2)).

    Returns False where the platform has no such call: the caller then syncs file by file.

    Raises:
        OSError: write-back failed; nothing may be called safe.
    """
    if not hasattr(_LIBC, "syncfs"):
        return False
    descriptor = path if isinstance(path, int) else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _LIBC.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            if number == errno.ENOSYS:
                return False
            raise OSError(number, os.strerror(number), path if isinstance(path, int) else os.fspath(path))
    finally:
        if not isinstance(path, int):
            os.close(descriptor)
    return True


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write every byte: at a full disk `os.write` may write short without an error, and only the next call raises."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def write_durably(path: str | os.PathLike[str], data: bytes | Iterable[bytes], *, mode: int = 0o644) -> None:
    """Create or replace a file so that after a crash either the old or the new content is there, whole.

    A temporary sibling is written, synced and renamed over `path`, then the folder is synced. On an error the temporary
    file is removed and `path` is untouched.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name[:200]}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        try:
            for chunk in (data,) if isinstance(data, bytes) else data:
                write_all(descriptor, chunk)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_directory(target.parent)


def rename_no_replace(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    source_folder: int | None = None,
    target_folder: int | None = None,
) -> None:
    """Move within one file system, failing where `target` exists (renameat2 with RENAME_NOREPLACE; else link + unlink).

    Args:
        source_folder: An open folder that `source` is relative to.
        target_folder: An open folder that `target` is relative to.

    Raises:
        FileExistsError: `target` is taken; nothing has changed.
        OSError: EXDEV where the two are on different file systems, and whatever else rename(2) raises.
    """
    old, new = os.fsencode(source), os.fsencode(target)
    if hasattr(_LIBC, "renameat2"):
        old_folder = _AT_FDCWD if source_folder is None else source_folder
        new_folder = _AT_FDCWD if target_folder is None else target_folder
        if _LIBC.renameat2(old_folder, old, new_folder, new, _RENAME_NOREPLACE) == 0:
            return
        number = ctypes.get_errno()
        if number not in _NO_RENAMEAT2:
            raise OSError(number, os.strerror(number), os.fspath(source), None, os.fspath(target))
    os.link(old, new, src_dir_fd=source_folder, dst_dir_fd=target_folder, follow_symlinks=False)
    os.unlink(old, dir_fd=source_folder)
