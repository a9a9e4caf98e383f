"""The agent as control sees it: what there is to know, answered from memory, and what may be asked for.

What an operator pauses is written to the queue's store first, and so stays paused over restarts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dropmill import __version__
from dropmill.config import effective_settings
from dropmill.control.agent_view import (
    AgentFacts,
    Check,
    Pausable,
    PluginView,
)
from dropmill.control.errors import BadRequest, NotFound
from dropmill.delivery.status import LaneStatus
from dropmill.foundation.errors import Problem
from dropmill.intake.status import FolderState, FolderStatus, Sighting
from dropmill.intake.submit import Submission
from dropmill.queue.reader import QueueReader
from dropmill.queue.store import QueueStore
from dropmill.supervision.supervisor import Supervisor

if TYPE_CHECKING:
    from dropmill.agent.composition import Parts

__all__ = ["Oversight", "paused_names"]


def paused_names(flags: Mapping[str, Mapping[str, Any]], kind: Pausable) -> dict[str, str]:
    """What an operator has paused of a kind, with the reason, from the store's flags."""
    prefix = f"{kind}:"
    return {
        name.removeprefix(prefix): str(flag.get("reason", ""))
        for name, flag in flags.items()
        if name.startswith(prefix)
    }


class Oversight:
    """An `AgentView`. `parts` answers None until the agent has been put together."""

    def __init__(
        self,
        parts: Callable[[], Parts],
        supervisor: Supervisor,
        *,
        instance: str,
        started_at: float,
        problems: Callable[[], Sequence[Problem]],
    ) -> None:
        self._parts = parts
        self._supervisor = supervisor
        self._instance = instance
        self._started_at = started_at
        self._problems = problems

    @property
    def reader(self) -> QueueReader:
        return self._parts().reader

    @property
    def store(self) -> QueueStore:
        return self._parts().store

    # --- what there is to know -------------------------------------------------------------------------------------------

    def facts(self) -> AgentFacts:
        parts = self._parts()
        settings = parts.configuration.settings
        return AgentFacts(
            name=settings.agent.name,
            instance=self._instance,
            pid=os.getpid(),
            version=__version__,
            config=settings.file,
            started_at=self._started_at,
            problems=self._problems(),
        )

    def supervision(self) -> Mapping[str, Any]:
        return self._supervisor.status()

    def folders(self) -> Sequence[FolderStatus]:
        return self._parts().intake.status()

    def lanes(self) -> Sequence[LaneStatus]:
        return [lane.status() for lane in self._parts().lanes.values()]

    def plugins(self) -> Sequence[PluginView]:
        views = []
        for state in self._parts().configuration.catalog.states.values():
            origin = state.discovered[0] if state.discovered else None
            views.append(
                PluginView(
                    name=state.name,
                    distribution=origin.distribution if origin else "",
                    version=origin.version if origin else "",
                    state=str(state.status),
                    problems=state.problems,
                    converters=state.converters,
                    transports=state.transports,
                    policies=state.policies,
                )
            )
        return views

    def settings_shown(self) -> Mapping[str, Any]:
        return effective_settings(self._parts().configuration)

    async def checks(self) -> Sequence[Check]:
        parts = self._parts()
        gauges = parts.store.gauges
        settings = parts.configuration.settings.queue
        children = self._supervisor.status()["children"]
        down = [child["name"] for child in children if child["critical"] and child["state"] != "running"]
        watching = [status.name for status in parts.intake.status() if status.state is FolderState.STARTING]
        return [
            Check(name="store", ok=gauges.writable, detail="" if gauges.writable else "the queue cannot be written"),
            Check(
                name="disk",
                ok=gauges.free_disk >= settings.min_free_disk,
                detail=f"{gauges.free_disk} bytes free, {settings.min_free_disk} wanted",
            ),
            Check(name="folders", ok=not watching, detail=f"starting: {', '.join(watching)}" if watching else ""),
            Check(name="tasks", ok=not down, detail=f"not running: {', '.join(down)}" if down else ""),
        ]

    async def explain(self, path: Path) -> Sequence[Sighting]:
        return await self._parts().intake.explain(path)

    # --- what may be asked for -------------------------------------------------------------------------------------------

    async def submit(self, paths: Sequence[Path], folder: str | None) -> Sequence[Submission]:
        name = folder if folder is not None else self._only_folder()
        return await self._parts().intake.submit(paths, name)

    async def pause(self, kind: Pausable, name: str) -> None:
        parts = self._parts()
        self._find(kind, name)
        if kind == "folder":
            await parts.intake.pause(name)
            return
        reason = "paused by an operator"
        await parts.store.set_flag(f"{kind}:{name}", {"reason": reason})
        if kind == "destination":
            parts.lanes[name].pause(reason)
        else:
            parts.dispatcher.pause(name, reason)

    async def resume(self, kind: Pausable, name: str) -> None:
        parts = self._parts()
        self._find(kind, name)
        if kind == "folder":
            await parts.intake.resume(name)
        elif kind == "task":
            self._supervisor.resume(name)
        else:
            await parts.store.set_flag(f"{kind}:{name}", None)
            if kind == "destination":
                parts.lanes[name].resume()
            else:
                await parts.dispatcher.resume(name)

    async def rescan(self, folder: str | None) -> None:
        if folder is not None:
            self._find("folder", folder)
        self._parts().intake.rescan(folder)

    def stop(self) -> None:
        self._supervisor.request_stop("asked through the control API")

    def _find(self, kind: Pausable, name: str) -> None:
        parts = self._parts()
        known: Sequence[str]
        if kind == "folder":
            known = [folder.name for folder in parts.configuration.settings.folders]
        elif kind == "destination":
            known = list(parts.lanes)
        elif kind == "plugin":
            known = [name for name, state in parts.configuration.catalog.states.items() if state.converters]
        else:
            known = [child["name"] for child in self._supervisor.status()["children"]]
        if name not in known:
            raise NotFound(f"there is no {kind} {name!r}", where=name, todo=f"there are: {', '.join(known) or 'none'}")

    def _only_folder(self) -> str:
        folders = self._parts().configuration.settings.folders
        if len(folders) != 1:
            names = ", ".join(folder.name for folder in folders)
            raise BadRequest("there are several folders", where="folder", todo=f"name one of: {names}")
        return folders[0].name
