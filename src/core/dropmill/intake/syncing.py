"""Brings many files to disk with few flushes: each by itself up to a few, the whole file system beyond that."""

from __future__ import annotations

import os
from collections.abc import Sequence

from dropmill.foundation.files import syncfs

__all__ = ["FEW", "sync_files"]

FEW = 8
"""Up to this many are synced one by one: syncfs(2) also writes what other programs have left to write."""


def sync_files(names: Sequence[str], folder: int) -> None:
    """The data of these files of an open folder are on disk.

    Raises:
        OSError: some may not be.
    """
    if len(names) > FEW and syncfs(folder):
        return
    for name in names:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
