"""The loop's own regular step: it measures how late it runs, and proves to sentinel and service manager that it runs at all.

A chain of timer callbacks, so there is no task that could be cancelled. A WATCHDOG is sent from here alone: a thread would go
on sending it while the loop hangs.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from dropmill.supervision.gil import GilWatch
from dropmill.supervision.lag import LagHistogram
from dropmill.supervision.notify import Notifier
from dropmill.supervision.sentinel import Sentinel

__all__ = ["Pulse"]

_EACH_SECOND = 1.0
_REARM_EVERY = 5.0


class Pulse:
    """Beats every `interval` seconds on the running loop.

    Args:
        each_second: Called about once a second.
        fresh: Whether everything critical makes progress, so that the service manager may be told so.
    """

    def __init__(
        self,
        *,
        interval: float,
        notify: Notifier,
        gil: GilWatch,
        sentinel: Sentinel | None,
        lag: LagHistogram,
        each_second: Callable[[], object],
        fresh: Callable[[], bool],
    ) -> None:
        self._interval = interval
        self._notify = notify
        self._gil = gil
        self._sentinel = sentinel
        self._lag = lag
        self._each_second = each_second
        self._fresh = fresh
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._next_second = self._next_rearm = self._next_watchdog = -math.inf

    def start(self) -> None:
        self._beat(self._loop.time())

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _beat(self, due: float) -> None:
        now = self._loop.time()
        self._timer = self._loop.call_at(now + self._interval, self._beat, now + self._interval)
        self._lag.record(now, max(0.0, now - due))
        if self._sentinel is not None:
            self._sentinel.beat()
        soon = now + self._interval / 2  # what is due before the next beat is nearer to this one
        if soon >= self._next_rearm:
            self._next_rearm = now + _REARM_EVERY
            self._gil.rearm()
        if soon >= self._next_second:
            self._next_second = now + _EACH_SECOND
            self._each_second()
        interval = self._notify.watchdog_interval
        if interval is not None and soon >= self._next_watchdog and self._fresh():
            self._next_watchdog = now + interval / 2
            self._notify.watchdog()
