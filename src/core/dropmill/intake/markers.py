"""`ready = "marker"`: a file is taken only once a marker beside it says so, and the marker is consumed after it.

The marker of `x.csv` is `x.csv` or its stem `x` followed by one of the suffixes: `x.csv.done`, `x.done`. A marker for a stem
stays until no other file of that stem waits.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

from dropmill.config.settings import FolderSettings
from dropmill.foundation.files import rename_no_replace
from dropmill.intake.folders import Folders

__all__ = ["Markers"]


class Markers:
    """Finds and consumes the markers of one folder; all methods block."""

    def __init__(self, settings: FolderSettings) -> None:
        self._suffixes = tuple(settings.marker_suffixes)
        self._settings = settings

    def find(self, path: str, parent: int) -> str | None:
        """The name of the file's marker, beside it in the open folder `parent`; None: there is none yet."""
        name = path.rpartition("/")[2]
        stem = os.path.splitext(name)[0]
        for base in (name, stem) if stem != name else (name,):
            for suffix in self._suffixes:
                try:
                    status = os.stat(base + suffix, dir_fd=parent, follow_symlinks=False)
                except OSError:
                    continue
                if stat.S_ISREG(status.st_mode):
                    return base + suffix
        return None

    def consume(self, markers: Iterable[tuple[int, str]]) -> None:
        """Remove markers (folder, name) whose files are claimed; one that has content goes to `done/`, or stays where its name
        is taken there."""
        waiting: dict[int, set[str]] = {}
        for parent, name in set(markers):
            if parent not in waiting:
                waiting[parent] = self._waiting(parent)
            base = next(name.removesuffix(suffix) for suffix in self._suffixes if name.endswith(suffix))
            if base in waiting[parent]:
                continue
            try:
                if os.stat(name, dir_fd=parent, follow_symlinks=False).st_size == 0:
                    os.unlink(name, dir_fd=parent)
                else:
                    with Folders(self._settings) as folders:
                        done = folders.of(os.path.join(str(self._settings.done), name))
                        rename_no_replace(name, name, source_folder=parent, target_folder=done)
            except OSError:
                continue  # it stays: a marker without its file does nothing

    def _waiting(self, parent: int) -> set[str]:
        """The names and stems of the files that still lie in the folder."""
        found: set[str] = set()
        with os.scandir(parent) as entries:
            for entry in entries:
                if not entry.name.endswith(self._suffixes) and entry.is_file(follow_symlinks=False):
                    found.update((entry.name, os.path.splitext(entry.name)[0]))
        return found
