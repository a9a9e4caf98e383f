"""An event loop whose time is virtual: hours pass in milliseconds, and the order of what is ready can be shuffled by a seed.

For tests of whatever waits, retries or times out. Nothing ever sleeps: when nothing is ready the clock jumps to the next timer.
The same seed gives the same run. What waits for the real world is told apart: while a job of `run_in_executor` or
`asyncio.to_thread` is under way the clock stands still until it ends. Sockets, processes and threads of one's own are not
waited for in that way, so tests with them belong on a real loop. It relies on how CPython's event loop is built inside, and is
tested with each version.
"""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Executor
from random import Random
from typing import Any, Generic, TypeVar, TypeVarTuple, cast

__all__ = ["CancelAt", "Deadlock", "VirtualClock", "VirtualTimeLoop", "run"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_THREAD_WAIT = 60.0
"""Real seconds that a job in a thread may take."""


class Deadlock(Exception):
    """Nothing is ready and no timer is set: the tasks that are left wait for one another. The message names them."""


class _JumpingSelector(selectors.DefaultSelector):
    """Polls, and instead of waiting lets the loop's time jump."""

    loop: VirtualTimeLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if events or timeout == 0:
            return events
        if self.loop.jobs:
            events = super().select(_THREAD_WAIT)
            if not events:
                raise Deadlock(f"a job in a thread has not ended within {_THREAD_WAIT:.0f} real seconds")
        elif timeout is None:
            raise Deadlock(_describe(self.loop))
        else:
            self.loop.jump(timeout)
        return events


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """The loop; `run` makes one and disposes of it.

    Args:
        shuffle: Where given, callbacks that are ready at the same moment run in an order that it draws. The order of timers
            with different times stays.
    """

    def __init__(self, shuffle: Random | None = None) -> None:
        selector = _JumpingSelector()
        selector.loop = self
        self._virtual_now = 0.0
        self._shuffle = shuffle
        self.jobs = 0
        """Jobs in threads that have not ended."""
        super().__init__(selector)
        self._clock_resolution = 1e-9
        self.clock = VirtualClock(self)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._virtual_now

    def jump(self, seconds: float) -> None:
        """Let time pass at once."""
        self._virtual_now += seconds
        # a timer is due when it lies less than this ahead, which must be more than two readings can differ by
        self._clock_resolution = max(1e-9, 2 * math.ulp(self._virtual_now))

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """As always; time stands still until the job has ended."""
        future = super().run_in_executor(executor, func, *args)
        self.jobs += 1
        future.add_done_callback(self._job_ended)
        return future

    def _job_ended(self, future: asyncio.Future[Any]) -> None:  # noqa: ARG002
        self.jobs -= 1

    def _run_once(self) -> None:
        ready = cast("Any", self)._ready
        if self._shuffle is not None and len(ready) > 1:
            order = list(ready)
            self._shuffle.shuffle(order)
            ready.clear()
            ready.extend(order)
        cast("Any", super())._run_once()


class VirtualClock:
    """The loop's time as a `dropmill.foundation.clock.Clock`; the wall clock can be stepped as NTP does."""

    def __init__(self, loop: asyncio.AbstractEventLoop, start: float = 1_700_000_000.0) -> None:
        self._loop = loop
        self._start = start

    def time(self) -> float:
        return self._start + self._loop.time()

    def monotonic(self) -> float:
        return self._loop.time()

    def step(self, seconds: float) -> None:
        """Set the wall clock forward or back; monotonic time does not notice."""
        self._start += seconds


def run(
    main: Callable[[VirtualTimeLoop], Coroutine[Any, Any, T]], *, seed: int | None = None, check_leaks: bool = True
) -> T:
    """Run `main(loop)` to its end on a fresh loop and return what it returns.

    Args:
        seed: Shuffles what is ready; None keeps asyncio's own order.
        check_leaks: Whether tasks that `main` leaves behind are an error.

    Raises:
        Deadlock: nothing could ever happen any more.
        AssertionError: tasks were left behind; they are named.
    """
    loop = VirtualTimeLoop(None if seed is None else Random(seed))  # noqa: S311 - a seed is the point
    try:
        asyncio.set_event_loop(loop)
        result = loop.run_until_complete(main(loop))
        left = [task.get_name() for task in asyncio.all_tasks(loop)]
        if check_leaks and left:
            raise AssertionError(f"tasks were left behind: {', '.join(sorted(left))}")
        return result
    finally:
        try:
            _end_tasks(loop)
            loop.run_until_complete(loop.shutdown_asyncgens())
            if (executor := cast("Any", loop)._default_executor) is not None:
                executor.shutdown(wait=True)
        finally:
            asyncio.set_event_loop(None)
            loop.close()


class CancelAt(Generic[T]):
    """Awaits a coroutine and cancels the task that it runs in at its `step`-th suspension point (1 for the first).

    It must be the whole of its task: `await asyncio.ensure_future(CancelAt(work(), 3))`. Walking `step` up until `fired` stays
    false visits every point at which a cancellation can strike. The cancellation is `Task.cancel()` itself: what the coroutine
    awaits is cancelled as well, and `asyncio.timeout` tells it from its own.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, T], step: int) -> None:
        self._coroutine = coroutine
        self._step = step
        self.steps = 0
        """Suspension points that were reached."""
        self.fired = False

    def __await__(self) -> Generator[Any, Any, T]:
        coroutine = self._coroutine
        resume: Callable[[], Any] = lambda: coroutine.send(None)  # noqa: E731
        while True:
            try:
                awaited = resume()
            except StopIteration as stop:
                return cast("T", stop.value)
            self.steps += 1
            if self.steps == self._step:
                task = asyncio.current_task()
                assert task is not None, "CancelAt is awaited in a task"
                self.fired = True
                task.cancel()
            try:
                sent = yield awaited
            except BaseException as error:  # noqa: BLE001 - passed on to the coroutine, whatever it is
                resume = _throwing(coroutine, error)
            else:
                resume = _sending(coroutine, sent)


def _sending(coroutine: Coroutine[Any, Any, Any], value: Any) -> Callable[[], Any]:
    return lambda: coroutine.send(value)


def _throwing(coroutine: Coroutine[Any, Any, Any], error: BaseException) -> Callable[[], Any]:
    return lambda: coroutine.throw(error)


def _end_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what is left, a few times: some tasks swallow it, and those that always do are left to the collector."""
    for _ in range(3):
        tasks = asyncio.all_tasks(loop)
        if not tasks:
            return
        for task in tasks:
            task.cancel()
        loop.run_until_complete(_settle(tasks))
    for task in asyncio.all_tasks(loop):
        cast("Any", task)._log_destroy_pending = False


async def _settle(tasks: set[asyncio.Task[Any]]) -> None:
    await asyncio.wait(tasks, timeout=1.0)


def _describe(loop: asyncio.AbstractEventLoop) -> str:
    tasks = sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())
    lines = [f"  {task.get_name()}: {_where(task)}" for task in tasks]
    return "nothing is ready and no timer is set; what waits:\n" + ("\n".join(lines) or "  nothing")


def _where(task: asyncio.Task[Any]) -> str:
    stack = task.get_stack(limit=1)
    return f"{stack[0].f_code.co_filename}:{stack[0].f_lineno}" if stack else "not started"
