"""What the supervisor needs to know of a child, and what a child is given: values and protocols, no behaviour.

A child is a background part of the agent (a scanner, a lane, the pool of workers): one coroutine that runs until the agent
stops, shows progress by its heart, and is restarted when it fails.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from dropmill.foundation.errors import DropmillError

__all__ = ["ChildSpec", "ChildState", "Heart", "State", "SupervisionError"]


class State(enum.StrEnum):
    """Of the agent as a whole; each is kept with its reason and since when."""

    STARTING = "starting"
    RUNNING = "running"
    DEGRADED = "degraded"
    """A child is in back-off, or a non-critical one has been given up for now."""
    ERROR = "error"
    """A critical child has been given up for now: nothing new is taken in, control stays up."""
    STOPPING = "stopping"
    STOPPED = "stopped"


class ChildState(enum.StrEnum):
    """Of one child."""

    WAITING = "waiting"
    """For a child that it depends on."""
    RUNNING = "running"
    BACKOFF = "backoff"
    """It failed and will be started again after a pause."""
    OPEN = "open"
    """It failed too often: its breaker is open, and it is tried only now and then, or by `resume`."""
    ENDING = "ending"
    """It was cancelled (stuck, or a child that it depends on failed) and has not ended yet."""
    FINISHED = "finished"
    """A transient or temporary child returned."""
    FAILED = "failed"
    """A temporary child raised."""
    ENDED = "ended"
    """It has ended because the agent stops, or never ran."""


class SupervisionError(DropmillError):
    """The supervisor was asked for something that cannot be: a name that is taken or unknown, a circle of dependencies."""

    default_code = "DM-S008"


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

    async def sleep(self, seconds: float) -> bool:
        """Wait, at most until `quiescing` becomes true; whether the whole time has passed."""
        ...


@dataclass(frozen=True, kw_only=True)
class ChildSpec:
    """A supervised background part of the agent."""

    name: str
    run: Callable[[Heart], Awaitable[None]]
    restart: Literal["permanent", "transient", "temporary"] = "permanent"
    """`permanent`: runs until the agent stops, a return is a failure too. `transient`: may return when it has finished.
    `temporary`: never restarted."""
    critical: bool = False
    """Its breaker opening puts the agent into ERROR: intake stops, control stays up."""
    intensity: int = 3
    """Failures within `period` that are still restarted; one more opens the breaker."""
    period: float = 300.0
    backoff: float = 1.0
    """Seconds before the first restart; doubles with each failure up to `backoff_cap`, with 20 % jitter."""
    backoff_cap: float = 60.0
    reset: float = 600.0
    """Crash-free seconds after which earlier failures are forgotten; greater than `period`."""
    max_failures: int = 10
    """Failures without `reset` crash-free seconds between them that open the breaker, however slow they come."""
    heartbeat: float | None = None
    """Seconds without a beat after which the child counts as stuck; None: not watched."""
    depends: tuple[str, ...] = ()
    """Children that must be up for this one to run; it is restarted after they were."""
    up: Literal["started", "beat"] = "started"
    """When those that depend on it may start: at once, or at its first beat."""
    stop: Literal["drain", "cancel", "last"] = "drain"
    """How it takes a stop. `drain`: told by its heart, it returns when its work in flight is done. `cancel`: nothing is worth
    finishing, it is cancelled at once. `last`: told only when all others have ended (control, to show the stop to its end)."""
    quiesce: Callable[[], None] | None = None
    """Called at the start of a stop, besides `Heart.quiescing`."""

    def __post_init__(self) -> None:
        if not self.name:
            raise SupervisionError("a child needs a name")
        wrong = [
            text
            for text, bad in (
                ("intensity is negative", self.intensity < 0),
                ("period is not positive", self.period <= 0),
                ("backoff is not positive", self.backoff <= 0),
                ("backoff_cap is less than backoff", self.backoff_cap < self.backoff),
                ("reset is not greater than period", self.reset <= self.period),
                ("max_failures is less than 1", self.max_failures < 1),
                ("heartbeat is not positive", self.heartbeat is not None and self.heartbeat <= 0),
                ("it depends on itself", self.name in self.depends),
            )
            if bad
        ]
        if wrong:
            raise SupervisionError("; ".join(wrong), where=f"child {self.name}", todo="correct its specification")
