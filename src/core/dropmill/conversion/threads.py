"""Blocking calls for the event loop, one thread for each place they go to: a share that hangs holds up nobody but itself.

The threads are daemons and end when they have been idle for a while; one that hangs is left behind when the agent exits.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["PlaceThreads"]

T = TypeVar("T")

_IDLE = 10.0

_Job = tuple[Callable[[], Any], "asyncio.Future[Any]"]


class PlaceThreads:
    """Runs calls in the thread of their place, in order."""

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str) -> None:
        self._loop = loop
        self._name = name
        self._queues: dict[str, queue.SimpleQueue[_Job]] = {}
        self._lock = threading.Lock()

    def submit(self, place: str, call: Callable[[], T]) -> asyncio.Future[T]:
        """Have `call` made; the future tells what it returned or raised. Calls of one place are made one after another."""
        future: asyncio.Future[T] = self._loop.create_future()
        with self._lock:
            jobs = self._queues.get(place)
            fresh = jobs is None
            if jobs is None:
                jobs = self._queues[place] = queue.SimpleQueue()
            jobs.put((call, future))
        if fresh:
            threading.Thread(target=self._work, args=(place, jobs), name=f"{self._name} {place}", daemon=True).start()
        return future

    def _work(self, place: str, jobs: queue.SimpleQueue[_Job]) -> None:
        while True:
            try:
                call, future = jobs.get(timeout=_IDLE)
            except queue.Empty:
                with self._lock:
                    if not jobs.empty():
                        continue
                    del self._queues[place]
                    return
            try:
                result, error = call(), None
            except BaseException as raised:  # noqa: BLE001 - it comes out of the future
                result, error = None, raised
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits any more
                self._loop.call_soon_threadsafe(_settle, future, result, error)


def _settle(future: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    elif isinstance(error, (StopIteration, SystemExit, KeyboardInterrupt)):
        future.set_exception(RuntimeError(f"a blocking call raised {error!r}"))
    else:
        future.set_exception(error)
