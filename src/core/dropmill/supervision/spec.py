"""What the supervisor needs to know of a child."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, Protocol

__all__ = ["ChildSpec", "Heart", "State"]


class State(enum.StrEnum):
    """Of the agent as a whole; each is kept with its reason and since when."""

    STARTING = "starting"
    RUNNING = "running"
    DEGRADED = "degraded"
    ERROR = "error"
    STOPPING = "stopping"
    STOPPED = "stopped"


class Heart(Protocol):
    """Handed to a child: its way to show progress and to learn that it should finish."""

    def beat(self) -> None:
        """Progress was made, or there is nothing to do. Cheap; call it once a round."""
        ...

    @property
    def quiescing(self) -> bool:
        """True once the agent stops: start nothing new, finish what is in flight, return."""
        ...

    async def wait_quiesce(self) -> None:
        """Return when `quiescing` becomes true."""
        ...


@dataclass(frozen=True, kw_only=True)
class ChildSpec:
    """A supervised background part of the agent."""

    name: str
    run: Callable[[Heart], Awaitable[None]]
    restart: Literal["permanent", "transient", "temporary"] = "permanent"
    critical: bool = False
    """Its breaker opening puts the agent into ERROR: intake stops, control stays up."""
    intensity: int = 3
    """Failures within `period` that are still restarted; one more opens the breaker."""
    period: float = 300.0
    backoff: float = 1.0
    backoff_cap: float = 60.0
    reset: float = 600.0
    """Crash-free seconds after which earlier failures are forgotten; greater than `period`."""
    max_failures: int = 10
    """Failures without `reset` crash-free seconds between them that open the breaker, however slow they come."""
    heartbeat: float | None = None
    """Seconds without a beat after which the child counts as stuck; None: not watched."""
    depends: tuple[str, ...] = ()
    """Children that must run for this one to run; it is restarted after they were."""
    quiesce: Callable[[], None] | None = None
    """Called at the start of a stop, besides `Heart.quiescing`."""
