"""Brings many files or folders to disk with few flushes: each by itself up to a few, whole file systems beyond that."""

from __future__ import annotations

import os
from collections.abc import Sequence

from dropmill.foundation.files import fsync_directory, syncfs

__all__ = ["FEW", "sync_files", "sync_folders"]

FEW = 8
"""Up to this many are synced one by one: syncfs(2) also writes what other programs have left to write."""


def sync_files(paths: Sequence[str]) -> None:
    """The files' data are on disk.

    Raises:
        OSError: some may not be.
    """
    for path in _left(paths):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sync_folders(paths: Sequence[str]) -> None:
    """The folders' entries are on disk.

    Raises:
        OSError: some may not be.
    """
    for path in _left(paths):
        fsync_directory(path)


def _left(paths: Sequence[str]) -> Sequence[str]:
    """Those that no flush of a whole file system has brought to disk."""
    if len(paths) <= FEW:
        return paths
    devices: dict[int, list[str]] = {}
    for path in paths:
        devices.setdefault(os.stat(path, follow_symlinks=False).st_dev, []).append(path)
    return [
        path for same in devices.values() if len(same) <= FEW or not syncfs(os.path.dirname(same[0])) for path in same
    ]
