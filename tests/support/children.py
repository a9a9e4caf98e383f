"""Children of every temper, and a supervisor over them on a loop of virtual time."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from random import Random
from typing import Any

from dropmill.supervision.events import SupervisionEvent
from dropmill.supervision.exits import ExitCode
from dropmill.supervision.notify import Notifier
from dropmill.supervision.shutdown import StopPlan
from dropmill.supervision.signals import StopSignals
from dropmill.supervision.spec import ChildSpec, Heart, State
from dropmill.supervision.supervisor import Supervisor, Vigilance
from dropmill.testing.virtual_time import VirtualTimeLoop

Run = Callable[[Heart], Awaitable[None]]


class Steady(Random):
    """No chance: every draw is one half, so that jitter is nil."""

    def random(self) -> float:
        return 0.5


class Recorder(Notifier):
    """A service manager that writes down what it is told, and when."""

    def __init__(self, loop: asyncio.AbstractEventLoop, watchdog_interval: float | None = None) -> None:
        super().__init__("@none", watchdog_interval=watchdog_interval, monotonic=loop.time)
        self._loop = loop
        self.told: list[tuple[float, str]] = []

    def _try(self, message: bytes) -> bool:
        self.told.append((self._loop.time(), message.decode()))
        return True

    def messages(self, *names: str) -> list[str]:
        return [text for _, text in self.told if not names or text.split("=")[0] in names]


class World:
    """A supervisor that runs on a virtual loop, and everything that it says."""

    def __init__(
        self,
        loop: VirtualTimeLoop,
        specs: Iterable[ChildSpec] = (),
        *,
        random: Random | None = None,
        watchdog: float | None = None,
        vigilance: dict[str, Any] | None = None,
        prepare: Callable[[], Awaitable[None]] | None = None,
        on_error: Any = "stay",
        **plan: Any,
    ) -> None:
        self.loop = loop
        self.events: list[tuple[float, SupervisionEvent]] = []
        self.signals = StopSignals(monotonic=loop.time)
        self.notify = Recorder(loop, watchdog)
        self.prepare = prepare
        options = {"hard_deadline": False, "gil_limit": None, "pulse": 1.0} | (vigilance or {})
        self.supervisor = Supervisor(
            specs,
            clock=loop.clock,
            random=random or Steady(),
            on_event=lambda event: self.events.append((loop.time(), event)),
            notify=self.notify,
            plan=StopPlan(**plan),
            vigilance=Vigilance(**options),
            on_error=on_error,
        )
        self.task: asyncio.Task[ExitCode] | None = None

    def start(self) -> World:
        self.task = self.loop.create_task(self.supervisor.run(signals=self.signals, prepare=self.prepare))
        return self

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.signals._handle(number, None)

    async def end(self) -> ExitCode:
        assert self.task is not None
        return await self.task

    async def stop(self) -> ExitCode:
        self.signal()
        return await self.end()

    async def until(self, true: Callable[[], object], limit: float = 86_400.0) -> float:
        """Wait for it, and say when it was so."""
        end = self.loop.time() + limit
        while not true():
            assert self.loop.time() < end, f"it was not so within {limit} s: {self.supervisor.status()}"
            await asyncio.sleep(0.05)
        return self.loop.time()

    async def until_state(self, state: State, limit: float = 86_400.0) -> float:
        return await self.until(lambda: self.supervisor.state is state, limit)

    def child(self, name: str) -> dict[str, Any]:
        return next(child for child in self.supervisor.status()["children"] if child["name"] == name)

    def named(self, name: str, subject: str | None = None) -> list[SupervisionEvent]:
        return [event for _, event in self.events if event.name == name and subject in (None, event.subject)]

    def when(self, name: str, subject: str | None = None) -> list[float]:
        return [time for time, event in self.events if event.name == name and subject in (None, event.subject)]

    @property
    def codes(self) -> list[str]:
        return [event.problem.code for _, event in self.events if event.problem is not None]

    @property
    def states(self) -> list[str]:
        return [event.data["state"] for event in self.named("agent.state")]


def spec(name: str, run: Run, **options: Any) -> ChildSpec:
    return ChildSpec(name=name, run=run, **options)


async def obedient(heart: Heart) -> None:
    """Works until it is told to finish, and does so at once."""
    heart.beat()
    await heart.wait_quiesce()


def drains(seconds: float, log: list[str] | None = None, name: str = "") -> Run:
    """Finishes its work in flight, which takes a while, after it was told to finish."""

    async def run(heart: Heart) -> None:
        await heart.wait_quiesce()
        await asyncio.sleep(seconds)
        if log is not None:
            log.append(name)

    return run


async def deaf(heart: Heart) -> None:
    """Never looks at its heart, but ends when cancelled."""
    await asyncio.get_running_loop().create_future()


def swallows(times: float = float("inf")) -> Run:
    """Swallows that many cancellations."""

    async def run(heart: Heart) -> None:
        swallowed = 0
        while True:
            try:
                await asyncio.sleep(1e9)
            except asyncio.CancelledError:
                swallowed += 1
                if swallowed > times:
                    raise

    return run


def lives(seconds: float, error: Callable[[], BaseException] = lambda: RuntimeError("boom")) -> Run:
    """Raises after a while."""

    async def run(heart: Heart) -> None:
        if seconds:
            await asyncio.sleep(seconds)
        raise error()

    return run


def returns_after(seconds: float) -> Run:
    async def run(heart: Heart) -> None:
        await asyncio.sleep(seconds)

    return run


def fails_times(times: int, *, after: float = 0.0) -> Run:
    """Raises that often, then works."""
    left = [times]

    async def run(heart: Heart) -> None:
        heart.beat()
        await asyncio.sleep(after)
        if left[0] > 0:
            left[0] -= 1
            raise RuntimeError(f"{left[0]} more to come")
        await obedient(heart)

    return run


Scene = Callable[[VirtualTimeLoop], Coroutine[Any, Any, Any]]
