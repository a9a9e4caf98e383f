"""A verified, durable copy, for where a rename cannot do: across devices, and for submitted files.

The copy appears under its name whole, synced and with the content that was asked for, or not at all. The source is never
touched: whoever removes it does so after this has returned.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass

from dropmill.foundation.files import rename_no_replace, write_all

__all__ = ["Copied", "CopyDiffers", "copy_verified", "read_pieces"]

PIECE = 1 << 20


class CopyDiffers(OSError):
    """What was read is not what was expected: the source changed, or a disk lies."""


@dataclass(frozen=True)
class Copied:
    size: int
    sha256: str


def read_pieces(
    descriptor: int, each: Callable[[memoryview], None], *, sign: Callable[[], None], size: int | None = None
) -> int:
    """Read a descriptor to its end from where it stands, piece by piece in one buffer; how many bytes there were.

    Ends early once there are more than `size`: a file that grows as fast as it is read must not hold its reader for ever.
    """
    buffer = bytearray(PIECE)
    view = memoryview(buffer)
    total = 0
    while count := os.readv(descriptor, [buffer]):
        each(view[:count])
        total += count
        sign()
        if size is not None and total > size:
            break
    return total


def copy_verified(
    source: int,
    folder: int,
    name: str,
    temporary: str,
    *,
    expected: str | None = None,
    sign: Callable[[], None] = lambda: None,
) -> Copied:
    """Copy an open file (from its start) to `name` in the open `folder`, by way of `temporary` there.

    Mode and times go along. The copy's data are on disk when it appears; its name is only once the caller has synced the folder.

    Args:
        temporary: A name that nobody else uses; what a crash has left under it is replaced.
        expected: The SHA-256 that the content must have.

    Raises:
        FileExistsError: `name` is taken.
        CopyDiffers: the content is not `expected`.
        OSError: a full disk, and whatever else the file system says; no copy is left.
    """
    status = os.fstat(source)
    os.lseek(source, 0, os.SEEK_SET)
    digest = hashlib.sha256()
    try:
        os.unlink(temporary, dir_fd=folder)
    except FileNotFoundError:
        pass
    out = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=folder)
    try:
        try:

            def write(piece: memoryview) -> None:
                digest.update(piece)
                write_all(out, piece)

            size = read_pieces(source, write, sign=sign, size=status.st_size)
            if expected is not None and digest.hexdigest() != expected:
                raise CopyDiffers(errno.EIO, "the copy's content is not what was expected", name)
            os.fchmod(out, status.st_mode & 0o777)
            os.utime(out, ns=(status.st_atime_ns, status.st_mtime_ns))
            os.fsync(out)
        finally:
            os.close(out)
        rename_no_replace(temporary, name, source_folder=folder, target_folder=folder)
    except BaseException:
        try:
            os.unlink(temporary, dir_fd=folder)
        except OSError:
            pass  # it is replaced by the next try
        raise
    return Copied(size, digest.hexdigest())
