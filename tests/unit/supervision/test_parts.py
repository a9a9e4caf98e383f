"""The small parts: bell, crew, lag histogram, stacks, events, signals."""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropmill.foundation.clock import ManualClock
from dropmill.foundation.errors import Problem
from dropmill.supervision.bell import Bell
from dropmill.supervision.events import SupervisionEvent, Teller, describe_error
from dropmill.supervision.lag import LagHistogram
from dropmill.supervision.signals import StopSignals
from dropmill.supervision.stacks import format_task, format_tasks, format_thread, format_threads
from dropmill.testing.virtual_time import VirtualTimeLoop, run

# --- bell --------------------------------------------------------------------------------------------------------------


def test_a_bell_wakes_remembers_and_times_out() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        bell = Bell()
        loop.call_later(3, bell.ring)
        await bell.wait()
        assert loop.time() == 3
        bell.ring()
        bell.ring()
        await bell.wait()
        assert loop.time() == 3, "the ring before the wait was not lost"
        await bell.wait(5)
        assert loop.time() == 8, "two rings are one"
        loop.call_later(1, bell.ring)
        await bell.wait(5)
        await asyncio.sleep(10)
        assert bell.interruptions == 0
        await bell.wait(1)
        assert loop.time() == 20, "the timer of an earlier wait is gone"

    run(scene)


def test_a_bell_swallows_cancellations() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        bell = Bell()

        async def waits() -> str:
            await bell.wait()
            await bell.wait()
            return "both"

        task = loop.create_task(waits())
        for _ in range(2):
            await asyncio.sleep(1)
            task.cancel()
        assert await task == "both"
        assert bell.interruptions == 2

    run(scene)


# --- lag ---------------------------------------------------------------------------------------------------------------


def test_lag_quantiles() -> None:
    lag = LagHistogram()
    assert lag.as_dict() == {"p50": 0.0, "p99": 0.0, "max": 0.0, "max_ever": 0.0, "samples": 0}
    for n in range(1000):
        lag.record(n * 0.2, 0.001 if n % 100 else 0.5)
    assert 0.001 <= lag.quantile(0.5) <= 0.0015
    assert 0.5 == lag.quantile(0.999) == lag.worst
    assert lag.count == 1000


def test_lag_forgets_all_but_the_worst_ever() -> None:
    lag = LagHistogram(window=300)
    lag.record(0, 2.0)
    lag.record(299, 0.001)
    lag.record(301, 0.001)
    assert lag.worst == 2.0
    lag.record(601, 0.001)
    assert lag.worst == 0.001
    assert lag.worst_ever == 2.0
    lag.record(10_000, 0.002)
    assert lag.count == 1, "what lies far back is gone at once"


@given(st.lists(st.floats(0, 70), min_size=1, max_size=300), st.floats(0.01, 1.0))
def test_lag_quantiles_are_upper_bounds_within_a_factor(lags: list[float], share: float) -> None:
    histogram = LagHistogram(window=1e9)
    for n, lag in enumerate(lags):
        histogram.record(float(n), lag)
    true = sorted(lags)[math.ceil(share * len(lags)) - 1]
    assert true <= histogram.quantile(share) <= max(0.0001, true * 1.4143)


# --- stacks ------------------------------------------------------------------------------------------------------------


def test_stacks_of_tasks_go_down_to_what_is_awaited() -> None:
    async def inner() -> None:
        await asyncio.sleep(1000)

    async def outer() -> None:
        async with asyncio.timeout(5000):
            await inner()

    async def scene(loop: VirtualTimeLoop) -> None:
        task = loop.create_task(outer(), name="the outer")
        fresh = loop.create_task(inner(), name="fresh")
        assert "waiting for" not in format_task(fresh)
        await asyncio.sleep(1)
        text = format_task(task)
        assert text.index("in outer") < text.index("in inner")
        assert "waiting for <Future pending" in text
        everything = format_tasks(loop)
        assert "Task the outer:" in everything
        assert "Task fresh:" in everything
        for each in (task, fresh):
            each.cancel()
        await asyncio.wait({task, fresh})
        assert format_task(task) == ""

    run(scene)


def test_stacks_of_threads_have_names() -> None:
    go = threading.Event()

    def waits_here() -> None:
        go.wait()

    thread = threading.Thread(target=waits_here, name="the waiter")
    thread.start()
    try:
        text = format_threads()
        assert "Thread the waiter (" in text
        assert "in waits_here" in text
        assert thread.ident is not None
        assert "in waits_here" in format_thread(thread.ident)
    finally:
        go.set()
        thread.join()
    assert format_thread(-1) == ""


# --- events ------------------------------------------------------------------------------------------------------------


class Quiet(Exception):
    pass


class Broken(Exception):
    def __str__(self) -> str:
        raise ValueError


def test_errors_are_described_within_bounds() -> None:
    assert describe_error(ValueError("x"))[0] == "ValueError: x"
    assert describe_error(Quiet())[0].endswith(".Quiet")
    assert describe_error(Broken())[0].endswith(".Broken: (its text cannot be had: ValueError)")
    text, lines = describe_error(ValueError("y" * 1_000_000))
    assert len(text) == 2000
    assert len(lines) <= 16_010

    def deep(n: int) -> None:
        if n:
            deep(n - 1)
        raise ValueError("at the bottom") from KeyError("cause")

    try:
        deep(50)
    except ValueError as error:
        _, lines = describe_error(error)
    assert "at the bottom" in lines
    assert "KeyError: 'cause'" in lines


def test_a_teller_passes_on_and_contains() -> None:
    events: list[SupervisionEvent] = []
    clock = ManualClock()
    teller = Teller(events.append, clock)
    assert teller.call("adding", lambda a, b: a + b, 1, b=2) == 3
    assert events == []

    def bad() -> None:
        raise KeyError("x")

    assert teller.call("the bad one", bad) is None
    [event] = events
    assert event.name == "callback.failed"
    assert event.time == clock.time()
    assert event.problem == Problem(
        code="DM-S012",
        what="the bad one raised KeyError: 'x'",
        todo="this is a defect of the program: report it with the traceback",
    )
    assert "in bad" in event.data["traceback"]
    json.dumps(dict(event.data))


# --- signals -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def signals() -> Iterator[StopSignals]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    now = [100.0]

    def tick() -> float:
        now[0] += 1
        return now[0]

    stop_signals = StopSignals(tick)
    yield stop_signals
    stop_signals.uninstall()
    for number, handler in before.items():
        assert signal.getsignal(number) == handler
        signal.signal(number, handler)


def test_signals_are_counted_with_their_time(signals: StopSignals) -> None:
    signals.install()
    assert (signals.count, signals.first_at) == (0, None)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM, signal.SIGINT):
        signal.raise_signal(number)
    assert signals.count == 3
    assert signals.first_at == 101.0
    assert signals.times == [101.0, 102.0, 103.0]
    assert signals.names == ["SIGTERM", "SIGINT", "SIGTERM"]


def test_a_hang_up_begins_but_never_hastens(signals: StopSignals) -> None:
    signals.install()
    signal.raise_signal(signal.SIGHUP)
    signal.raise_signal(signal.SIGHUP)
    assert signals.count == 1
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGHUP)
    assert signals.names == ["SIGHUP", "SIGINT"]


def test_whoever_listens_is_poked(signals: StopSignals) -> None:
    pokes: list[int] = []
    signals.install()
    signal.raise_signal(signal.SIGTERM)
    signals.listen(lambda: pokes.append(signals.count))
    signal.raise_signal(signal.SIGTERM)
    signals.listen(None)
    signal.raise_signal(signal.SIGTERM)
    assert pokes == [2]


def test_what_is_ignored_stays_ignored_but_for_sigterm(signals: StopSignals) -> None:
    before = [signal.signal(number, signal.SIG_IGN) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
    try:
        signals.install()
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGHUP)
        assert signals.count == 0
        signal.raise_signal(signal.SIGTERM)
        assert signals.count == 1
        signals.uninstall()
    finally:
        for number, handler in zip((signal.SIGTERM, signal.SIGINT, signal.SIGHUP), before, strict=True):
            signal.signal(number, handler)


def test_the_module_of_the_signals_imports_nothing_heavy() -> None:
    """It is loaded before anything else, so that a signal during the imports is noticed."""
    code = (
        "import sys; before = set(sys.modules); import dropmill.supervision.signals; "
        "print(*sorted(set(sys.modules) - before))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in loaded if name.split(".")[0] == "dropmill"] == [
        "dropmill",
        "dropmill.supervision",
        "dropmill.supervision.signals",
    ]
    assert len(loaded) < 25, loaded
    assert not {"asyncio", "typing", "logging", "importlib.metadata"} & set(loaded)


def test_a_signal_wakes_a_loop_that_waits() -> None:
    """The handler is no handler of the loop's, and yet the loop hears of it at once."""
    signals = StopSignals()

    async def main() -> float:
        loop = asyncio.get_running_loop()
        heard = asyncio.Event()
        signals.listen(lambda: loop.call_soon_threadsafe(heard.set))
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
        async with asyncio.timeout(20):
            await heard.wait()
        assert signals.first_at is not None
        return loop.time() - signals.first_at

    signals.install()
    try:
        assert asyncio.run(main()) < 5
    finally:
        signals.uninstall()
