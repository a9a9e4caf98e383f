"""Reads small files that a person named: bounded, and never waiting for what is no regular file (a pipe, a device)."""

from __future__ import annotations

import os
import stat

__all__ = ["UnusableFileError", "read_regular"]


class UnusableFileError(OSError):
    """The path leads to something that is no regular file, or to one that is larger than allowed."""


def read_regular(path: str | os.PathLike[str], most: int) -> bytes:
    """The content of a regular file of at most `most` bytes. Blocks on the disk.

    Raises:
        UnusableFileError: it is something else, or larger.
        OSError: it cannot be opened or read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise UnusableFileError("it is no regular file")
        content = bytearray()
        while chunk := os.read(descriptor, most + 1 - len(content)):
            content += chunk
            if len(content) > most:
                raise UnusableFileError(f"it is larger than {most} bytes")
        return bytes(content)
    finally:
        os.close(descriptor)
