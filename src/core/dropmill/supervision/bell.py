"""A wake-up for the one coroutine that must not be ended from outside: waiting for it swallows every cancellation."""

from __future__ import annotations

import asyncio

__all__ = ["Bell"]


class Bell:
    """Rung by callbacks, waited for by one coroutine. A ring before the wait is not lost; several are one."""

    def __init__(self) -> None:
        self._rung = False
        self._waiter: asyncio.Future[None] | None = None
        self.interruptions = 0
        """How often somebody tried to cancel the one who waits."""

    def ring(self) -> None:
        """On the event loop only."""
        self._rung = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self, timeout: float | None = None) -> None:
        """Return when it was rung, after `timeout` seconds, or when somebody cancels: the caller looks what is new."""
        if not self._rung:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            timer = None if timeout is None else loop.call_later(max(0.0, timeout), self.ring)
            try:
                await self._waiter
            except asyncio.CancelledError:
                self.interruptions += 1
            finally:
                self._waiter = None
                if timer is not None:
                    timer.cancel()
        self._rung = False
