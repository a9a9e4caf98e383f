"""Tells waiting loops that something changed, without polling and without losing a wake-up between look and wait."""

from __future__ import annotations

import asyncio
from collections import defaultdict

__all__ = ["Wakeups"]


class Wakeups:
    """Counters by topic. Look, remember `count(topic)` from before the look, then `wait` for it to differ.

    All methods must be called on the event loop.
    """

    def __init__(self) -> None:
        self._counts: defaultdict[str, int] = defaultdict(int)
        self._waiters: defaultdict[str, set[asyncio.Future[None]]] = defaultdict(set)

    def count(self, topic: str) -> int:
        return self._counts[topic]

    def notify(self, topic: str) -> None:
        self._counts[topic] += 1
        for waiter in self._waiters.pop(topic, ()):
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, topic: str, seen: int, timeout: float | None) -> bool:
        """Wait until the topic's count differs from `seen`, at most `timeout` seconds; whether it does."""
        if self._counts[topic] != seen:
            return True
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters[topic].add(waiter)
        try:
            async with asyncio.timeout(timeout):
                await waiter
        except TimeoutError:
            return self._counts[topic] != seen
        finally:
            self._waiters[topic].discard(waiter)
        return True
