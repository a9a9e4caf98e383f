"""A claim, for a group of files at a time: row first, then an atomic move into `work/`, then the word that it is done.

    prepare   open, prove, hash                              root's thread
    sync      their data are on disk                         root's thread
    (rows)    `store.add_files`, one transaction             event loop
    move      rename into work/, verify, put back what changed
    sync      the moves are on disk (shared with the next group's data)
    (rows)    `store.confirm_files`, `remove_files`

Until the last step the file counts as unclaimed: a crash before it is resolved by `recovery`. A file is never overwritten and
never removed, except after a verified copy where a rename cannot cross devices.
"""

from __future__ import annotations

import errno
import math
import os
from collections import deque
from collections.abc import Callable, Sequence

from dropmill.config.settings import FolderSettings
from dropmill.foundation.clock import Clock
from dropmill.foundation.failpoints import Failpoints
from dropmill.foundation.files import fsync_directory, syncfs
from dropmill.foundation.ids import IdSource
from dropmill.intake import lease
from dropmill.intake.beneath import open_beneath
from dropmill.intake.copying import copy_verified
from dropmill.intake.entries import ID_LENGTH, entry_name
from dropmill.intake.group import Claiming, Group, put_back
from dropmill.intake.lease import Proof
from dropmill.intake.markers import Markers
from dropmill.intake.probe import Interrupted, Refusal, probe
from dropmill.intake.root import Root
from dropmill.intake.settle import identity_of, observe, settled, stamp_of
from dropmill.intake.syncing import FEW
from dropmill.intake.tracker import Tracker, Why
from dropmill.queue.records import NewFile

__all__ = ["FOLDER_ERRORS", "GROUP_BYTES", "Claimer"]


GROUP_BYTES = 64 << 20
"""Bytes after which a group is closed, so that small files do not wait for the hashing of large ones."""

FOLDER_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE}
"""What is no fault of the one file: claiming pauses for the folder."""

_BACKOFF_CAP = 60.0


class Claimer:
    """The claims of one folder; every method runs in the root's thread."""

    def __init__(
        self,
        settings: FolderSettings,
        root: Root,
        tracker: Tracker,
        *,
        ids: IdSource,
        clock: Clock,
        failpoints: Failpoints,
        sign: Callable[[], None] = lambda: None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        """`stopping` says that the agent stops: a long file is then not read to its end."""
        self._settings = settings
        self._root = root
        self._tracker = tracker
        self._ids = ids
        self._clock = clock
        self._failpoints = failpoints
        self._sign = sign
        self._stopping = stopping
        self._markers = Markers(settings) if settings.ready == "marker" else None

    # --- prepare -----------------------------------------------------------------------------------------------------------

    def prepare(self, limit: int) -> Group:
        """Look at up to `limit` files that are due; the group holds those that can be claimed."""
        group = Group()
        paths = deque(self._tracker.take(self._clock.monotonic(), limit))
        size = 0
        try:
            while paths and size < GROUP_BYTES and group.trouble is None:
                size += self._prepare(paths[0], group)
                paths.popleft()
        except Interrupted:
            pass
        except BaseException:
            group.close()
            raise
        for path in paths:
            self._tracker.give_back(path)
        return group

    def _read_on(self) -> None:
        self._sign()
        if self._stopping():
            raise Interrupted

    def _prepare(self, path: str, group: Group) -> int:
        track = self._tracker.get(path)
        if track is None:
            return 0
        try:
            parent = self._parent(path, group)
        except OSError as error:
            self._refuse(
                path,
                Refusal("gone" if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP) else "error", error=error),
                group,
            )
            return 0
        marker = None
        if self._markers is not None and (marker := self._markers.find(path, parent)) is None:
            self._tracker.postpone(path, Why.MARKER, math.inf)
            return 0
        now = self._clock.monotonic()
        watched = observe(track.watched, track.watched.stamp, now)
        if not settled(watched, self._tracker.settle_time(track, now)):
            self._tracker.postpone(path, Why.SETTLING, watched.since + self._tracker.settle_time(track, now))
            return 0
        answer = probe(
            path,
            parent,
            watched.stamp,
            leases=not self._root.remote,
            take_empty=self._settings.zero_byte != "wait",
            need_proof=track.renamed_in,
            sign=self._read_on,
        )
        if isinstance(answer, Refusal):
            self._refuse(path, answer, group)
            return 0
        file_id = self._ids.new()
        group.files.append(Claiming(answer, file_id, entry_name(file_id, answer.name), marker=marker))
        self._failpoints.hit("claim.probed")
        return answer.stamp[0]

    def _parent(self, path: str, group: Group) -> int:
        folder = path.rpartition("/")[0]
        if not folder:
            return self._root.descriptor
        if folder not in group.folders:
            group.folders[folder] = open_beneath(self._root.descriptor, folder)
        return group.folders[folder]

    def _refuse(self, path: str, refusal: Refusal, group: Group) -> None:
        now = self._clock.monotonic()
        tracker = self._tracker
        if refusal.kind == "gone":
            tracker.forget(path)
        elif refusal.kind == "changed" and refusal.stamp is not None:
            tracker.observe(path, refusal.stamp, now)
        elif refusal.kind == "writer":
            tracker.postpone(path, Why.WRITER, now + self._backoff(path, Why.WRITER, cap=10.0))
        elif refusal.kind == "unsettled":
            track = tracker.get(path)
            if track is not None:
                track.renamed_in = False
                tracker.postpone(path, Why.SETTLING, track.watched.since + tracker.settle_time(track, now))
        elif refusal.kind == "empty":
            tracker.postpone(path, Why.EMPTY, math.inf)
        elif refusal.error is not None:
            self._postpone(path, Why.UNREADABLE, refusal.error, group)

    def _postpone(self, path: str, why: Why, error: OSError, group: Group) -> None:
        detail = error.strerror or str(error)
        self._tracker.postpone(path, why, self._clock.monotonic() + self._backoff(path, why), detail)
        if error.errno in FOLDER_ERRORS and group.trouble is None:
            group.trouble = error

    def _backoff(self, path: str, why: Why, *, cap: float = _BACKOFF_CAP) -> float:
        base = max(0.25, self._settings.settle)
        return float(min(cap, base * 2 ** min(self._tracker.tries(path, why), 16)))

    # --- journal -----------------------------------------------------------------------------------------------------------

    def rows(self, group: Group) -> Sequence[NewFile]:
        """The journal's rows of the group."""
        root = self._root.path
        return [
            NewFile(
                id=file.id,
                folder=self._settings.name,
                name=file.held.path,
                place=os.path.join(self._root.work_path, file.entry),
                origin=os.path.join(root, file.held.path),
                identity=identity_of(file.held.stamp),
                sha256=file.held.sha256,
                tags=self._settings.tags,
                priority=self._settings.priority,
            )
            for file in group.files
        ]

    def put_off(self, group: Group) -> None:
        """Take those whose fate is decided later out of the group; they are due again at once."""
        for file in [file for file in group.files if file.fate.kind == "later"]:
            group.files.remove(file)
            file.held.close()
            self._tracker.give_back(file.held.path)

    def release(self, group: Group, detail: str) -> None:
        """The rows could not be written: everything stays where it is and is tried again."""
        now = self._clock.monotonic()
        for file in group.files:
            path = file.held.path
            self._tracker.postpone(path, Why.BLOCKED, now + self._backoff(path, Why.BLOCKED), detail)
        group.close()

    # --- sync ----------------------------------------------------------------------------------------------------------------

    def sync(self, *groups: Group) -> None:
        """Bring the data of prepared groups, and the moves of moved ones, to disk.

        Raises:
            OSError: nothing of the groups may be called safe.
        """
        files = [(group.moved, file) for group in groups for file in group.files]
        if not files:
            return
        foreign = [file.held for moved, file in files if not moved and file.held.stamp[3] != self._root.device]
        if len(files) > FEW and syncfs(self._root.descriptor):
            for held in foreign:
                os.fsync(held.descriptor)
        else:
            for moved, file in files:
                if not moved:
                    os.fsync(file.held.descriptor)
            for group in groups:
                if group.moved:
                    self._sync_folders(group)
        self._failpoints.hit("claim.synced")

    def _sync_folders(self, group: Group) -> None:
        os.fsync(self._root.work)
        for folder in {file.held.parent for file in group.files}:
            os.fsync(folder)
        for file in group.files:
            if "/" in file.entry and not file.undone:
                fsync_directory(os.path.join(self._root.work_path, file.entry[:ID_LENGTH]))

    # --- move ----------------------------------------------------------------------------------------------------------------

    def move(self, group: Group) -> None:
        """Rename the group's files into work/ and verify each; what has changed meanwhile is put back."""
        for file in group.files:
            self._sign()
            try:
                self._move(file)
            except OSError as error:
                file.undone = f"it could not be moved: {error.strerror}"
                if error.errno == errno.ENOENT:
                    self._tracker.forget(file.held.path)
                else:
                    self._postpone(file.held.path, Why.BLOCKED, error, group)
            file.held.close()
            group.words.say(file)
            self._failpoints.hit("claim.renamed")
        group.moved = True
        self._failpoints.hit("claim.moved")

    def _move(self, file: Claiming) -> None:
        held = file.held
        if "/" in file.entry:
            os.mkdir(file.entry[:ID_LENGTH], 0o755, dir_fd=self._root.work)
        try:
            os.rename(held.name, file.entry, src_dir_fd=held.parent, dst_dir_fd=self._root.work)
        except OSError as error:
            if error.errno != errno.EXDEV:
                self._drop_folder(file)
                raise
            self._copy(file)
            return
        self._tracker.forget(held.path)
        there = os.stat(file.entry, dir_fd=self._root.work, follow_symlinks=False)
        size, mtime, _, device, inode = held.stamp
        same = (there.st_size, there.st_mtime_ns, there.st_dev, there.st_ino) == (size, mtime, device, inode)
        if same and (held.proof is not Proof.FREE or lease.kept(held.descriptor)):
            return
        file.undone = (
            "it changed while it was being claimed"
            if same or there.st_ino == inode
            else "it was replaced while it was being claimed"
        )
        self._put_back(file)

    def _copy(self, file: Claiming) -> None:
        """The file's folder is another device (a mount inside the root): copy, and remove the source once the copy is safe."""
        held = file.held
        temporary = f".{file.id}.part"
        copy_verified(held.descriptor, self._root.work, file.entry, temporary, expected=held.sha256, sign=self._sign)
        os.fsync(self._root.work)
        if "/" in file.entry:
            fsync_directory(os.path.join(self._root.work_path, file.entry[:ID_LENGTH]))
        now = os.stat(held.name, dir_fd=held.parent, follow_symlinks=False)
        unchanged = (now.st_size, now.st_mtime_ns, now.st_ino) == (held.stamp[0], held.stamp[1], held.stamp[4])
        if unchanged and (held.proof is not Proof.FREE or lease.kept(held.descriptor)):
            os.unlink(held.name, dir_fd=held.parent)
            self._tracker.forget(held.path)
        else:
            file.undone = "it changed while it was being copied"
            os.unlink(file.entry, dir_fd=self._root.work)
            self._drop_folder(file)
            self._tracker.observe(held.path, stamp_of(now), self._clock.monotonic())

    def _put_back(self, file: Claiming) -> None:
        held = file.held
        put_back(file.entry, self._root.work, held.name, held.parent, held.sha256, self._clock.time())
        self._drop_folder(file)
        # observed at once, so that the event of our own rename is not taken for a file that was dropped whole
        there = os.stat(held.name, dir_fd=held.parent, follow_symlinks=False)
        self._tracker.observe(held.path, stamp_of(there), self._clock.monotonic())
        self._failpoints.hit("claim.put_back")

    def _drop_folder(self, file: Claiming) -> None:
        if "/" in file.entry:
            try:
                os.rmdir(file.entry[:ID_LENGTH], dir_fd=self._root.work)
            except OSError:
                pass  # recovery removes empty ones

    # --- afterwards --------------------------------------------------------------------------------------------------------

    def finish(self, group: Group) -> None:
        """The claims are on record: consume markers, close what is open."""
        if self._markers is not None:
            self._markers.consume(
                (file.held.parent, file.marker) for file in group.files if file.marker and not file.undone
            )
        group.close()
