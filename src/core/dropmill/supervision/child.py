"""One child as the supervisor keeps it: its state, its heart, its failures, and the task that it runs in.

The wrapper around the child's coroutine lets nothing out: `sys.exit()` or KeyboardInterrupt in a child would otherwise end
the event loop. What came of it is the task's result, an `Ending`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from dropmill.foundation.clock import Clock, utc_iso
from dropmill.supervision.events import Failure
from dropmill.supervision.restarts import FailureLog
from dropmill.supervision.spec import ChildSpec, ChildState

__all__ = ["Child", "ChildHeart", "Ending"]


@dataclass(frozen=True)
class Ending:
    """How one run of a child ended."""

    kind: Literal["returned", "raised", "cancelled"]
    error: BaseException | None = None


class ChildHeart:
    """The `Heart` of one run of a child."""

    def __init__(self, clock: Clock, on_first_beat: Callable[[], None]) -> None:
        self._clock = clock
        self._on_first_beat = on_first_beat
        self._quiesce = asyncio.Event()
        self.last_beat = clock.monotonic()
        self.beaten = False

    def beat(self) -> None:
        self.last_beat = self._clock.monotonic()
        if not self.beaten:
            self.beaten = True
            self._on_first_beat()

    @property
    def quiescing(self) -> bool:
        return self._quiesce.is_set()

    async def wait_quiesce(self) -> None:
        await self._quiesce.wait()

    async def sleep(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._quiesce.wait()
        except TimeoutError:
            return True
        return False

    def quiesce(self) -> None:
        self._quiesce.set()


class Child:
    """The record of one child. Only the supervisor changes it."""

    def __init__(self, spec: ChildSpec, clock: Clock) -> None:
        self.spec = spec
        self.clock = clock
        self.log = FailureLog(spec)
        self.state = ChildState.WAITING
        self.since = clock.time()
        self.reason = ""
        self.heart: ChildHeart | None = None
        self.task: asyncio.Task[Ending] | None = None
        self.timer: asyncio.TimerHandle | None = None
        """Of the next start, or of the end of a trial."""
        self.next_try: float | None = None
        """Monotonic."""
        self.started_at = 0.0
        """Monotonic; of the present or last run."""
        self.starts = 0
        self.trial = False
        """Half-open: it runs, but its breaker closes only when it has lasted."""
        self.settled = False
        """It has been up or has failed once: no reason any more to hold up the agent's start."""
        self.cancelled_at: float | None = None
        """Monotonic; when this run was first asked to end by cancelling it."""
        self.stuck = False
        self.undead = False
        """It was cancelled and is still there, long after."""
        self.stuck_stack = ""
        self.removed: asyncio.Future[None] | None = None
        self.failure: Failure | None = None
        """The last one."""

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def alive(self) -> bool:
        """Whether a run of it has not ended."""
        return self.task is not None

    @property
    def up(self) -> bool:
        """Whether those that depend on it may run."""
        if self.state is ChildState.FINISHED:
            return True
        if self.state is not ChildState.RUNNING or self.heart is None:
            return False
        return self.spec.up == "started" or self.heart.beaten

    @property
    def beat_age(self) -> float | None:
        """Seconds since the last beat; None where it does not run."""
        return None if self.heart is None else self.clock.monotonic() - self.heart.last_beat

    @property
    def late(self) -> bool:
        """Whether it runs but has not shown progress for longer than its specification allows."""
        age = self.beat_age
        return age is not None and self.spec.heartbeat is not None and age > self.spec.heartbeat

    def move(self, state: ChildState, reason: str = "") -> None:
        if state is not self.state:
            self.since = self.clock.time()
        self.state = state
        self.reason = reason

    def launch(self, on_first_beat: Callable[[], None]) -> asyncio.Task[Ending]:
        """Start a run of it in a task of its own."""
        self.drop_timer()
        self.heart = ChildHeart(self.clock, on_first_beat)
        self.cancelled_at = None
        self.stuck = self.undead = False
        self.stuck_stack = ""
        self.started_at = self.clock.monotonic()
        self.starts += 1
        self.task = asyncio.get_running_loop().create_task(self._live(self.heart), name=self.name)
        return self.task

    async def _live(self, heart: ChildHeart) -> Ending:
        try:
            await self.spec.run(heart)
        except asyncio.CancelledError as error:
            return self._cancellation(error)
        except BaseException as error:  # noqa: BLE001 - nothing that a child raises may reach the loop
            return Ending("raised", error)
        return Ending("returned")

    def ending_of(self, task: asyncio.Task[Ending]) -> Ending:
        """What came of a run; one that was cancelled before its first step never got into `_live`."""
        return self._cancellation(asyncio.CancelledError()) if task.cancelled() else task.result()

    def _cancellation(self, error: asyncio.CancelledError) -> Ending:
        """One that we did not ask for is a failure."""
        return Ending("raised", error) if self.cancelled_at is None else Ending("cancelled")

    def cancel(self) -> None:
        """Ask the run to end by cancelling it; may be repeated."""
        if self.task is not None:
            if self.cancelled_at is None:
                self.cancelled_at = self.clock.monotonic()
            self.task.cancel()

    def drop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self.next_try = None

    def status(self) -> dict[str, Any]:
        """JSON-able."""
        age = self.beat_age
        return {
            "name": self.name,
            "state": str(self.state),
            "reason": self.reason,
            "since": utc_iso(self.since),
            "critical": self.spec.critical,
            "trial": self.trial,
            "stuck": self.stuck,
            "undead": self.undead,
            "restarts": max(0, self.starts - 1),
            "failures": self.log.failures,
            "depends": list(self.spec.depends),
            "heartbeat": self.spec.heartbeat,
            "last_beat": None if age is None else utc_iso(self.clock.time() - age),
            "last_beat_age": None if age is None else round(age, 3),
            "next_try_in": None
            if self.next_try is None
            else round(max(0.0, self.next_try - self.clock.monotonic()), 3),
            "last_failure": None if self.failure is None else self.failure.as_dict(),
        }
