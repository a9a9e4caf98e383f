"""A daemon thread for one root's blocking calls: a hung share stalls only its own thread, and nobody ever waits for it to end.

Calls run one after another, in order. The event loop's default executor is no place for them: its threads are shared, and
joined when the process ends.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from dropmill.foundation.clock import Clock

__all__ = ["RootThread"]

P = ParamSpec("P")
T = TypeVar("T")

_Job = tuple[Callable[[], Any], "asyncio.Future[Any]", asyncio.AbstractEventLoop]

_LOOK = 1.0


class RootThread:
    """Runs calls for coroutines in a thread of its own, which starts with the first call."""

    def __init__(
        self,
        name: str,
        clock: Clock,
        *,
        on_silence: Callable[[float], None] = lambda _: None,
        look_every: float = _LOOK,
    ) -> None:
        """`on_silence` is called on the event loop every `look_every` seconds that a call takes, with the seconds since it last
        showed progress. What it raises comes out of the wait; the call is then left to itself."""
        self._name = name
        self._clock = clock
        self._on_silence = on_silence
        self._look_every = look_every
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._sign = clock.monotonic()
        self._busy = False

    @property
    def silence(self) -> float:
        """Seconds since the call under way last showed progress; 0 while there is none."""
        return self._clock.monotonic() - self._sign if self._busy else 0.0

    def sign(self) -> None:
        """Called from inside a long call: it is making progress."""
        self._sign = self._clock.monotonic()

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Have `function` run in the thread; the future tells its answer. Cancelled before it begins, it never begins."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        self._jobs.put((lambda: function(*args, **kwargs), future, loop))
        return future

    async def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `function` in the thread and return its answer. A cancelled wait leaves the call to itself."""
        future = self.submit(function, *args, **kwargs)
        while not future.done():
            done, _ = await asyncio.wait({future}, timeout=self._look_every)
            if not done:
                self._on_silence(self.silence)
        return future.result()

    def close(self) -> None:
        """Let the thread end after the calls that wait; does not wait for it."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread = None

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            work, future, loop = job
            if future.cancelled():
                continue
            self._sign = self._clock.monotonic()
            self._busy = True
            answer: Any = None
            error: BaseException | None = None
            try:
                answer = work()
            except BaseException as caught:  # noqa: BLE001 - belongs to whoever awaits the call
                error = caught
            self._busy = False
            try:
                loop.call_soon_threadsafe(_settle, future, answer, error)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return
            del job, work, future, answer, error


def _settle(future: asyncio.Future[Any], answer: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(answer)
    elif isinstance(error, StopIteration):
        future.set_exception(RuntimeError("a call in a root's thread raised StopIteration"))
    else:
        future.set_exception(error)
