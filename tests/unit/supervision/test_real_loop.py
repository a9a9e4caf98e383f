"""The supervisor with its thread, on a real loop in this very process; `disarm` keeps the tests alive."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from dropmill.foundation.clock import SystemClock
from dropmill.supervision.events import SupervisionEvent
from dropmill.supervision.exits import ExitCode
from dropmill.supervision.notify import Notifier
from dropmill.supervision.spec import ChildSpec, Heart
from dropmill.supervision.supervisor import Supervisor, Vigilance
from support.children import obedient, spec


def sentinels() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "sentinel"]


@pytest.fixture(autouse=True)
def _no_sentinel_stays() -> Iterator[None]:
    yield
    for thread in sentinels():
        thread.join(10)
    assert sentinels() == []


def supervisor(*specs: ChildSpec, **options: Any) -> tuple[Supervisor, list[SupervisionEvent]]:
    events: list[SupervisionEvent] = []
    made = Supervisor(
        specs,
        clock=SystemClock(),
        random=Random(),
        on_event=events.append,
        vigilance=Vigilance(blocked_after=0.3, pulse=0.05, **options),
    )
    return made, events


async def test_a_whole_life_with_a_blocked_moment() -> None:
    async def blocks_once(heart: Heart) -> None:
        await asyncio.sleep(0.1)
        time.sleep(1.2)
        await obedient(heart)

    made, events = supervisor(spec("culprit", blocks_once))
    try:
        task = asyncio.ensure_future(made.run())
        async with asyncio.timeout(30):
            while not [event for event in events if event.name == "loop.blocked"]:
                await asyncio.sleep(0.05)
        made.request_stop("enough")
        assert await task is ExitCode.CLEAN
        assert len(sentinels()) == 1, "the deadline stays armed"
    finally:
        made.disarm()
    [blocked] = [event for event in events if event.name == "loop.blocked"]
    assert blocked.data["task"] == "culprit"
    assert "in blocks_once" in blocked.data["traceback"]
    assert blocked.problem is not None
    assert blocked.problem.code == "DM-S006"
    assert made.lag.worst > 0.8


async def test_a_start_that_fails_leaves_nothing_armed() -> None:
    async def prepare() -> None:
        raise LookupError("no state folder")

    made, _ = supervisor()
    with pytest.raises(LookupError):
        await made.run(prepare=prepare)


async def test_without_the_thread() -> None:
    made, _ = supervisor(hard_deadline=False)
    task = asyncio.ensure_future(made.run())
    await asyncio.sleep(0.05)
    assert sentinels() == []
    made.request_stop("enough")
    assert await task is ExitCode.CLEAN


async def test_a_service_manager_that_watches_replaces_our_own_fuse(monkeypatch: pytest.MonkeyPatch) -> None:
    fuses: list[float] = []
    monkeypatch.setattr("faulthandler.dump_traceback_later", lambda seconds, **options: fuses.append(seconds))
    for notify, armed in ((None, True), (Notifier("@nobody", watchdog_interval=30.0), False)):
        fuses.clear()
        made = Supervisor(
            clock=SystemClock(),
            random=Random(),
            on_event=lambda event: None,
            notify=notify,
            vigilance=Vigilance(hard_deadline=False),
        )
        task = asyncio.ensure_future(made.run())
        await asyncio.sleep(0.05)
        made.request_stop("enough")
        await task
        assert bool(fuses) == armed
