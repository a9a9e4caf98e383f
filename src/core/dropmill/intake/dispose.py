"""Moves files whose fate is settled to `done/` or `failed/`: the target is journaled first, then the file is renamed, then the
folders are synced, then the move is put on record.

A name that is taken gets a suffix; nothing is ever overwritten. Across devices a verified copy takes the place of the rename,
and the source goes only once the copy is safe. A move that fails changes nothing and is tried again. All methods block, and run
in a thread of the folder's own.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from dropmill.config.settings import FolderSettings
from dropmill.foundation.clock import Clock
from dropmill.foundation.failpoints import Failpoints
from dropmill.foundation.files import rename_no_replace
from dropmill.intake.copying import copy_verified
from dropmill.intake.entries import is_id
from dropmill.intake.folders import Folders
from dropmill.intake.names import printable, with_suffix
from dropmill.intake.reason import owner_of, publish_reason, reason_path, remove_reason, stage_reason
from dropmill.intake.sameness import exists, same_file
from dropmill.intake.syncing import sync_files
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
        with Folders(self._settings) as folders:
            reasons = self._stage_reasons(disposals, targets, moved, folders)
            sources: set[str] = set()
            for disposal in disposals:
                self._sign()
                file, target = disposal.file, targets[disposal.file.id]
                if file.id in moved.put_off:
                    continue
                try:
                    if self._move(file, target, reasons.pop(file.id, None), folders):
                        moved.places[file.id] = target
                        sources.add(os.path.dirname(file.place))
                    else:
                        moved.missing.append(file)
                except OSError as error:
                    moved.put_off[file.id] = error
                self._failpoints.hit("dispose.moved")
            folders.sync(also=sources)
        self._failpoints.hit("dispose.synced")
        for disposal in disposals:
            if disposal.file.id in moved.places:
                self._tidy(disposal.file, moved.places[disposal.file.id])
        return moved

    def _stage_reasons(
        self, disposals: Sequence[Disposal], targets: dict[str, str], moved: Moved, folders: Folders
    ) -> dict[str, str]:
        """Write the reasons of those that go to failed/ under hidden names, durably; the names by id."""
        now = self._clock.time()
        staged: dict[str, str] = {}
        used: dict[int, list[str]] = {}
        for disposal in disposals:
            file, target = disposal.file, targets[disposal.file.id]
            if disposal.outcome == "failed" and exists(file.place):
                try:
                    folder = folders.of(target)
                    staged[file.id] = stage_reason(folder, file, now)
                    used.setdefault(folder, []).append(staged[file.id])
                except OSError as error:
                    moved.put_off[file.id] = error
        for folder, names in used.items():
            sync_files(names, folder)
        self._failpoints.hit("dispose.reasons_staged")
        return staged

    def _move(self, file: FileRecord, target: str, reason: str | None, folders: Folders) -> bool:
        """Whether the file lies at its target now."""
        if not exists(file.place):
            return target != file.place and same_file(target, file, sign=self._sign)
        folder, name = folders.of(target), os.path.basename(target)
        try:
            if reason is not None:
                publish_reason(folder, reason, name, file.id)
                self._failpoints.hit("dispose.reason_written")
            if target == file.place:
                return True
            try:
                rename_no_replace(file.place, name, target_folder=folder)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                self._copy(file, folder, name)
        except OSError:
            if reason is not None:
                _discard(reason, folder)
            raise
        return True

    def _copy(self, file: FileRecord, folder: int, name: str) -> None:
        descriptor = os.open(file.place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            temporary = f".dropmill-{file.id}.part"
            copy_verified(descriptor, folder, name, temporary, expected=file.sha256, sign=self._sign)
        finally:
            os.close(descriptor)
        os.fsync(folder)
        self._failpoints.hit("dispose.copied")
        os.unlink(file.place)

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


def _discard(name: str, folder: int) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except OSError:
        pass  # published already, or replaced by the next try
