"""Carries files whose fate is settled out of work/: takes them from the store, folder by folder, and puts the moves on record.

One supervised child for all folders. Each folder's moves run in a thread of its own, so that one that hangs keeps no other
waiting; a move that fails is tried again with growing pauses, at its journaled target, and stands before nobody.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from dropmill.foundation.clock import Clock
from dropmill.foundation.errors import Problem
from dropmill.foundation.failpoints import Failpoints
from dropmill.intake.claim import FOLDER_ERRORS
from dropmill.intake.dispose import Disposer, Moved
from dropmill.intake.errors import FolderOffline
from dropmill.intake.folder import ABANDON, Folder
from dropmill.intake.names import printable
from dropmill.intake.thread import RootThread
from dropmill.queue.errors import QueueError
from dropmill.queue.records import Disposal
from dropmill.queue.store import QueueStore
from dropmill.supervision.crew import Crew
from dropmill.supervision.spec import Heart

__all__ = ["Mover"]

_log = structlog.get_logger(__name__)

_BATCH = 256
_HELD = 1000
"""Failed moves that a folder may keep for another try; beyond it, no further ones are begun."""
_RETRY = (1.0, 60.0)
_LOOK = 5.0


class _Abandoned(Exception):
    """The agent stops and the file system does not answer."""


@dataclass
class _Lane:
    """The moves of one folder."""

    folder: Folder
    disposer: Disposer
    thread: RootThread
    busy: bool = False
    again_at: float = 0.0
    """Nothing is moved before (monotonic): the whole folder is in trouble."""
    retry_at: float = 0.0
    """When the held moves are tried again."""
    pause: float = _RETRY[0]
    held: dict[str, tuple[Disposal, str]] = field(default_factory=dict)
    """Planned moves that are not on record yet, with their targets, by id."""
    attachment: int = 0
    """The folder's attachment that the held moves belong to: a recovery resolves those of earlier ones."""


class Mover:
    """The child that moves files to done/ and failed/."""

    def __init__(
        self, folders: Mapping[str, Folder], store: QueueStore, *, clock: Clock, failpoints: Failpoints
    ) -> None:
        self._store = store
        self._clock = clock
        self._failpoints = failpoints
        self._heart: Heart | None = None
        self._lanes = {}
        for name, folder in folders.items():
            thread = RootThread(f"moves {name}", clock, on_silence=self._silent)
            disposer = Disposer(folder.settings, clock=clock, failpoints=failpoints, sign=thread.sign)
            self._lanes[name] = _Lane(folder, disposer, thread)
        self._unknown: set[str] = set()

    async def run(self, heart: Heart) -> None:
        """Work until the agent stops; what has been begun is finished."""
        self._heart = heart
        for lane in self._lanes.values():
            lane.busy = False
        async with Crew("moves", max(1, len(self._lanes))) as crew:
            while not heart.quiescing:
                heart.beat()
                seen = self._store.wakeups.count("disposals")
                begun = await self._begin(crew)
                if not begun:
                    await self._store.wakeups.wait("disposals", seen, self._until_next())

    def wake(self) -> None:
        """Look again: at what there is to move, and at whether the agent stops."""
        self._store.wakeups.notify("disposals")

    def close(self) -> None:
        """The agent has stopped: let the threads end."""
        for lane in self._lanes.values():
            lane.thread.close()

    # --- taking ----------------------------------------------------------------------------------------------------------------

    async def _begin(self, crew: Crew) -> bool:
        """Start a batch for every folder that can take one; whether any was started."""
        now = self._clock.monotonic()
        ready = {
            name: lane
            for name, lane in self._lanes.items()
            if lane.folder.available and not lane.busy and lane.again_at <= now
        }
        open_ = {name for name, lane in ready.items() if len(lane.held) < _HELD}
        batches: dict[str, list[Disposal]] = {
            name: [] for name, lane in ready.items() if lane.held and lane.retry_at <= now
        }
        if open_:
            skip = {name for name in self._lanes if name not in open_} | self._unknown
            try:
                for disposal in await self._store.next_disposals(_BATCH, skip_folders=skip):
                    batches.setdefault(disposal.file.folder, []).append(disposal)
            except QueueError as error:
                _log.warning("the moves to make cannot be read", problem=str(error))
        for name in [name for name in batches if name not in self._lanes]:
            del batches[name]
            self._unknown.add(name)
            _log.warning("files of a folder that is not configured any more stay where they are", folder=name)
        for name, disposals in batches.items():
            lane = self._lanes[name]
            lane.busy = True
            await crew.start(self._work(lane, disposals))
        return bool(batches)

    def _until_next(self) -> float:
        now = self._clock.monotonic()
        moments = [at for lane in self._lanes.values() for at in (lane.again_at, lane.retry_at) if at > now]
        return min([_LOOK, *(at - now for at in moments)])

    # --- moving ----------------------------------------------------------------------------------------------------------------

    async def _work(self, lane: _Lane, disposals: Sequence[Disposal]) -> None:
        """One batch of one folder. Whatever goes wrong is tried again later."""
        try:
            async with lane.folder.moving:
                if lane.folder.available:
                    await self._move(lane, disposals)
        except _Abandoned:
            pass
        except (OSError, QueueError, FolderOffline) as error:
            self._trouble(lane, error)
            lane.again_at = lane.retry_at
        finally:
            lane.busy = False
            self._store.wakeups.notify("disposals")  # the folder can be asked for again

    async def _move(self, lane: _Lane, disposals: Sequence[Disposal]) -> None:
        if lane.attachment != lane.folder.attachment:
            lane.attachment = lane.folder.attachment
            lane.held.clear()
        planned = dict(lane.held) if lane.retry_at <= self._clock.monotonic() else {}
        if disposals:
            targets = await lane.thread.call(lane.disposer.plan, disposals)
            await self._store.plan_disposals(targets)
            for disposal in disposals:
                planned[disposal.file.id] = (disposal, targets[disposal.file.id])
        lane.held.update(planned)
        self._failpoints.hit("dispose.planned")
        moved = await lane.thread.call(
            lane.disposer.move,
            [disposal for disposal, _ in planned.values()],
            {file_id: target for file_id, (_, target) in planned.items()},
        )
        if moved.missing:
            await lane.thread.call(lane.folder.root.check)  # they may only seem to be gone
        await self._record(lane, moved)
        await self._replan(lane, moved)
        if moved.put_off:
            error = next(iter(moved.put_off.values()))
            self._trouble(lane, error)
            if error.errno in FOLDER_ERRORS:
                lane.again_at = lane.retry_at
        elif not lane.held:
            lane.pause, lane.folder.condition.move_problem = _RETRY[0], None
            lane.folder.wake()

    async def _record(self, lane: _Lane, moved: Moved) -> None:
        places = dict(moved.places)
        for file in moved.missing:
            where = printable(file.place)
            _log.error("a file to be moved is nowhere to be found", code="DM-I014", file=file.id, place=where)
            await self._store.record_event(file.id, "file.missing", {"place": where})
            places[file.id] = ""
        if places:
            await self._store.finish_disposals(places)
        for file_id in places:
            lane.held.pop(file_id, None)
        self._failpoints.hit("dispose.finished")

    async def _replan(self, lane: _Lane, moved: Moved) -> None:
        """Where a target was taken meanwhile, the plan is taken back: the store hands the file out again."""
        taken = [file_id for file_id, error in moved.put_off.items() if isinstance(error, FileExistsError)]
        if taken:
            await self._store.plan_disposals(dict.fromkeys(taken, ""))
            for file_id in taken:
                lane.held.pop(file_id, None)
                del moved.put_off[file_id]

    def _trouble(self, lane: _Lane, error: OSError | QueueError | FolderOffline) -> None:
        """Say what went wrong, and when it is tried again."""
        lane.retry_at = self._clock.monotonic() + lane.pause
        lane.pause = min(2 * lane.pause, _RETRY[1])
        settings = lane.folder.settings
        where = str(settings.path)
        if isinstance(error, OSError):
            what = error.strerror or str(error)
            if error.filename is not None:
                where = printable(os.fsdecode(error.filename))
        else:
            what = error.problem.what
        problem = Problem(
            code="DM-I016",
            what=f"files cannot be moved out of work: {what}",
            where=where,
            todo="free space, or give the agent's user the right to write to the folder's done and failed; it is tried again",
        )
        if lane.folder.condition.move_problem is None:
            _log.warning(
                "files cannot be moved out of work", folder=settings.name, code=problem.code, problem=str(problem)
            )
        lane.folder.condition.move_problem = problem
        lane.folder.wake()

    def _silent(self, seconds: float) -> None:
        heart = self._heart
        if heart is not None and heart.quiescing and seconds > ABANDON:
            raise _Abandoned
