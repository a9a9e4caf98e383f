"""Intake as the agent sees it: its children, their recovery, the folders' states, and what may be asked of them.

Everything that answers at once answers from memory; everything that touches a folder happens in that folder's own threads.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Sequence
from pathlib import Path

from dropmill.config.settings import FolderSettings
from dropmill.foundation.clock import Clock
from dropmill.foundation.errors import Problem
from dropmill.foundation.failpoints import Failpoints
from dropmill.foundation.guard import Hung, Raised, run_guarded
from dropmill.foundation.ids import IdSource
from dropmill.intake.errors import UnknownFolder
from dropmill.intake.explain import sight
from dropmill.intake.folder import Folder, Services
from dropmill.intake.gate import IntakeGate
from dropmill.intake.moves import Mover
from dropmill.intake.status import FolderState, FolderStatus, Sighting
from dropmill.intake.submit import Submission, Submitter
from dropmill.queue.store import QueueStore
from dropmill.supervision.spec import ChildSpec

__all__ = ["GROUP", "Intake"]

GROUP = 256
"""Files that are claimed together, at most."""
_SMALLEST_GROUP = 16
_EXPLAIN_LIMIT = 5.0


class Intake:
    """All folders."""

    def __init__(
        self,
        folders: Sequence[FolderSettings],
        store: QueueStore,
        *,
        state: Path,
        clock: Clock,
        ids: IdSource,
        failpoints: Failpoints,
        gate: IntakeGate,
        max_claimed: int,
        instance: str,
        open_files: int | None = None,
    ) -> None:
        """
        Args:
            state: The agent's state folder; submitted files lie in it.
            instance: Names this agent in the roots' lock files.
            open_files: Descriptors that claiming may use in all; None: half of what the process may open.
        """
        services = Services(
            store=store,
            clock=clock,
            ids=ids,
            failpoints=failpoints,
            gate=gate,
            max_claimed=max_claimed,
            group_size=_group_size(len(folders), open_files),
            instance=instance,
        )
        self._clock = clock
        self._store = store
        self._folders = {settings.name: Folder(settings, services) for settings in folders}
        self._mover = Mover(self._folders, store, clock=clock, failpoints=failpoints)
        self._submitter = Submitter(state, store, clock=clock, ids=ids, failpoints=failpoints, gate=gate)
        self._problems: Sequence[Problem] = ()

    # --- life ----------------------------------------------------------------------------------------------------------------

    async def recover(self) -> None:
        """Put submitted files right and find the folders that are paused; before the children start.

        What lies in a folder is recovered when its root is attached.
        """
        for flag in await self._store.flags():
            kind, _, name = flag.partition(":")
            if kind == "folder" and name in self._folders:
                self._folders[name].pause()
        self._problems = await self._submitter.recover(
            {name: folder.settings for name, folder in self._folders.items()}
        )

    def children(self) -> list[ChildSpec]:
        """One child a folder, and one that moves finished files out of work/."""
        specs = [
            ChildSpec(name=f"folder {name}", run=folder.run, heartbeat=60.0, quiesce=folder.wake)
            for name, folder in self._folders.items()
        ]
        return [*specs, ChildSpec(name="moves", run=self._mover.run, heartbeat=60.0, quiesce=self._mover.wake)]

    async def started(self, within: float) -> bool:
        """Wait until each folder works or is known not to, at most so many seconds; a hung share must not hold a start up."""
        try:
            async with asyncio.timeout(within):
                for folder in self._folders.values():
                    await folder.condition.known.wait()
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        """All children have ended: let the threads end. Nobody waits for them."""
        for folder in self._folders.values():
            folder.close()
        self._mover.close()

    # --- states ----------------------------------------------------------------------------------------------------------------

    def status(self) -> Sequence[FolderStatus]:
        """Every folder, in the configuration's order."""
        return [folder.condition.status() for folder in self._folders.values()]

    def online(self, folder: str) -> bool:
        """Whether the folder's files can be reached now: of an offline one, a claimed file that cannot be opened is not gone."""
        found = self._folders.get(folder)
        return found is not None and found.available

    def problems(self) -> Sequence[Problem]:
        """What needs a person's attention now."""
        folders = [
            status.problem
            for status in self.status()
            if status.problem is not None and status.state is not FolderState.ONLINE
        ]
        return [*self._problems, *folders]

    # --- orders ----------------------------------------------------------------------------------------------------------------

    async def pause(self, folder: str) -> None:
        """Claim nothing in the folder until `resume`, over restarts; what is claimed goes on.

        Raises:
            UnknownFolder: there is none of that name.
        """
        paused = self._folder(folder)
        await self._store.set_flag(f"folder:{folder}", {"paused": True})
        paused.pause()

    async def resume(self, folder: str) -> None:
        """Lift a pause; take up a root again that was refused because it is on another device.

        Raises:
            UnknownFolder: there is none of that name.
        """
        resumed = self._folder(folder)
        await self._store.set_flag(f"folder:{folder}", None)
        resumed.resume()

    def rescan(self, folder: str | None = None) -> None:
        """Look at everything in a folder (None: in all of them) now.

        Raises:
            UnknownFolder: there is none of that name.
        """
        for each in self._folders.values() if folder is None else (self._folder(folder),):
            each.rescan()

    async def submit(self, paths: Sequence[Path], folder: str) -> Sequence[Submission]:
        """Take copies of files into the queue, as files of a folder; one answer a path, in order.

        Raises:
            UnknownFolder: there is none of that name.
            QueueFull: nothing is taken now; none of the files was.
        """
        return await self._submitter.submit(paths, self._folder(folder).settings)

    async def explain(self, path: Path) -> Sequence[Sighting]:
        """Why the file at `path` is not taken (yet): one answer for each folder that it lies in."""
        answers = []
        for folder in self._folders.values():
            answer = await asyncio.to_thread(self._sight, folder, path)
            if answer is not None:
                answers.append(answer)
        return answers

    def _sight(self, folder: Folder, path: Path) -> Sighting | None:
        now = self._clock.monotonic()
        outcome = run_guarded(
            lambda: sight(folder.settings, path, folder.inbox, now=now), limit=_EXPLAIN_LIMIT, name="explain"
        )
        if isinstance(outcome, Hung):
            reason = "the file system does not answer"
            return Sighting(folder=folder.settings.name, state="waiting", reason=reason)
        if isinstance(outcome, Raised):
            reason = f"it cannot be looked at: {outcome.error}"
            return Sighting(folder=folder.settings.name, state="waiting", reason=reason)
        found = outcome.value
        if found is None or found.state != "waiting":
            return found
        return _with_folder(found, folder.condition.status())

    def _folder(self, name: str) -> Folder:
        if name not in self._folders:
            raise UnknownFolder(name, self._folders)
        return self._folders[name]


def _with_folder(sighting: Sighting, status: FolderStatus) -> Sighting:
    """A reason that holds for the whole folder goes before the file's own."""
    if status.state in (FolderState.OFFLINE, FolderState.PAUSED):
        reason = f"the folder is {status.state.value}: {status.reason}"
    elif status.holding:
        reason = f"nothing is claimed now: {status.holding}"
    elif status.problem is not None and status.problem.code == "DM-I008":
        reason = status.problem.what
    else:
        return sighting
    details = {**sighting.details, "file": sighting.reason}
    return Sighting(folder=sighting.folder, state="waiting", reason=reason, details=details)


def _group_size(folders: int, open_files: int | None) -> int:
    """Claims hold their files open; all folders together must stay below the limit on open files."""
    if open_files is None:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        open_files = soft // 2 if soft != resource.RLIM_INFINITY else 1 << 16
    return max(_SMALLEST_GROUP, min(GROUP, open_files // max(1, folders)))
