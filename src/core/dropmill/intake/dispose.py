"""Moves files whose fate is settled to `done/` or `failed/`: the target is journaled first, then the file is renamed, then the
folders are synced, then the move is put on record.

A name that is taken gets a suffix; nothing is ever overwritten. Across devices a verified copy takes the place of the rename,
and the source goes only once the copy is safe. A move that fails changes nothing and is tried again. All methods block, and run
in a thread of the folder's own.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import structlog

from dropmill.config.settings import FolderSettings
from dropmill.foundation.clock import Clock
from dropmill.foundation.failpoints import Failpoints
from dropmill.foundation.files import fsync_directory, rename_no_replace
from dropmill.intake.copying import copy_verified
from dropmill.intake.entries import is_id
from dropmill.intake.names import printable, with_suffix
from dropmill.intake.reason import owner_of, publish_reason, reason_path, remove_reason, replace_reason, stage_reason
from dropmill.intake.sameness import exists, same_file
from dropmill.intake.syncing import sync_files, sync_folders
from dropmill.queue.records import Disposal, FileRecord

__all__ = ["Disposer", "Moved"]

_log = structlog.get_logger(__name__)

_TRIES = 100


@dataclass(kw_only=True)
class Moved:
    """What became of a batch of planned moves."""

    places: dict[str, str]
    """Where each moved file lies now, by id; empty: it is nowhere."""
    put_off: dict[str, OSError]
    """Files that could not be moved, with the reason."""
    missing: list[FileRecord]
    """Files that lie neither where they should be nor where they were going."""


class Disposer:
    """The moves out of work/ of one folder."""

    def __init__(
        self,
        settings: FolderSettings,
        *,
        clock: Clock,
        failpoints: Failpoints,
        sign: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._failpoints = failpoints
        self._sign = sign

    # --- planning --------------------------------------------------------------------------------------------------------------

    def plan(self, disposals: Sequence[Disposal]) -> dict[str, str]:
        """Choose a target for each file, by id: a path where nothing lies, except the file itself."""
        taken: set[str] = set()
        targets = {}
        for disposal in disposals:
            self._sign()
            target = self._target(disposal, taken)
            taken.add(target)
            targets[disposal.file.id] = target
        return targets

    def _target(self, disposal: Disposal, taken: set[str]) -> str:
        file = disposal.file
        base = str(self._settings.done if disposal.outcome == "done" else self._settings.failed)
        if os.path.dirname(file.place) == os.path.dirname(os.path.join(base, file.name)):
            return file.place  # it lies there already (a retry that failed again)
        folder, name = os.path.split(os.path.join(base, file.name))
        for number in range(_TRIES):
            candidate = os.path.join(
                folder, name if number == 0 else with_suffix(name, self._clock.time(), file.sha256, number=number - 1)
            )
            if (
                candidate not in taken
                and not exists(candidate)
                and self._reason_free(candidate, file, disposal.outcome)
            ):
                return candidate
        raise FileExistsError(errno.EEXIST, "no free name was found", os.path.join(folder, name))

    @staticmethod
    def _reason_free(target: str, file: FileRecord, outcome: str) -> bool:
        if outcome != "failed":
            return True
        path = reason_path(target)
        return not exists(path) or owner_of(path) == file.id

    # --- moving ----------------------------------------------------------------------------------------------------------------

    def move(self, disposals: Sequence[Disposal], targets: dict[str, str]) -> Moved:
        """Carry out planned moves; each is on disk when this returns.

        Raises:
            OSError: the moves cannot be brought to disk; none of them may be put on record.
        """
        moved = Moved(places={}, put_off={}, missing=[])
        folders: set[str] = set()
        reasons = self._stage_reasons(disposals, targets, moved)
        for disposal in disposals:
            self._sign()
            file, target = disposal.file, targets[disposal.file.id]
            if file.id in moved.put_off:
                continue
            try:
                if self._move(file, target, reasons.get(file.id), folders):
                    moved.places[file.id] = target
                else:
                    moved.missing.append(file)
            except OSError as error:
                moved.put_off[file.id] = error
                _discard(reasons.get(file.id))
            self._failpoints.hit("dispose.moved")
        self._sync(folders)
        self._failpoints.hit("dispose.synced")
        for disposal in disposals:
            if disposal.file.id in moved.places:
                self._tidy(disposal.file, moved.places[disposal.file.id])
        return moved

    def _stage_reasons(self, disposals: Sequence[Disposal], targets: dict[str, str], moved: Moved) -> dict[str, str]:
        """Write the reasons of those that go to failed/ under hidden names, durably; the hidden paths by id."""
        now = self._clock.time()
        staged = {}
        for disposal in disposals:
            file, target = disposal.file, targets[disposal.file.id]
            if disposal.outcome == "failed" and target != file.place and exists(file.place):
                try:
                    self._make(os.path.dirname(target))
                    staged[file.id] = stage_reason(target, file, now)
                except OSError as error:
                    moved.put_off[file.id] = error
        sync_files(list(staged.values()))
        self._failpoints.hit("dispose.reasons_staged")
        return staged

    def _move(self, file: FileRecord, target: str, reason: str | None, folders: set[str]) -> bool:
        """Whether the file lies at its target now."""
        if target == file.place:
            if not exists(target):
                return False
            replace_reason(target, file, self._clock.time())
            return True
        if not exists(file.place):
            return same_file(target, file, sign=self._sign)
        folder = os.path.dirname(target)
        self._make(folder)
        if reason is not None:
            publish_reason(reason, target, file.id)
            self._failpoints.hit("dispose.reason_written")
        try:
            rename_no_replace(file.place, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            self._copy(file, target)
        folders.update((folder, os.path.dirname(file.place)))
        return True

    def _copy(self, file: FileRecord, target: str) -> None:
        temporary = os.path.join(os.path.dirname(target), f".dropmill-{file.id}.part")
        descriptor = os.open(file.place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            copy_verified(descriptor, target, temporary, expected=file.sha256, sign=self._sign)
        finally:
            os.close(descriptor)
        fsync_directory(os.path.dirname(target))
        self._failpoints.hit("dispose.copied")
        os.unlink(file.place)

    def _make(self, folder: str) -> None:
        """Make a folder with its parents, durably."""
        missing = []
        while not os.path.isdir(folder):
            missing.append(folder)
            folder = os.path.dirname(folder)
        for path in reversed(missing):
            try:
                os.mkdir(path, 0o755)
            except FileExistsError:
                continue
            fsync_directory(os.path.dirname(path))

    def _sync(self, folders: Iterable[str]) -> None:
        # a long-named file's own folder may be gone with it: its parent counts then
        sync_folders([folder for folder in folders if os.path.isdir(folder)])

    def _tidy(self, file: FileRecord, target: str) -> None:
        """Remove what the file leaves behind: its reason in failed/, a folder that was made for it alone."""
        if target == file.place:
            return
        try:
            remove_reason(file.place, file.id)
            folder = os.path.dirname(file.place)
            if is_id(os.path.basename(folder)):
                os.rmdir(folder)
        except OSError as error:
            _log.debug("something was left behind", place=printable(file.place), error=str(error))


def _discard(path: str | None) -> None:
    if path is not None:
        try:
            os.unlink(path)
        except OSError:
            pass  # published already, or replaced by the next try
