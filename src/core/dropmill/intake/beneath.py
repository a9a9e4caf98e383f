"""Paths below an open folder, component by component: a symbolic link that somebody puts in the way is never followed.

What lies in a drop folder is written by others. Were `done` (or a folder in it) a link, a plain rename would carry files that
they made to wherever it points, with the agent's rights.
"""

from __future__ import annotations

import errno
import os

__all__ = ["make_beneath", "open_beneath"]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_beneath(root: int, path: str, *, flags: int = os.O_RDONLY | os.O_DIRECTORY) -> int:
    """Open a relative path below the folder `root`; the empty path is the folder itself. The caller closes it.

    Raises:
        OSError: ELOOP or ENOTDIR where a component is a link, and whatever else open(2) raises.
    """
    return _walk(root, path, flags, make=False)


def make_beneath(root: int, path: str) -> int:
    """The same for a folder; those that are missing are made, durably.

    Raises:
        OSError: ELOOP or ENOTDIR where a component is a link or a file, and whatever else the file system says.
    """
    return _walk(root, path, os.O_RDONLY | os.O_DIRECTORY, make=True)


def _walk(root: int, path: str, flags: int, *, make: bool) -> int:
    parts = path.split("/") if path else []
    if any(part in ("", ".", "..") for part in parts):
        raise OSError(errno.ELOOP, "this is no plain path below the folder", path)
    current = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
    for number, part in enumerate(parts, 1):
        try:
            if make:
                try:
                    os.mkdir(part, 0o755, dir_fd=current)
                except FileExistsError:
                    pass
                else:
                    os.fsync(current)
            last = number == len(parts)
            inner = os.open(part, (flags | os.O_NOFOLLOW | os.O_CLOEXEC) if last else _FOLDER, dir_fd=current)
        finally:
            os.close(current)
        current = inner
    return current
