"""The folders that files are moved to, held open for the length of a batch.

`done/` and `failed/` lie in a root that others write to, unless the admin has put them elsewhere: below the root, and below a
folder that the admin named, no symbolic link is followed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from dropmill.config.settings import FolderSettings
from dropmill.foundation.files import fsync_directory, syncfs
from dropmill.intake.beneath import make_beneath
from dropmill.intake.syncing import FEW

__all__ = ["Folders"]


class Folders:
    """Use as a context; all methods block."""

    def __init__(self, settings: FolderSettings) -> None:
        # the root first: where done/ lies in it, its own name is as little to be trusted as what is below it
        self._bases = [str(settings.path), str(settings.done), str(settings.failed)]
        self._open: dict[str, int] = {}

    def of(self, target: str) -> int:
        """The open folder that `target` lies in; made, durably, where it is missing.

        Raises:
            OSError: ELOOP or ENOTDIR where a link or a file is in the way, and whatever else the file system says.
        """
        path = os.path.dirname(target)
        if path not in self._open:
            base = next(base for base in self._bases if path == base or path.startswith(base.rstrip("/") + "/"))
            if base != self._bases[0]:
                _make(base)
            descriptor = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                relative = os.path.relpath(path, base)
                self._open[path] = make_beneath(descriptor, "" if relative == "." else relative)
            finally:
                os.close(descriptor)
        return self._open[path]

    def sync(self, *, also: Iterable[str] = ()) -> None:
        """Bring the entries of all these folders, and of the folders `also` by path, to disk.

        Raises:
            OSError: some may not be.
        """
        devices: dict[int, list[int]] = {}
        for descriptor in self._open.values():
            devices.setdefault(os.fstat(descriptor).st_dev, []).append(descriptor)
        for descriptors in devices.values():
            if len(descriptors) <= FEW or not syncfs(descriptors[0]):
                for descriptor in descriptors:
                    os.fsync(descriptor)
        for path in also:
            if os.path.isdir(path):  # a long-named file's own folder may be gone with it
                fsync_directory(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()


def _make(path: str) -> None:
    """Make a folder that the admin named, with its parents, durably."""
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for folder in reversed(missing):
        try:
            os.mkdir(folder, 0o755)
        except FileExistsError:
            continue
        fsync_directory(os.path.dirname(folder))
