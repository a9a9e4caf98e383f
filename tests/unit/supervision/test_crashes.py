"""What a child may do to itself, and what comes of it: restarts, breakers, half-open tries, containment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

import pytest

from dropmill.supervision.exits import ExitCode
from dropmill.supervision.spec import Heart, State, SupervisionError
from dropmill.testing.virtual_time import VirtualTimeLoop, run
from support.children import World, deaf, fails_times, lives, obedient, returns_after, spec, swallows


def expected_trip(life: float) -> float | None:
    """When the breaker opens for a child that lives `life` seconds each time, reckoned by hand."""
    now, times, delay = 0.0, [], 1.0
    for count in range(1, 11):
        now += life
        times.append(now)
        if sum(now - time <= 300.0 for time in times) > 3 or count == 10:
            return now
        now += delay
        delay = min(60.0, delay * 2)
    return None


@pytest.mark.parametrize("life", [0, 0.5, 5, 30, 60, 90, 97, 98, 99, 100, 101, 120, 200, 300])
def test_a_crash_loop_trips_at_the_computed_time(life: float) -> None:
    async def scene(loop: VirtualTimeLoop) -> float:
        world = World(loop, [spec("c", lives(life), critical=True)]).start()
        when = await world.until_state(State.ERROR)
        assert await world.stop() is ExitCode.CLEAN
        return when

    assert run(scene) == pytest.approx(expected_trip(life), abs=0.06)


def test_the_rules_need_each_other() -> None:
    """At a life of 100 s the window alone never trips; the slow rule does, in the end."""
    assert expected_trip(97.0) == 4 * 97 + 7
    assert expected_trip(100.0) == 10 * 100 + 63 + 3 * 60


def test_a_life_of_ten_minutes_never_trips() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(loop, [spec("c", lives(601), critical=True)], vigilance={"pulse": 60.0}).start()
        await asyncio.sleep(86_400)
        assert "error" not in world.states
        assert world.child("c")["restarts"] > 100
        await world.stop()

    run(scene)


class Odd(BaseException):
    """Neither an Exception nor anything that asyncio knows."""


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


THROWN: list[Callable[[], BaseException]] = [
    lambda: SystemExit(3),
    lambda: KeyboardInterrupt(),
    lambda: GeneratorExit(),
    lambda: Odd("x"),
    lambda: Mute(),
    lambda: asyncio.CancelledError("nobody asked"),
    lambda: BaseExceptionGroup("g", [SystemExit(1), ValueError("v")]),
    lambda: StopAsyncIteration(),
    lambda: MemoryError(),
    lambda: RecursionError(),
]


@pytest.mark.parametrize("error", THROWN, ids=lambda error: type(error()).__name__)
@pytest.mark.parametrize("after", [0.0, 7.0])
def test_nothing_that_a_child_raises_reaches_the_loop(error: Callable[[], BaseException], after: float) -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(loop, [spec("bad", lives(after, error)), spec("good", obedient)]).start()
        await world.until(lambda: world.child("bad")["state"] == "open")
        assert world.child("good") | {"restarts": 0, "state": "running"} == world.child("good")
        assert world.supervisor.state is State.DEGRADED
        failures = world.named("child.failed", "bad")
        assert len(failures) == 4
        assert type(error()).__name__ in failures[0].data["error"]
        assert "children.py" in failures[0].data["traceback"]
        assert world.child("bad")["last_failure"]["error"] == failures[-1].data["error"]
        assert world.codes[-1] == "DM-S003"
        assert await world.stop() is ExitCode.CLEAN

    run(scene)


def test_a_child_that_is_no_coroutine_fails_like_any_other() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(loop, [spec("bad", lambda heart: 5)]).start()
        await world.until(lambda: world.child("bad")["state"] == "open")
        assert "TypeError" in world.child("bad")["last_failure"]["error"]
        await world.stop()

    run(scene)


def test_a_foreign_cancellation_is_a_failure_and_the_child_comes_back() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(loop, [spec("c", obedient)]).start()
        await asyncio.sleep(1)
        for task in asyncio.all_tasks(loop):
            if task.get_name() == "c":
                task.cancel()
        await world.until(lambda: world.child("c")["restarts"] == 1)
        assert "CancelledError" in world.child("c")["last_failure"]["error"]
        await world.stop()

    run(scene)


def test_a_foreign_cancellation_before_the_first_step() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(loop).start()
        await asyncio.sleep(1)
        world.supervisor.add(spec("c", obedient))
        next(task for task in asyncio.all_tasks(loop) if task.get_name() == "c").cancel()
        await world.until(lambda: world.child("c")["restarts"] == 1)
        assert world.child("c")["last_failure"]["kind"] == "raised"
        await world.stop()

    run(scene)


def test_a_permanent_child_may_not_return() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(loop, [spec("c", returns_after(5))]).start()
        assert await world.until(lambda: world.child("c")["state"] == "backoff") == pytest.approx(5, abs=0.06)
        assert world.child("c")["last_failure"]["kind"] == "returned"
        assert "DM-S002" in world.codes
        await world.stop()

    run(scene)


def test_a_transient_child_may_return_and_is_restarted_when_it_raises() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(
            loop,
            [spec("done", returns_after(5), restart="transient"), spec("sad", lives(5), restart="transient")],
        ).start()
        await asyncio.sleep(6.5)
        assert world.child("done")["state"] == "finished"
        assert world.child("sad")["restarts"] == 1
        await world.stop()

    run(scene)


def test_a_temporary_child_is_never_restarted() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(
            loop,
            [spec("done", returns_after(5), restart="temporary"), spec("sad", lives(5), restart="temporary")],
        ).start()
        await asyncio.sleep(1000)
        assert world.child("done")["state"] == "finished"
        assert world.child("sad") | {"state": "failed", "restarts": 0} == world.child("sad")
        assert world.supervisor.state is State.RUNNING
        assert len(world.named("child.failed", "sad")) == 1
        await world.stop()

    run(scene)


def test_back_off_is_degraded_and_is_over_when_it_runs_again() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(loop, [spec("c", fails_times(2, after=1.0))]).start()
        await asyncio.sleep(1.5)
        status = world.child("c")
        assert status["state"] == "backoff"
        assert 0 < status["next_try_in"] <= 1
        assert world.supervisor.state is State.DEGRADED
        assert "c: failed (RuntimeError" in world.supervisor.reason
        await asyncio.sleep(10)
        assert world.supervisor.state is State.RUNNING
        assert world.supervisor.reason == ""
        await world.stop()

    run(scene)


def test_half_open_every_five_minutes_until_it_lives() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(loop, [spec("c", fails_times(6), critical=True)]).start()
        tripped = await world.until_state(State.ERROR)
        assert tripped == pytest.approx(7.0, abs=0.06)
        await world.until_state(State.RUNNING)
        opened = world.when("child.open")
        assert opened == pytest.approx([tripped, tripped + 300, tripped + 600], abs=0.1)
        recovered = world.when("child.recovered")
        assert recovered == pytest.approx([tripped + 900 + 60], abs=0.1)
        assert not world.child("c")["trial"]
        await world.stop()

    run(scene)


def test_while_on_trial_the_agent_stays_in_error() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(loop, [spec("c", fails_times(4), critical=True)]).start()
        tripped = await world.until_state(State.ERROR)
        await asyncio.sleep(330)
        assert world.child("c")["state"] == "running"
        assert world.child("c")["trial"]
        assert world.supervisor.state is State.ERROR
        assert "tried again" in world.supervisor.reason
        assert await world.until_state(State.RUNNING) == pytest.approx(tripped + 360, abs=0.1)
        await world.stop()

    run(scene)


def test_resume_by_hand_forgives_everything() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(loop, [spec("c", fails_times(4), critical=True)]).start()
        await world.until_state(State.ERROR)
        assert world.supervisor.resume("c")
        assert world.supervisor.state is State.RUNNING
        assert world.child("c")["failures"] == 0
        assert not world.supervisor.resume("c"), "it runs"
        await asyncio.sleep(1000)
        assert world.child("c")["restarts"] == 4, "the half-open try was called off"
        with pytest.raises(SupervisionError, match="no child 'x'"):
            world.supervisor.resume("x")
        await world.stop()
        assert not world.supervisor.resume("c"), "the agent has stopped"

    run(scene)


def test_resume_cuts_a_back_off_short() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(loop, [spec("c", fails_times(1), backoff=50.0)]).start()
        await world.until(lambda: world.child("c")["state"] == "backoff")
        assert world.supervisor.resume("c")
        assert world.child("c")["state"] == "running"
        await world.stop()

    run(scene)


def test_on_error_exit_ends_with_70() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(
            loop, [spec("bad", lives(0), critical=True), spec("busy", swallows(0))], on_error="exit", graceful=5.0
        ).start()
        assert await world.end() is ExitCode.ERROR
        report = world.supervisor.report
        assert report is not None
        assert report.reason.startswith("error: bad: given up")
        assert report.cancelled == ("busy",)
        assert world.states[-3:] == ["error", "stopping", "stopped"]

    run(scene)


def test_a_non_critical_child_that_is_given_up_only_degrades() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(loop, [spec("bad", lives(0))], on_error="exit").start()
        await world.until(lambda: world.child("bad")["state"] == "open")
        assert world.supervisor.state is State.DEGRADED
        assert await world.stop() is ExitCode.CLEAN

    run(scene)


@pytest.mark.parametrize("seed", range(20))
def test_jitter_spreads_restarts(seed: int) -> None:
    async def scene(loop: VirtualTimeLoop) -> list[float]:
        children = [spec(f"c{n}", fails_times(1)) for n in range(50)]
        world = World(loop, children, random=Random(seed)).start()
        await asyncio.sleep(5)
        again = [when for when in world.when("child.started") if when > 0]
        await world.stop()
        return again

    again = run(scene, seed=seed)
    assert len(again) == 50
    assert all(0.8 <= when <= 1.2 for when in again)
    assert len({round(when, 6) for when in again}) > 40


def test_a_listener_that_raises_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(loop, [spec("c", fails_times(1))])

        def bad(event: object) -> None:
            raise SystemExit("from a listener")

        world.supervisor._teller._listener = bad
        world.start()
        await world.until(lambda: world.child("c")["restarts"] == 1)
        assert await world.stop() is ExitCode.CLEAN

    run(scene)
    assert "the listener to supervision events raised" in caplog.text


def test_a_failure_keeps_no_frame_alive() -> None:
    """What a child held must go when it fails: a restart loop would otherwise hold it many times."""
    import gc
    import weakref

    class Big:
        pass

    held: list[weakref.ref[Big]] = []

    async def child(heart: Heart) -> None:
        big = Big()
        held.append(weakref.ref(big))
        raise RuntimeError("boom")

    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(loop, [spec("c", child)]).start()
        await world.until(lambda: world.child("c")["state"] == "open")
        gc.collect()
        assert [ref() for ref in held] == [None] * 4
        await world.stop()

    run(scene)


def test_deaf_children_hold_a_stop_up_to_its_end_only() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(loop, [spec("c", deaf)]).start()
        await asyncio.sleep(1)
        assert await world.stop() is ExitCode.CANCELLED
        assert loop.time() == pytest.approx(61, abs=0.06)

    run(scene)
