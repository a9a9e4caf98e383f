"""After a crash, and whenever a root has returned: brings the journal and what lies on disk into line, without anybody's help.

A claim that was cut short is finished or undone; a move that was cut short is put on record or planned anew; a file that lies
elsewhere than its row says is put right by identity and content; what lies in work/ without a row goes back to the inbox.
Nothing is overwritten, and nothing is removed but copies of ours whose source still lies where it was.
Runs before anything is claimed in the folder, and while nothing is moved in it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import structlog

from dropmill.config.settings import FolderSettings
from dropmill.foundation.clock import Clock
from dropmill.foundation.errors import Problem
from dropmill.foundation.failpoints import Failpoints
from dropmill.foundation.files import fsync_directory, rename_no_replace
from dropmill.intake.beneath import open_beneath
from dropmill.intake.entries import ID_LENGTH, is_id, parse_entry
from dropmill.intake.errors import FolderOffline
from dropmill.intake.group import put_back
from dropmill.intake.names import printable
from dropmill.intake.root import Root
from dropmill.intake.sameness import exists, same_file, same_inode
from dropmill.intake.thread import RootThread
from dropmill.queue.records import FileRecord
from dropmill.queue.store import QueueStore

__all__ = ["Recovered", "Recovery"]

_log = structlog.get_logger(__name__)

_PAGE = 500
_SAMPLE = 16


@dataclass(kw_only=True)
class Recovered:
    """What was put right."""

    confirmed: list[str] = field(default_factory=list)
    """Claims that were finished, by id."""
    undone: list[str] = field(default_factory=list)
    """Claims that were taken back: the file lies in the inbox, or was taken away by its owner."""
    laid: list[str] = field(default_factory=list)
    """Moves to done/ or failed/ that had happened."""
    relocated: list[str] = field(default_factory=list)
    """Files found at another place than their row said."""
    returned: list[str] = field(default_factory=list)
    """Paths to which files without a row were put back."""
    missing: list[str] = field(default_factory=list)
    """Files that are nowhere, by id."""
    problems: list[Problem] = field(default_factory=list)

    def __bool__(self) -> bool:
        return any((self.confirmed, self.undone, self.laid, self.relocated, self.returned, self.missing, self.problems))


@dataclass(frozen=True)
class _Found:
    """Where a row's file lies."""

    action: str
    """`none`, `confirm`, `undo`, `laid`, `replan`, `relocate`, `missing`."""
    place: str = ""


class Recovery:
    """Recovers one folder."""

    def __init__(
        self,
        settings: FolderSettings,
        root: Root,
        store: QueueStore,
        thread: RootThread,
        *,
        clock: Clock,
        failpoints: Failpoints,
    ) -> None:
        self._settings = settings
        self._root = root
        self._store = store
        self._thread = thread
        self._clock = clock
        self._failpoints = failpoints

    async def check_known(self, device: int | None) -> None:
        """See that the root is the one whose files the journal knows, before anything is changed in it.

        Where nothing is mounted on it yet, an empty folder of another device lies there: none of the files that should be in
        work/ are. A root that was made anew, on the same device, is taken as it is.

        Args:
            device: That the root was on when it was last attached by this process.

        Raises:
            FolderOffline: it is another one.
        """
        inside = self._root.work_path + "/"
        live = await self._store.live_files(self._settings.name, limit=_SAMPLE)
        files = [file for file in live if file.place.startswith(inside)]
        if not files or (device if device is not None else files[0].identity.device) == self._root.device:
            return
        if not await self._thread.call(_any_exists, files):
            raise FolderOffline(
                "the folder is on another device than before, and the files in work are not in it",
                where=self._root.path,
                todo="mount what belongs there; if this is meant to be the folder from now on, resume it",
                code="DM-I006",
            )

    async def run(self) -> Recovered:
        """Put the folder right; its root is attached."""
        recovered = Recovered()
        inside = self._root.work_path + "/"
        unconfirmed = [
            file
            for file in await self._store.unconfirmed_files()
            if file.folder == self._settings.name and file.place.startswith(inside)
        ]
        await self._finish_claims(unconfirmed, recovered)
        known = await self._check_live({file.id for file in unconfirmed}, recovered)
        await self._thread.call(self._return_unknown, known, recovered)
        if recovered:
            _log.info(
                "the folder was put right",
                folder=self._settings.name,
                **{
                    name: len(getattr(recovered, name))
                    for name in ("confirmed", "undone", "laid", "relocated", "returned", "missing")
                },
            )
        return recovered

    # --- claims cut short ------------------------------------------------------------------------------------------------

    async def _finish_claims(self, files: Sequence[FileRecord], recovered: Recovered) -> None:
        for start in range(0, len(files), _PAGE):
            page = files[start : start + _PAGE]
            actions = await self._thread.call(self._settle_claims, page)
            confirmed = [file.id for file, action in zip(page, actions, strict=True) if action == "confirm"]
            undone = [file.id for file, action in zip(page, actions, strict=True) if action == "undo"]
            if confirmed:
                await self._store.confirm_files(confirmed)
            if undone:
                await self._store.remove_files(undone, "the claim was cut short")
            self._failpoints.hit("recovery.claims")
            recovered.confirmed += confirmed
            recovered.undone += undone

    def _settle_claims(self, files: Sequence[FileRecord]) -> list[str]:
        actions = []
        for file in files:
            self._thread.sign()
            actions.append(self._settle_claim(file))
            self._failpoints.hit("recovery.claim")
        os.fsync(self._root.work)
        os.fsync(self._root.descriptor)
        return actions

    def _settle_claim(self, file: FileRecord) -> str:
        if not exists(file.place):
            return "undo"  # never moved, or put back: it settles again where it lies
        if same_inode(file.origin, file):
            os.unlink(file.place)  # a copy across devices whose source is still there
            return "undo"
        plain = self._settings.duplicates == "process" and (file.size > 0 or self._settings.zero_byte == "take")
        if plain and same_file(file.place, file, sign=self._thread.sign):
            return "confirm"
        self._return(os.path.relpath(file.place, self._root.work_path), file.name, file.sha256)
        return "undo"

    def _return(self, entry: str, path: str, sha256: str) -> str:
        """Put an entry of work/ back to its relative path, or into the root where that folder is gone; where it is now."""
        folder, _, name = path.rpartition("/")
        try:
            parent = open_beneath(self._root.descriptor, folder)
        except OSError:
            folder, parent = "", open_beneath(self._root.descriptor, "")
        try:
            back = put_back(entry, self._root.work, name, parent, sha256, self._clock.time())
            os.fsync(parent)
        finally:
            os.close(parent)
        if "/" in entry:
            _remove_empty(os.path.join(self._root.work_path, entry[:ID_LENGTH]))
        return os.path.join(self._root.path, folder, back)

    # --- files that should lie in work/ ----------------------------------------------------------------------------------

    async def _check_live(self, done: set[str], recovered: Recovered) -> set[str]:
        """Look for every live file where its row says; the ids of all of them."""
        known: set[str] = set()
        after = ""
        while page := await self._store.live_files(self._settings.name, after, _PAGE):
            after = page[-1].id
            known.update(file.id for file in page)
            files = [file for file in page if file.id not in done]
            found = await self._thread.call(self._find_all, files)
            for file, where in zip(files, found, strict=True):
                await self._put_right(file, where, recovered)
        return known

    def _find_all(self, files: Sequence[FileRecord]) -> list[_Found]:
        return [self._find(file) for file in files]

    def _find(self, file: FileRecord) -> _Found:
        self._thread.sign()
        target = file.target
        arrived = target is not None and target != file.place and same_file(target, file, sign=self._thread.sign)
        if exists(file.place):
            if target is None:
                return _Found("none")
            if not arrived:
                return _Found("replan")
            os.unlink(
                file.place
            )  # copied across devices: a target is only planned where nothing lies, so the copy is ours
            fsync_directory(os.path.dirname(file.place))
        if target is not None and arrived:
            fsync_directory(os.path.dirname(target))
            return _Found("laid", target)
        if not file.place.startswith(self._root.work_path + "/") and (exists(file.origin) or exists(file.place)):
            return _Found("none")  # being submitted at this moment
        if same_inode(file.origin, file):
            # the move into work/ was confirmed and lost all the same: the disk did not keep what it had promised
            rename_no_replace(file.origin, file.place)
            fsync_directory(os.path.dirname(file.origin))
            os.fsync(self._root.work)
            return _Found("replan" if target is not None else "none")
        for place in self._elsewhere(file):
            if same_file(place, file, sign=self._thread.sign):
                return _Found("relocate", place)
        return _Found("missing")

    def _elsewhere(self, file: FileRecord) -> Iterator[str]:
        for folder in (self._settings.done, self._settings.failed):
            yield os.path.join(str(folder), file.name)

    async def _put_right(self, file: FileRecord, found: _Found, recovered: Recovered) -> None:
        if found.action == "laid":
            await self._store.finish_disposals({file.id: found.place})
            recovered.laid.append(file.id)
        elif found.action == "replan":
            await self._store.plan_disposals({file.id: ""})
        elif found.action == "relocate":
            await self._store.relocate_file(file.id, found.place)
            if file.target is not None:
                await self._store.plan_disposals({file.id: ""})
            recovered.relocated.append(file.id)
        elif found.action == "missing":
            recovered.missing.append(file.id)
            where = printable(file.place)
            _log.error("a claimed file is nowhere to be found", code="DM-I014", file=file.id, place=where)
            if len(recovered.missing) == 1:
                recovered.problems.append(
                    Problem(
                        code="DM-I014",
                        what="a claimed file is neither in work nor in its folder, done or failed: somebody took it away",
                        where=where,
                        todo="put it back there, under that name",
                    )
                )
            await self._store.record_event(file.id, "file.missing", {"place": where})
        self._failpoints.hit("recovery.live")

    # --- entries without a row ----------------------------------------------------------------------------------------------

    def _return_unknown(self, known: set[str], recovered: Recovered) -> None:
        with os.scandir(self._root.work_path) as entries:
            names = sorted(entry.name for entry in entries)
        for name in names:
            self._thread.sign()
            if name.startswith("."):
                if name.endswith(".part") and is_id(name[1 : 1 + ID_LENGTH]):
                    os.unlink(os.path.join(self._root.work_path, name))  # an unfinished copy of ours
                continue
            parsed = parse_entry(name)
            if parsed is None:
                recovered.problems.append(
                    Problem(
                        code="DM-I015",
                        what="something in work/ is not dropmill's",
                        where=os.path.join(self._root.work_path, printable(name)),
                        todo="move it into the folder to have it converted, or elsewhere",
                    )
                )
                continue
            file_id, own_name = parsed
            path = os.path.join(self._root.work_path, name)
            if not own_name:
                _remove_empty(path)  # its file was moved, or never came
            if file_id in known or not exists(path):
                continue
            inner = [name] if own_name else [f"{name}/{entry}" for entry in os.listdir(path)]
            for entry in inner:
                back = self._return(entry, own_name or entry.partition("/")[2], "0" * 8)
                _log.warning("a file in work had no row, and is back in its folder", path=printable(back))
                recovered.returned.append(back)
            self._failpoints.hit("recovery.returned")
        if recovered.returned:
            os.fsync(self._root.work)
            os.fsync(self._root.descriptor)


def _any_exists(files: Sequence[FileRecord]) -> bool:
    return any(exists(file.place) for file in files)


def _remove_empty(folder: str) -> None:
    try:
        os.rmdir(folder)
    except OSError:
        pass  # not empty, or gone
