"""What the control API needs of the agent: one protocol, and the values that it answers with.

Everything that is not a coroutine answers at once from memory. What is on disk (files, deliveries, events) is not asked of the
agent: the API reads it through `reader`, in threads, and changes it through `store`. Times are seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from dropmill.delivery.status import LaneStatus
from dropmill.foundation.errors import Problem
from dropmill.intake.status import FolderStatus, Sighting
from dropmill.intake.submit import Submission
from dropmill.queue.reader import QueueReader
from dropmill.queue.store import QueueStore

__all__ = [
    "AgentFacts",
    "AgentView",
    "Check",
    "Pausable",
    "PluginView",
]

Pausable = Literal["folder", "destination", "plugin", "task"]
"""What a person may resume; all but a task (which is only ever given up on) may also be paused."""


@dataclass(frozen=True, kw_only=True)
class AgentFacts:
    """The agent's process."""

    name: str
    instance: str
    """Of this run."""
    pid: int
    version: str
    config: Path
    started_at: float
    problems: Sequence[Problem] = ()
    """What needs a person's attention now."""


@dataclass(frozen=True, kw_only=True)
class PluginView:
    """A plugin that is installed or enabled."""

    name: str
    """Entry point."""
    distribution: str
    version: str
    state: str
    """`disabled`, `loaded`, `degraded` or `quarantined`."""
    problems: Sequence[Problem] = ()
    converters: Sequence[str] = ()
    transports: Sequence[str] = ()
    policies: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Check:
    """One line of the readiness check."""

    name: str
    ok: bool
    detail: str = ""


class AgentView(Protocol):
    """The agent, as the API sees it."""

    @property
    def reader(self) -> QueueReader: ...

    @property
    def store(self) -> QueueStore: ...

    def facts(self) -> AgentFacts: ...

    def supervision(self) -> Mapping[str, Any]:
        """`Supervisor.status()`."""
        ...

    def folders(self) -> Sequence[FolderStatus]: ...

    def lanes(self) -> Sequence[LaneStatus]: ...

    def plugins(self) -> Sequence[PluginView]: ...

    def settings_shown(self) -> Mapping[str, Any]:
        """`effective_settings`: the configuration in force as JSON, defaults filled in, secrets redacted."""
        ...

    async def checks(self) -> Sequence[Check]:
        """Store writable, disk, watchers, workers; a destination that is down is no lack of readiness."""
        ...

    async def submit(self, paths: Sequence[Path], folder: str | None) -> Sequence[Submission]:
        """Take copies of files into the queue; one answer a path, in order. The answer with an id comes after the commit.

        Raises:
            QueueFull: there is no room now, and none of the files was taken.
        """
        ...

    async def explain(self, path: Path) -> Sequence[Sighting]:
        """Why the file at `path` is not taken (yet): one answer for each folder that it lies in."""
        ...

    async def pause(self, kind: Pausable, name: str) -> None:
        """Until it is resumed, over restarts.

        Raises:
            NotFound: there is no such thing.
        """
        ...

    async def resume(self, kind: Pausable, name: str) -> None:
        """Lift a pause, close an open breaker, end a quarantine.

        Raises:
            NotFound: there is no such thing.
        """
        ...

    async def rescan(self, folder: str | None) -> None:
        """Look at a folder (None: at all of them) now.

        Raises:
            NotFound: there is no such folder.
        """
        ...

    def stop(self) -> None:
        """Begin the three-phase stop, as SIGTERM does."""
        ...
