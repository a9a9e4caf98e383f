"""A file that is being written: hidden under a temporary name beside its target, and taken there in one step.

Synchronous; used in threads. A part is published once or discarded, never both, whatever thread does it when.
"""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import threading
from pathlib import Path

__all__ = ["PREFIX", "SUFFIX", "Part", "sync_folder"]

PREFIX = ".dropmill-"
SUFFIX = ".part"

_LIBC = ctypes.CDLL(None, use_errno=True)
_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
_NOT_SUPPORTED = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP}


class Part:
    """A new, empty, hidden file in `folder`."""

    def __init__(self, folder: Path, mode: int | None) -> None:
        self.path = folder / f"{PREFIX}{secrets.token_hex(8)}{SUFFIX}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._lock = threading.Lock()
        self._descriptor: int | None = os.open(self.path, flags, 0o666)
        self._there = True
        try:
            if mode is not None:
                os.fchmod(self._descriptor, mode)
        except OSError:
            self.discard()
            raise

    def write(self, data: bytes) -> None:
        """Append. At a full disk a write may come short without an error; only the next one raises."""
        with self._lock:
            if self._descriptor is None:
                raise OSError(errno.EBADF, "the part was discarded", os.fspath(self.path))
            view = memoryview(data)
            while view:
                view = view[os.write(self._descriptor, view) :]

    def flush(self) -> None:
        """Start to write it to disk without waiting: of many parts, the disk then works on all at once."""
        with self._lock:
            if self._descriptor is not None and hasattr(os, "posix_fadvise"):
                os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def sync(self) -> None:
        """Wait until the content is on disk. After an error the part must be discarded, never synced again."""
        with self._lock:
            if self._descriptor is None:
                raise OSError(errno.EBADF, "the part was discarded", os.fspath(self.path))
            os.fsync(self._descriptor)

    def publish(self, target: Path) -> None:
        """Give it its name. The folder must be synced after that.

        Raises:
            FileExistsError: the name is taken; the part is as it was.
        """
        with self._lock:
            _rename(self.path, target)
            self._there = False
            self._close()

    def discard(self) -> None:
        """Remove it, unless it was published."""
        with self._lock:
            self._close()
            if self._there:
                self._there = False
                try:
                    self.path.unlink(missing_ok=True)
                except OSError:
                    pass  # left behind, hidden; the next start removes it

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make a folder's entries durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NOT_SUPPORTED:  # some network file systems have no such thing
            raise
    finally:
        os.close(descriptor)


def _rename(source: Path, target: Path) -> None:
    """Rename without replacing: renameat2(2) where there is one, else a hard link and an unlink."""
    if hasattr(_LIBC, "renameat2"):
        old, new = os.fsencode(source), os.fsencode(target)
        if _LIBC.renameat2(_AT_FDCWD, old, _AT_FDCWD, new, _RENAME_NOREPLACE) == 0:
            return
        number = ctypes.get_errno()
        if number not in _NOT_SUPPORTED:
            raise OSError(number, os.strerror(number), os.fspath(source), None, os.fspath(target))
    os.link(source, target, follow_symlinks=False)
    source.unlink()
