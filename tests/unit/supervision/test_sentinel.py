"""The sentinel's looks at the clock, one at a time and without its thread; the thread itself is in tests/integration."""

from __future__ import annotations

import asyncio
import io
import os
import sys
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from dropmill.supervision.gil import GilWatch
from dropmill.supervision.sentinel import Blockage, Sentinel
from dropmill.supervision.shutdown import StopPlan


class Watched:
    """A sentinel with a clock that is set by hand, over a real loop."""

    def __init__(self, **options: Any) -> None:
        self.now = 1000.0
        self.signals: list[float] = []
        self.ended: list[int] = []
        self.blocked: list[Blockage] = []
        self.sentinel = Sentinel(
            asyncio.get_running_loop(),
            deadline=StopPlan().hard_deadline,
            signals=lambda: self.signals,
            on_blocked=self.blocked.append,
            monotonic=lambda: self.now,
            end=self.ended.append,
            **options,
        )

    def after(self, seconds: float) -> Watched:
        self.now += seconds
        self.sentinel.look()
        return self


async def test_a_loop_that_turns_is_fine() -> None:
    watched = Watched()
    for _ in range(10):
        watched.after(0.9)
        watched.sentinel.beat()
    await asyncio.sleep(0)
    assert (watched.blocked, watched.ended) == ([], [])


async def test_a_blocked_loop_is_named_once_with_task_and_stack() -> None:
    watched = Watched()

    def blocks() -> None:
        watched.after(0.5).after(0.6).after(5)

    async def child() -> None:
        blocks()

    await asyncio.create_task(child(), name="the culprit")
    assert [blockage.task for blockage in watched.blocked] in ([], ["the culprit"]), "told on the loop, so later"
    await asyncio.sleep(0)
    [blockage] = watched.blocked
    assert blockage.task == "the culprit"
    assert "in blocks" in blockage.stack
    watched.sentinel.beat()
    watched.after(1.1)
    await asyncio.sleep(0)
    assert len(watched.blocked) == 2, "the next time counts anew"


async def test_after_the_end_of_the_loop_only_the_deadline_counts() -> None:
    watched = Watched()
    watched.sentinel.rest()
    watched.after(60)
    await asyncio.sleep(0)
    assert watched.blocked == []
    watched.sentinel.cap(watched.now + 5)
    assert watched.after(4.9).ended == []
    assert watched.after(0.1).ended == [12]


@pytest.mark.parametrize(
    ("signals", "deadline"),
    [
        ([0], 125),
        ([0, 0], 15),
        ([0, 100], 115),
        ([0, 119], 125),
        ([0, 50, 51], 56.1),
        ([0, 0, 0], 5.1),
    ],
)
def test_the_deadline_of_a_stop(signals: Sequence[float], deadline: float) -> None:
    assert StopPlan().hard_deadline(signals) == pytest.approx(deadline)


async def test_the_deadline_counts_from_the_signal(capfd: pytest.CaptureFixture[str]) -> None:
    watched = Watched()
    watched.signals = [watched.now]
    watched.after(124.9)
    assert watched.ended == []
    watched.after(0.2)
    assert watched.ended == [12]
    printed = capfd.readouterr().err
    assert "DM-S011: the stop has not ended 125 s after the signal" in printed
    assert "Thread MainThread" in printed
    assert "Task test_the_deadline_counts_from_the_signal" in printed or "Task " in printed


async def test_a_cap_is_only_ever_lowered() -> None:
    watched = Watched()
    watched.sentinel.cap(1010)
    watched.sentinel.cap(2000)
    assert watched.after(10).ended == [12]


async def test_a_printer_that_hangs_does_not_hold_it_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dropmill.supervision.sentinel._WRITE_LIMIT", 0.1)
    reader, writer = os.pipe()
    with open(reader, "rb") as nobody_reads, open(writer, "wb", buffering=0) as full:
        os.set_blocking(full.fileno(), False)
        while True:
            if full.write(b"x" * 65536) is None:
                break
        os.set_blocking(full.fileno(), True)
        monkeypatch.setattr(sys, "__stderr__", full)
        watched = Watched()
        watched.sentinel.cap(watched.now)
        assert watched.after(0).ended == [12]
        printer = next(thread for thread in threading.enumerate() if thread.name == "last words")
        while printer.is_alive():
            nobody_reads.read1(65536)
            printer.join(0.01)


async def test_without_stderr_it_ends_all_the_same(monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    monkeypatch.setattr(sys, "__stderr__", None)
    watched = Watched()
    watched.sentinel.cap(watched.now)
    assert watched.after(0).ended == [12]
    monkeypatch.setattr(sys, "__stderr__", io.StringIO())
    assert watched.after(0).ended == [12, 12]


async def test_a_closed_loop_is_no_trouble() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    watched = Watched()
    watched.sentinel._loop = loop
    watched.after(10)
    assert watched.blocked == []


async def test_its_thread_comes_and_goes() -> None:
    watched = Watched(poll=0.01)
    watched.sentinel.start()
    [thread] = [thread for thread in threading.enumerate() if thread.name == "sentinel"]
    assert thread.daemon
    watched.sentinel.stop()
    thread.join(10)
    assert not thread.is_alive()


def test_a_gil_watch_without_a_file_gives_up_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = GilWatch(1000.0, file=io.StringIO())
    watch.rearm()
    watch.arm_finally(1000.0)
    watch.disarm()
    monkeypatch.setattr(sys, "__stderr__", None)
    GilWatch(1000.0).rearm()


def test_a_gil_watch_sets_the_one_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[float] = []
    monkeypatch.setattr("faulthandler.dump_traceback_later", lambda seconds, **options: calls.append(seconds))
    watch = GilWatch(30.0)
    watch.rearm()
    watch.arm_finally(127.0)
    watch.rearm()
    assert calls == [30.0, 127.0], "in a stop only the final limit counts"
    calls.clear()
    GilWatch(None).rearm()
    assert calls == []
