"""Eight megabytes kept on the disk for the day that it is full: given up, they let deliveries be acknowledged and so make room.

Never read; its blocks are really there.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["BALLAST_SIZE", "Ballast", "free_disk"]

BALLAST_SIZE = 8 * 1024 * 1024


class Ballast:
    """The file; `make` it while there is room, `free` it when there is none."""

    def __init__(self, path: Path, size: int = BALLAST_SIZE) -> None:
        self._path = path
        self._size = size

    def make(self, room: int) -> bool:
        """Make it where `room` bytes can be spared for it; whether it is there."""
        try:
            if self._path.stat().st_size >= self._size:
                return True
        except FileNotFoundError:
            pass
        except OSError:
            return False
        if room < self._size:
            return False
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, self._size)
            finally:
                os.close(descriptor)
        except OSError:
            self.free()
            return False
        return True

    def free(self) -> bool:
        """Give it up; whether it was there."""
        try:
            self._path.unlink()
        except OSError:
            return False
        return True


def free_disk(path: Path) -> int:
    """Bytes that an ordinary user may still write on the file system of `path`."""
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize
