"""`submit`: takes copies of files into the agent's own state, durably, as if they had been dropped into a folder.

The source is read, never changed. The copy arrives in `submitted/.arriving/`, its row is committed, it is renamed into
`submitted/`, and the caller is told only then. Works inside the agent, and in a command that has opened the store itself.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from dropmill.config.settings import FolderSettings
from dropmill.foundation.clock import Clock
from dropmill.foundation.errors import Problem
from dropmill.foundation.failpoints import Failpoints
from dropmill.foundation.files import fsync_directory, rename_no_replace
from dropmill.foundation.ids import IdSource
from dropmill.intake.copying import copy_verified
from dropmill.intake.entries import ID_LENGTH, entry_name, is_id, parse_entry
from dropmill.intake.errors import SourceUnreadable
from dropmill.intake.fates import DUPLICATE, Fate, carry_out, decide
from dropmill.intake.gate import IntakeGate, OpenGate
from dropmill.intake.names import printable
from dropmill.intake.sameness import exists, same_file
from dropmill.intake.settle import identity_of, stamp_of
from dropmill.intake.thread import RootThread
from dropmill.queue.errors import QueueFull
from dropmill.queue.records import FileRecord, NewFile
from dropmill.queue.store import QueueStore

__all__ = ["Submission", "Submitter"]

_log = structlog.get_logger(__name__)

_GROUP = 64
_PAGE = 500


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What became of one submitted path: an id, or a problem."""

    path: Path
    file_id: str | None = None
    problem: Problem | None = None


class Submitter:
    """Takes copies; one for an agent, or for a command."""

    def __init__(
        self,
        state: Path,
        store: QueueStore,
        *,
        clock: Clock,
        ids: IdSource,
        failpoints: Failpoints,
        gate: IntakeGate | None = None,
    ) -> None:
        self._home = str(state / "submitted")
        self._arriving = os.path.join(self._home, ".arriving")
        self._store = store
        self._clock = clock
        self._ids = ids
        self._failpoints = failpoints
        self._gate: IntakeGate = gate if gate is not None else OpenGate()

    async def submit(self, paths: Sequence[Path], folder: FolderSettings) -> Sequence[Submission]:
        """Take copies of the files into the queue, as files of `folder`; one answer a path, in order.

        Raises:
            QueueFull: nothing is taken now; none of the files was.
            StoreUnavailable: the journal cannot be written; files that were answered for in an earlier group stay taken.
            OSError: the state folder cannot be written.
        """
        if not self._gate.intake_open:
            raise QueueFull(f"nothing is taken now: {self._gate.intake_reason}", await self._store.view())
        thread = RootThread("submit", self._clock)
        try:
            answers: list[Submission] = []
            for start in range(0, len(paths), _GROUP):
                answers += await self._group(paths[start : start + _GROUP], folder, thread)
            return answers
        finally:
            thread.close()

    async def _group(self, paths: Sequence[Path], folder: FolderSettings, thread: RootThread) -> list[Submission]:
        arrived: list[NewFile] = []
        answers = []
        for path in paths:
            try:
                row = await thread.call(self._arrive, path, folder, thread)
            except SourceUnreadable as error:
                answers.append(Submission(path=path, problem=error.problem))
                continue
            arrived.append(row)
            answers.append(Submission(path=path, file_id=row.id))
        if not arrived:
            return answers
        try:
            await thread.call(fsync_directory, self._arriving)
            fates = await self._decide(arrived, folder)
            await self._store.add_files(arrived)
        except BaseException:
            thread.submit(self._discard, arrived)
            raise
        self._failpoints.hit("submit.added")
        await thread.call(self._take_in, arrived)
        plain = [file_id for file_id, fate in fates.items() if fate.kind == "process"]
        if plain:
            await self._store.confirm_files(plain)
        for file_id, fate in fates.items():
            if fate.kind != "process":
                await carry_out(self._store, file_id, fate)
        self._failpoints.hit("submit.confirmed")
        return answers

    async def _decide(self, rows: Sequence[NewFile], folder: FolderSettings) -> dict[str, Fate]:
        contents: set[str] = set()
        fates = {}
        for row in rows:
            fate = await decide(folder, self._store, row.sha256, row.identity.size, contents)
            if fate.kind == "later" and folder.duplicates != "process":
                reason = "a file that was submitted together with it has the same content"
                fate = Fate(folder.duplicates, DUPLICATE, reason)
            fates[row.id] = fate
        return fates

    # --- on disk -------------------------------------------------------------------------------------------------------------

    def _arrive(self, path: Path, folder: FolderSettings, thread: RootThread) -> NewFile:
        """Copy a file into `.arriving/`."""
        shown = printable(str(path))
        file_id = self._ids.new()
        os.makedirs(self._arriving, 0o755, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise SourceUnreadable(
                f"the file cannot be read: {error.strerror}", where=shown, todo="name a file that you may read"
            ) from error
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise SourceUnreadable("this is no regular file", where=shown, todo="name files, one by one")
            name = os.path.basename(os.path.abspath(path))
            origin = os.path.join(self._arriving, entry_name(file_id, name))
            if "/" in entry_name(file_id, name):
                os.mkdir(os.path.dirname(origin))
            parent, entry = os.path.split(origin)
            arriving = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                copied = copy_verified(descriptor, arriving, entry, f".{file_id}.part", sign=thread.sign)
            finally:
                os.close(arriving)
            if stamp_of(os.fstat(descriptor))[:2] != stamp_of(status)[:2] or copied.size != status.st_size:
                self._unlink(origin)
                raise SourceUnreadable(
                    "the file changed while it was read", where=shown, todo="submit it once it is written to its end"
                )
        finally:
            os.close(descriptor)
        self._failpoints.hit("submit.copied")
        return NewFile(
            id=file_id,
            folder=folder.name,
            name=name,
            place=os.path.join(self._home, entry_name(file_id, name)),
            origin=origin,
            identity=identity_of(stamp_of(os.stat(origin))),
            sha256=copied.sha256,
            tags=folder.tags,
            priority=folder.priority,
        )

    def _take_in(self, rows: Iterable[NewFile] | Iterable[FileRecord]) -> None:
        """`.arriving/` -> `submitted/`, durably."""
        for row in rows:
            folder = os.path.dirname(row.place)
            if folder != self._home:
                os.makedirs(folder, exist_ok=True)
            rename_no_replace(row.origin, row.place)
            if folder != self._home:
                fsync_directory(folder)
                os.rmdir(os.path.dirname(row.origin))
            self._failpoints.hit("submit.renamed")
        fsync_directory(self._home)
        fsync_directory(self._arriving)

    def _discard(self, rows: Iterable[NewFile]) -> None:
        for row in rows:
            self._unlink(row.origin)

    def _unlink(self, path: str) -> None:
        try:
            os.unlink(path)
            if os.path.dirname(path) != self._arriving:
                os.rmdir(os.path.dirname(path))
        except OSError as error:
            _log.debug("a copy was left behind", path=printable(path), error=str(error))

    # --- after a crash -------------------------------------------------------------------------------------------------------

    async def recover(self, folders: Mapping[str, FolderSettings]) -> Sequence[Problem]:
        """Finish what a crash cut short: copies with a row go on, copies without one were never acknowledged and go."""
        thread = RootThread("submit", self._clock)
        try:
            inside = self._home + "/"
            rows = [file for file in await self._store.unconfirmed_files() if file.place.startswith(inside)]
            for start in range(0, len(rows), _PAGE):
                page = rows[start : start + _PAGE]
                whole = await thread.call(self._complete_all, page, thread)
                confirmed = [row.id for row, there in zip(page, whole, strict=True) if there]
                if confirmed:
                    await self._store.confirm_files(confirmed)
                if len(confirmed) < len(page):
                    gone = [row.id for row, there in zip(page, whole, strict=True) if not there]
                    await self._store.remove_files(gone, "the copy was not complete")
            known: set[str] = set()
            for name in folders:
                after = ""
                while live := await self._store.live_files(name, after, _PAGE):
                    after = live[-1].id
                    known.update(file.id for file in live)
            return await thread.call(self._sweep, known)
        finally:
            thread.close()

    def _complete_all(self, rows: Sequence[FileRecord], thread: RootThread) -> list[bool]:
        return [self._complete(row, thread) for row in rows]

    def _complete(self, row: FileRecord, thread: RootThread) -> bool:
        if not exists(row.place) and exists(row.origin):
            self._take_in([row])
        return exists(row.place) and same_file(row.place, row, sign=thread.sign)

    def _sweep(self, known: set[str]) -> list[Problem]:
        problems = []
        if os.path.isdir(self._arriving):
            for name in os.listdir(self._arriving):
                path = os.path.join(self._arriving, name)
                parsed = parse_entry(name)
                if name.startswith(".") and is_id(name[1 : 1 + ID_LENGTH]):
                    self._unlink(path)
                elif parsed is not None and parsed[0] not in known:
                    for inner in [path] if parsed[1] else [os.path.join(path, entry) for entry in os.listdir(path)]:
                        self._unlink(inner)
        for name in sorted(os.listdir(self._home)) if os.path.isdir(self._home) else ():
            parsed = parse_entry(name)
            if parsed is not None and parsed[0] not in known:
                problems.append(
                    Problem(
                        code="DM-I017",
                        what="a submitted file has no row: the queue was replaced after it had been taken",
                        where=os.path.join(self._home, printable(name)),
                        todo="submit it again from there, then remove it",
                    )
                )
        return problems
