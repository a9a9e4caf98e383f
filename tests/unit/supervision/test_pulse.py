"""The pulse: lag is measured, everything that depends on the loop turning hangs on it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dropmill.supervision.lag import LagHistogram
from dropmill.supervision.pulse import Pulse
from dropmill.testing.virtual_time import VirtualTimeLoop, run
from support.children import Recorder


class Fuse:
    def __init__(self) -> None:
        self.rearmed = 0

    def rearm(self) -> None:
        self.rearmed += 1


class Beats:
    def __init__(self) -> None:
        self.beats = 0

    def beat(self) -> None:
        self.beats += 1


def pulse(loop: VirtualTimeLoop, **options: Any) -> tuple[Pulse, dict[str, Any]]:
    parts: dict[str, Any] = {
        "notify": Recorder(loop, 10.0),
        "gil": Fuse(),
        "sentinel": Beats(),
        "lag": LagHistogram(),
        "each_second": lambda: None,
        "fresh": lambda: True,
    } | options
    return Pulse(interval=0.2, **parts), parts


def test_everything_has_its_rhythm() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        seconds: list[float] = []
        beating, parts = pulse(loop, each_second=lambda: seconds.append(loop.time()))
        beating.start()
        await asyncio.sleep(60)
        beating.stop()
        assert 295 <= parts["sentinel"].beats <= 302
        assert 58 <= len(seconds) <= 61
        assert 11 <= parts["gil"].rearmed <= 13
        assert 11 <= len(parts["notify"].told) <= 13
        assert parts["lag"].worst < 1e-6
        beats = parts["sentinel"].beats
        await asyncio.sleep(60)
        assert parts["sentinel"].beats == beats
        beating.stop()

    run(scene)


def test_a_late_loop_is_measured() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        beating, parts = pulse(loop)
        beating.start()
        await asyncio.sleep(1.1)
        loop.jump(3)
        await asyncio.sleep(1)
        beating.stop()
        assert parts["lag"].worst == pytest.approx(2.9, abs=0.01)

    run(scene)


def test_the_watchdog_waits_until_all_is_fresh_and_then_goes_at_once() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        fresh = [True]
        beating, parts = pulse(loop, fresh=lambda: fresh[0])
        beating.start()
        await asyncio.sleep(7)
        fresh[0] = False
        await asyncio.sleep(20)
        fresh[0] = True
        await asyncio.sleep(1)
        beating.stop()
        times = [when for when, _ in parts["notify"].told]
        assert times == [pytest.approx(0), pytest.approx(5, abs=0.21), pytest.approx(27, abs=0.21)]

    run(scene)


def test_without_sentinel_and_manager() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        beating, parts = pulse(loop, sentinel=None, notify=Recorder(loop, None))
        beating.start()
        await asyncio.sleep(60)
        beating.stop()
        assert parts["notify"].told == []

    run(scene)
