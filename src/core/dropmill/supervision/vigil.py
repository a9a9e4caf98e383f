"""All that watches the event loop, as one thing: the pulse on it, the sentinel beside it, the fuse below both.

It begins before the first child starts and lasts beyond the last: the deadline of a stop stays armed until the process ends,
or until `disarm`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dropmill.foundation.errors import Problem
from dropmill.supervision.events import Teller, describe_error
from dropmill.supervision.gil import GilWatch
from dropmill.supervision.lag import LagHistogram
from dropmill.supervision.notify import Notifier
from dropmill.supervision.pulse import Pulse
from dropmill.supervision.sentinel import Blockage, Sentinel

__all__ = ["Vigil", "Vigilance"]


@dataclass(frozen=True, kw_only=True)
class Vigilance:
    """How the supervisor watches; seconds."""

    half_open: float = 300.0
    """Between tries of a child whose breaker is open."""
    trial: float = 60.0
    """That such a try must last for the breaker to close."""
    ready_within: float = 30.0
    """After which a start counts as over even where a child is neither up nor failed yet (a hung share)."""
    pulse: float = 0.2
    """Between two measurements of the loop's lag."""
    blocked_after: float = 1.0
    """Without a pulse after which the loop counts as blocked."""
    gil_limit: float | None = 30.0
    """Without a pulse after which the process is ended with stacks, where no service manager watches; None: never."""
    hard_deadline: bool = True
    """Whether a thread watches the loop, and ends the process (exit code 12) where a stop runs out of time. Off in tests
    that run in the test's own process."""


class Vigil:
    """Watches the running loop.

    Args:
        deadline: From the times of the stop signals to when the process ends; monotonic.
        signals: The times of the stop signals so far; read from a thread.
        each_second: Called about once a second.
        fresh: Whether everything critical makes progress, so that the service manager may be told so.
    """

    def __init__(
        self,
        vigilance: Vigilance,
        *,
        notify: Notifier,
        teller: Teller,
        lag: LagHistogram,
        deadline: Callable[[Sequence[float]], float],
        signals: Callable[[], Sequence[float]],
        each_second: Callable[[], object],
        fresh: Callable[[], bool],
    ) -> None:
        self._vigilance = vigilance
        self._teller = teller
        self._loop = asyncio.get_running_loop()
        self._sentinel: Sentinel | None = None
        if vigilance.hard_deadline:
            self._sentinel = Sentinel(
                self._loop,
                deadline=deadline,
                signals=signals,
                on_blocked=self._tell_blocked,
                blocked_after=vigilance.blocked_after,
            )
        watched = notify.watchdog_interval is not None
        self._fuse = GilWatch(None if watched else vigilance.gil_limit)
        self._pulse = Pulse(
            interval=vigilance.pulse,
            notify=notify,
            gil=self._fuse,
            sentinel=self._sentinel,
            lag=lag,
            each_second=each_second,
            fresh=fresh,
        )

    def begin(self) -> None:
        if self._sentinel is not None:
            self._sentinel.start()
        self._loop.set_exception_handler(self._tell_exception)
        self._pulse.start()

    def expect_end(self, seconds: float, reserve: float) -> None:
        """A stop has begun, which ends in `seconds`; what not even the sentinel can end, the fuse does `reserve` later."""
        if self._sentinel is not None:
            self._sentinel.cap(time.monotonic() + seconds)
            self._fuse.arm_finally(seconds + reserve)

    def expect_stillness(self, seconds: float) -> None:
        """The loop stands still from now on, on purpose, and for no longer than this."""
        self._pulse.stop()
        if self._sentinel is not None:
            self._sentinel.rest()
            self._sentinel.cap(time.monotonic() + seconds)

    def end(self, *, armed: bool) -> None:
        """The loop will end; `armed`: the deadline stays."""
        self._pulse.stop()
        self._loop.set_exception_handler(None)
        if self._sentinel is not None:
            self._sentinel.rest()
        if self._sentinel is None or not armed:
            self.disarm()

    def disarm(self) -> None:
        """Nothing ends the process any more."""
        if self._sentinel is not None:
            self._sentinel.stop()
        self._fuse.disarm()

    # --- what is told ----------------------------------------------------------------------------------------------------

    def _tell_blocked(self, blockage: Blockage) -> None:
        who = blockage.task or "a callback"
        problem = Problem(
            code="DM-S006",
            what=f"the event loop stood still for more than {self._vigilance.blocked_after:g} s, in {who}",
            where=f"task {who}",
            todo="the stack in this event shows what blocked it: such work belongs in a thread or a worker process",
        )
        self._teller.tell("loop.blocked", "loop", "warning", problem, task=blockage.task, traceback=blockage.stack)

    def _tell_exception(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        text, lines = ("", "") if error is None else describe_error(error)
        problem = Problem(
            code="DM-S007",
            what=f"{context.get('message', 'an error in the event loop')}{': ' + text if text else ''}",
            where=repr(context.get("task") or context.get("future") or context.get("handle") or ""),
            todo="this is a defect of the program or of a plugin: report it with the traceback",
        )
        self._teller.tell("loop.exception", "loop", "error", problem, traceback=lines)
