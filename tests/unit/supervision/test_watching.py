"""Heartbeats, the agent's state, readiness, the watchdog of the service manager."""

from __future__ import annotations

import asyncio
import itertools
import json

import pytest

from dropmill.supervision.exits import ExitCode
from dropmill.supervision.spec import Heart, State
from dropmill.testing.virtual_time import VirtualTimeLoop, run
from support.children import World, deaf, fails_times, lives, obedient, spec, swallows


async def beats(heart: Heart) -> None:
    while True:
        heart.beat()
        if not await heart.sleep(5):
            return


def hangs_after(seconds: float, *, cling: float = 0.0):
    """Makes progress for a while, then waits for what never comes; every time anew."""

    async def child(heart: Heart) -> None:
        for _ in range(int(seconds)):
            heart.beat()
            await heart.sleep(1)
        if cling:
            await swallows(cling)(heart)
        await deaf(heart)

    return child


def test_a_child_that_makes_progress_is_left_alone() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(loop, [spec("c", beats, heartbeat=10.0)]).start()
        await asyncio.sleep(3600)
        status = world.child("c")
        assert status["restarts"] == 0
        assert 0 <= status["last_beat_age"] <= 5
        assert status["last_beat"].startswith("2023-11-14T")
        await world.stop()

    run(scene)


def test_a_stuck_child_is_named_with_its_stack_and_restarted() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(loop, [spec("c", hangs_after(20), heartbeat=10.0)]).start()
        await world.until(lambda: world.named("child.stuck"))
        assert loop.time() == pytest.approx(30, abs=1.2), "the last beat was at 19 s, looked at every second"
        event = world.named("child.stuck")[0]
        assert event.problem is not None
        assert event.problem.code == "DM-S004"
        assert "in deaf" in event.data["traceback"], "the stack goes down to where it waits"
        await asyncio.sleep(3)
        assert world.child("c") | {"restarts": 1, "state": "running", "stuck": False} == world.child("c")
        assert world.child("c")["last_failure"]["kind"] == "stuck"
        assert "in deaf" in world.child("c")["last_failure"]["traceback"]
        await world.stop()

    run(scene)


def test_hanging_again_and_again_opens_the_breaker() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(loop, [spec("c", hangs_after(20), heartbeat=10.0, critical=True)]).start()
        assert await world.until_state(State.ERROR) < 150
        assert world.child("c")["last_failure"]["kind"] == "stuck"
        await world.stop()

    run(scene)


def test_a_stuck_child_that_swallows_its_cancellation_is_cancelled_again() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(loop, [spec("c", hangs_after(20, cling=4), heartbeat=10.0)]).start()
        await world.until(lambda: world.child("c")["state"] == "ending")
        await asyncio.sleep(7)
        assert world.child("c")["restarts"] == 1
        assert world.named("child.undead") == []
        await world.stop()

    run(scene)


def test_one_that_will_not_end_is_undead_and_the_watchdog_falls_silent() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(
            loop,
            [spec("c", hangs_after(20, cling=1e9), heartbeat=10.0, critical=True), spec("d", obedient)],
            watchdog=20.0,
        ).start()
        await world.until_state(State.ERROR)
        assert "will not end" in world.supervisor.reason
        assert world.child("c")["undead"]
        event = world.named("child.undead")[0]
        assert event.problem is not None
        assert event.problem.code == "DM-S005"
        assert "in run" in event.data["traceback"]
        await asyncio.sleep(100)
        pings = [when for when, text in world.notify.told if text == "WATCHDOG=1"]
        assert max(pings) < 31
        assert len(world.named("child.undead")) == 1, "it is told once"
        assert await world.stop() is ExitCode.UNDEAD

    run(scene, check_leaks=False)


@pytest.mark.parametrize("critical", [True, False])
def test_the_watchdog_goes_on_while_a_child_is_given_up(critical: bool) -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(loop, [spec("c", lives(0), critical=critical, heartbeat=5.0)], watchdog=20.0).start()
        await asyncio.sleep(1000)
        pings = [when for when, text in world.notify.told if text == "WATCHDOG=1"]
        assert len(pings) == 101, "every half of the interval"
        assert all(9.9 <= b - a <= 11.1 for a, b in itertools.pairwise(pings))
        await world.stop()

    run(scene)


def test_a_non_critical_child_that_will_not_end_does_not_silence_it() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(loop, [spec("c", hangs_after(20, cling=1e9), heartbeat=10.0)], watchdog=20.0).start()
        await asyncio.sleep(200)
        assert world.supervisor.state is State.DEGRADED
        assert len(world.notify.messages("WATCHDOG")) >= 19
        await world.stop()

    run(scene, check_leaks=False)


def test_the_watchdog_goes_on_during_a_stop() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(loop, [spec("c", swallows(), critical=True, heartbeat=5.0)], watchdog=20.0).start()
        await asyncio.sleep(1)
        began = loop.time()
        await world.stop()
        assert len([when for when, text in world.notify.told if text == "WATCHDOG=1" and when > began]) >= 11

    run(scene, check_leaks=False)


def test_ready_once_everything_is_up() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(loop, [spec("a", obedient), spec("b", obedient)]).start()
        await asyncio.sleep(100)
        assert world.notify.messages("READY") == ["READY=1"]
        assert world.states == ["running"]
        await world.stop()
        assert world.states == ["running", "stopping", "stopped"]
        order = world.notify.messages("READY", "STOPPING")
        assert order == ["READY=1", "STOPPING=1"]

    run(scene)


def test_a_child_that_never_comes_up_does_not_hold_up_the_start_for_ever() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(loop, [spec("a", deaf, up="beat"), spec("b", obedient, depends=("a",))]).start()
        await asyncio.sleep(100)
        assert world.when("agent.ready") == pytest.approx([30], abs=1.1)
        assert world.supervisor.state is State.DEGRADED
        assert world.supervisor.reason == "b: waits for a"
        extended = [when for when, text in world.notify.told if text.startswith("EXTEND")]
        assert len(extended) >= 6
        assert max(extended) <= 30
        await world.stop()

    run(scene)


def test_a_child_that_fails_at_once_does_not_hold_up_the_start() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(loop, [spec("a", fails_times(1), up="beat", backoff=20.0)]).start()
        await asyncio.sleep(1)
        assert world.when("agent.ready") == [0.0]
        assert world.supervisor.state is State.DEGRADED
        await world.stop()

    run(scene)


def test_conditions_from_outside() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(loop, [spec("a", obedient)]).start()
        await asyncio.sleep(1)
        supervisor = world.supervisor
        supervisor.set_condition("disk", "12 MB left on /var")
        assert (supervisor.state, supervisor.reason) == (State.DEGRADED, "disk: 12 MB left on /var")
        since = supervisor.since
        await asyncio.sleep(5)
        supervisor.set_condition("queue", "cannot be written", state=State.ERROR)
        assert supervisor.state is State.ERROR
        assert supervisor.since == since + 5
        assert supervisor.reason == "queue: cannot be written; disk: 12 MB left on /var"
        assert supervisor.status()["conditions"]["queue"] == {"reason": "cannot be written", "state": "error"}
        supervisor.clear_condition("queue")
        supervisor.clear_condition("disk")
        supervisor.clear_condition("disk")
        assert (supervisor.state, supervisor.reason) == (State.RUNNING, "")
        statuses = list(world.notify.messages("STATUS"))
        assert "STATUS=degraded: disk: 12 MB left on /var" in statuses
        await world.stop()

    run(scene)


def test_a_long_list_of_troubles_is_cut() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(loop, [spec(f"c{n:02}", lives(0)) for n in range(40)]).start()
        await world.until(lambda: world.child("c39")["state"] == "open")
        assert world.supervisor.reason.endswith("; and 35 more")
        await world.stop()

    run(scene)


def test_status_is_json_and_says_everything() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(loop, [spec("a", fails_times(1, after=1.0)), spec("b", obedient, depends=("a",))]).start()
        await asyncio.sleep(1.5)
        status = json.loads(json.dumps(world.supervisor.status()))
        assert set(status) == {"state", "reason", "since", "children", "conditions", "loop", "stop"}
        assert status["since"] == "2023-11-14T22:13:21.000Z"
        assert status["stop"] is None
        assert set(status["loop"]["lag"]) == {"p50", "p99", "max", "max_ever", "samples"}
        a, b = status["children"]
        assert a["last_failure"]["error"] == "RuntimeError: 0 more to come"
        assert "raise RuntimeError" in a["last_failure"]["traceback"]
        assert a["last_failure"]["lived"] == 1.0
        assert a["last_beat"] is None
        assert b["depends"] == ["a"]
        await world.stop()

    run(scene)


def test_errors_of_the_loop_become_events() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(loop, [spec("a", obedient)]).start()
        await asyncio.sleep(1)

        def bad() -> None:
            raise ValueError("in a callback")

        loop.call_soon(bad)
        loop.call_exception_handler({"message": "something without an exception"})
        await asyncio.sleep(1)
        problems = [event.problem for event in world.named("loop.exception")]
        assert [problem.code for problem in problems if problem] == ["DM-S007"] * 2
        assert any("ValueError: in a callback" in problem.what for problem in problems if problem)
        await world.stop()
        assert loop.get_exception_handler() is None

    run(scene)


def test_an_unwatched_child_may_sleep_for_ever() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(loop, [spec("c", deaf, stop="cancel")], vigilance={"pulse": 60.0}).start()
        await asyncio.sleep(86_400)
        assert world.child("c")["restarts"] == 0
        assert await world.stop() is ExitCode.CLEAN

    run(scene)
