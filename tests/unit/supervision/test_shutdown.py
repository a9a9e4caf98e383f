"""The three phases: their deadlines, their edges, what is called when, and what comes of it."""

from __future__ import annotations

import asyncio
import itertools
import signal
from typing import Any

import pytest

from dropmill.foundation.errors import DropmillError, Problem
from dropmill.supervision.exits import ExitCode
from dropmill.supervision.shutdown import Phase, StopPlan, StopProgress, StopReport
from dropmill.supervision.spec import ChildSpec, Heart, State
from dropmill.testing.virtual_time import CancelAt, VirtualTimeLoop, run
from support.children import World, deaf, drains, fails_times, lives, obedient, returns_after, spec, swallows


def stopped(
    *specs: ChildSpec, after: float = 1.0, then: tuple[float, ...] = (), seed: int | None = None, **options: Any
) -> tuple[StopReport, World]:
    """Run, stop `after` seconds with further signals each `then` seconds after the first; the report."""

    async def scene(loop: VirtualTimeLoop) -> World:
        world = World(loop, specs, **options).start()
        await asyncio.sleep(after)
        world.signal()
        for delay in then:
            loop.call_later(delay, world.signal, signal.SIGINT)
        await world.end()
        assert world.supervisor.state is State.STOPPED
        return world

    world = run(scene, check_leaks=False, seed=seed)
    assert world.supervisor.report is not None
    return world.supervisor.report, world


def about(seconds: float) -> Any:
    return pytest.approx(seconds, abs=0.005)


def test_idle_stops_at_once() -> None:
    report, world = stopped(spec("a", obedient), spec("b", obedient))
    assert (report.code, report.seconds) == (ExitCode.CLEAN, about(0))
    assert report.reason == "SIGTERM"
    assert world.codes == []


def test_no_children_at_all() -> None:
    report, _ = stopped()
    assert (report.code, report.seconds) == (ExitCode.CLEAN, about(0))


def test_work_in_flight_is_finished() -> None:
    report, world = stopped(spec("a", drains(30)))
    assert (report.code, report.graceful, report.force) == (ExitCode.CLEAN, about(30), 0)
    assert world.named("child.failed") == []


def test_forty_drains_take_no_longer_than_one() -> None:
    log: list[str] = []
    report, _ = stopped(*[spec(f"c{n}", drains(59, log, f"c{n}")) for n in range(40)])
    assert (report.code, report.graceful, report.force) == (ExitCode.CLEAN, about(59), 0)
    assert len(log) == 40


def test_forty_that_are_too_slow_are_cancelled_together() -> None:
    report, _ = stopped(*[spec(f"c{n}", drains(90)) for n in range(40)])
    assert (report.code, report.graceful, report.force) == (ExitCode.CANCELLED, about(60), about(0))
    assert len(report.cancelled) == 40


def test_budgets_do_not_add_up_over_children() -> None:
    """One that drains to the end of its time, one that swallows for 40 s, one that never dies: 120 s, all together."""
    report, _ = stopped(spec("a", drains(59.9)), spec("b", swallows(40)), spec("c", swallows()))
    assert (report.code, report.graceful + report.force) == (ExitCode.UNDEAD, about(120 + 0.1))
    assert report.undead == ("c",)
    assert report.cancelled == ("b", "c")


def test_what_is_too_slow_is_cancelled_and_reported() -> None:
    report, world = stopped(spec("fast", drains(10)), spec("slow", drains(90)))
    assert (report.code, report.graceful, report.seconds) == (ExitCode.CANCELLED, about(60), about(60))
    assert report.cancelled == ("slow",)
    problem = world.named("stop.finished")[0].problem
    assert problem is not None
    assert problem.code == "DM-S009"
    assert "exit code 10" in problem.what
    assert "cancelled slow" in problem.what


def test_a_stubborn_child_is_cancelled_every_second() -> None:
    report, _ = stopped(spec("c", swallows(5)))
    assert (report.code, report.graceful, report.force) == (ExitCode.CANCELLED, about(60), about(5))


def test_what_will_not_die_is_named() -> None:
    report, world = stopped(spec("c", swallows()), spec("d", obedient))
    assert (report.code, report.undead) == (ExitCode.UNDEAD, ("c",))
    event = world.named("stop.undead", "c")[0]
    assert event.problem is not None
    assert event.problem.code == "DM-S005"
    assert "asyncio.sleep(1e9)" in event.data["traceback"]


def test_other_budgets() -> None:
    report, _ = stopped(spec("c", swallows()), graceful=2.0, force=3.0)
    assert (report.graceful, report.force) == (about(2), about(1.1))
    report, _ = stopped(spec("c", deaf), graceful=0.0, force=0.0)
    assert (report.code, report.seconds) == (ExitCode.CANCELLED, about(0))


@pytest.mark.parametrize(
    "wrong", [{"graceful": 130}, {"graceful": -1}, {"force": float("inf")}, {"reserve": 0}, {"second": 0}]
)
def test_budgets_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="a stop needs 0 <= graceful <= force"):
        StopPlan(**wrong)


# --- second and third signals -------------------------------------------------------------------------------------------

EDGES = [0.0, 0.001, 1.0, 49.999, 50.0, 59.999, 60.0, 60.001, 109.999, 110.0, 110.001, 115.0, 119.999]


@pytest.mark.parametrize("second", EDGES)
def test_a_second_signal_cancels_at_once(second: float) -> None:
    report, _ = stopped(spec("c", drains(1e6)), then=(second,))
    assert (report.code, report.cancelled) == (ExitCode.CANCELLED, ("c",))
    assert report.seconds == about(min(60.0, second))


@pytest.mark.parametrize("second", EDGES)
def test_after_a_second_signal_ten_seconds_are_left_and_never_more_than_before(second: float) -> None:
    report, _ = stopped(spec("c", swallows()), then=(second,))
    assert (report.code, report.undead) == (ExitCode.UNDEAD, ("c",))
    assert report.seconds == about(min(120.0, second + 10.0) + 0.1)


@pytest.mark.parametrize("third", EDGES)
def test_a_third_signal_goes_straight_to_the_verification(third: float) -> None:
    report, _ = stopped(spec("c", swallows()), then=(third, third))
    assert (report.code, report.undead) == (ExitCode.UNDEAD, ("c",))
    assert report.seconds == about(third + 0.1)


@pytest.mark.parametrize("third", [0.0, 3.0, 9.999])
def test_a_third_signal_soon_after_the_second(third: float) -> None:
    report, _ = stopped(spec("c", swallows()), then=(20.0, 20.0 + third))
    assert report.seconds == about(20 + third + 0.1)


def test_three_signals_at_once_still_cancel_what_can_be() -> None:
    report, _ = stopped(spec("a", deaf), spec("b", drains(5)), then=(0.0, 0.0))
    assert (report.code, report.undead) == (ExitCode.CANCELLED, ())
    assert set(report.cancelled) == {"a", "b"}


def test_more_signals_mean_nothing_more() -> None:
    report, world = stopped(spec("c", swallows()), then=(0.0,) * 50)
    assert report.seconds == about(0.1)
    assert world.signals.count == 3


def test_a_signal_after_a_requested_stop_is_the_first_signal() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(loop, [spec("c", drains(30))]).start()
        await asyncio.sleep(1)
        world.supervisor.request_stop("asked by the API")
        assert world.supervisor.stopping
        await asyncio.sleep(1)
        world.signal()
        assert await world.end() is ExitCode.CLEAN
        assert loop.time() == 31
        assert world.supervisor.report is not None
        assert world.supervisor.report.reason == "asked by the API"

    run(scene)


def test_a_requested_stop_can_be_hastened() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(loop, [spec("c", swallows())]).start()
        await asyncio.sleep(1)
        world.supervisor.request_stop("asked by the API")
        await asyncio.sleep(1)
        world.supervisor.hasten()
        await asyncio.sleep(1)
        world.supervisor.hasten()
        assert await world.end() is ExitCode.UNDEAD
        assert loop.time() == about(3.1)

    run(scene, check_leaks=False)


# --- what is called ----------------------------------------------------------------------------------------------------


def test_all_are_told_at_once() -> None:
    told: list[tuple[str, float]] = []

    def child(name: str) -> ChildSpec:
        return spec(name, drains(20), quiesce=lambda: told.append((name, asyncio.get_running_loop().time())))

    stopped(*[child(f"c{n}") for n in range(5)])
    assert told == [(f"c{n}", 1.0) for n in range(5)]


def test_workers_are_killed_when_force_begins_and_every_second() -> None:
    killed: list[float] = []
    stopped(spec("c", swallows(3)), kill=lambda: killed.append(asyncio.get_running_loop().time() - 1.0))
    assert killed == [about(60), about(61), about(62), about(63)]


def test_workers_are_killed_even_when_a_third_signal_comes_first() -> None:
    killed: list[float] = []
    stopped(spec("c", deaf), then=(0.0, 0.0), kill=lambda: killed.append(0))
    assert killed


def test_nothing_is_killed_in_a_graceful_stop() -> None:
    killed: list[float] = []
    stopped(spec("c", drains(50)), kill=lambda: killed.append(0))
    assert killed == []


def test_verification_comes_last_and_knows_how_it_went() -> None:
    seen: list[tuple[StopReport, State]] = []
    world: list[World] = []

    def verify(report: StopReport) -> list[Problem]:
        seen.append((report, world[0].supervisor.state))
        return []

    async def scene(loop: VirtualTimeLoop) -> None:
        world.append(World(loop, [spec("a", drains(90)), spec("b", swallows())], verify=verify).start())
        await asyncio.sleep(1)
        await world[0].stop()

    run(scene, check_leaks=False)
    [(report, state)] = seen
    assert state is State.STOPPING
    assert (report.code, report.cancelled, report.undead) == (ExitCode.UNDEAD, ("a", "b"), ("b",))


def test_what_the_verification_finds_makes_it_11() -> None:
    problem = Problem(code="DM-Q099", what="2 leases are left")
    report, world = stopped(spec("c", obedient), verify=lambda report: [problem])
    assert (report.code, report.problems) == (ExitCode.UNDEAD, (problem,))
    assert "2 leases are left" in str(world.named("stop.finished")[0].problem)


class Broken(DropmillError):
    default_code = "DM-Q098"


@pytest.mark.parametrize(
    ("error", "code"), [(RuntimeError("x"), "DM-S012"), (SystemExit(0), "DM-S012"), (Broken("disk gone"), "DM-Q098")]
)
def test_a_verification_that_raises_makes_it_11_and_is_told(error: BaseException, code: str) -> None:
    def verify(report: StopReport) -> list[Problem]:
        raise error

    report, world = stopped(spec("c", obedient), verify=verify)
    assert report.code is ExitCode.UNDEAD
    assert report.problems[0].code == "DM-S010"
    failed = world.named("callback.failed")[0]
    assert failed.problem is not None
    assert failed.problem.code == code


def test_callbacks_that_raise_change_nothing() -> None:
    def bad(*args: object) -> Any:
        raise KeyboardInterrupt

    report, world = stopped(
        spec("a", drains(90), quiesce=bad), kill=bad, in_flight=bad, progress=bad, verify=lambda report: []
    )
    assert (report.code, report.seconds) == (ExitCode.CANCELLED, about(60))
    assert {event.subject for event in world.named("callback.failed")} == {
        "the quiesce callback of a",
        "the kill callback of the stop",
        "the in_flight callback of the stop",
        "the progress callback of the stop",
    }


def test_progress_says_what_is_in_flight_and_how_long_it_may_take() -> None:
    seen: list[StopProgress] = []
    report, world = stopped(
        spec("lane", drains(2.5)),
        spec("pool", drains(90)),
        progress=seen.append,
        in_flight=lambda: {"conversions": 2, "uploads": 0},
    )
    first = seen[0]
    assert (first.phase, first.elapsed, first.left) == (Phase.GRACEFUL, about(0), about(60))
    assert list(first.waiting_for) == ["lane", "pool"]
    assert str(first) == "stopping (graceful): 2 conversions; 60 s at most"
    assert [(p.phase, p.waiting_for) for p in seen if p.elapsed == about(4)] == [(Phase.GRACEFUL, ["pool"])]
    assert len([p for p in seen if p.phase is Phase.GRACEFUL]) >= 60
    assert [p.phase for p in seen[-3:]] == [Phase.FORCE, Phase.VERIFY, Phase.DONE]
    phases = [event.data["phase"] for event in world.named("stop.phase")]
    assert phases == ["graceful", "force", "verify", "done"]
    assert report.as_dict()["exit_code"] == 10


def test_progress_names_children_where_the_agent_names_no_work() -> None:
    seen: list[StopProgress] = []
    stopped(*[spec(f"c{n}", drains(1)) for n in range(7)], progress=seen.append)
    assert str(seen[0]) == "stopping (graceful): c0, c1, c2, c3, c4, ...; 60 s at most"
    assert str(seen[-1]) == "stopping (done): nothing left; 0 s at most"


def test_status_shows_the_stop() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(loop, [spec("c", drains(5))]).start()
        await asyncio.sleep(1)
        world.signal()
        await asyncio.sleep(2)
        stop = world.supervisor.status()["stop"]
        assert (stop["phase"], stop["elapsed"], stop["waiting_for"]) == ("graceful", about(2), ["c"])
        await world.end()
        assert world.supervisor.status()["stop"]["exit_code"] == 0

    run(scene)


def test_the_service_manager_is_told_in_order_and_kept_waiting() -> None:
    _, world = stopped(spec("c", swallows()))
    told = [(when - 1.0, text) for when, text in world.notify.told if when >= 1.0]
    names = [text.split("=")[0] for _, text in told]
    assert names.index("STOPPING") < names.index("EXTEND_TIMEOUT_USEC")
    extended = [when for when, text in told if text == "EXTEND_TIMEOUT_USEC=15000000"]
    assert all(b - a <= 5.1 for a, b in itertools.pairwise(extended))
    assert extended[-1] >= 115
    assert world.notify.messages("STATUS")[-1] == "STATUS=stopped: SIGTERM"
    assert world.notify.messages("STOPPING") == ["STOPPING=1"]


# --- each kind of child ------------------------------------------------------------------------------------------------


def test_one_in_back_off_does_not_come_back() -> None:
    report, world = stopped(spec("c", lives(0), backoff=50.0), after=5)
    assert (report.code, report.seconds) == (ExitCode.CLEAN, about(0))
    assert world.child("c") | {"state": "ended", "restarts": 0, "next_try_in": None} == world.child("c")


def test_one_that_is_given_up_does_not_hold_up_the_stop() -> None:
    report, _ = stopped(spec("c", lives(0), critical=True), after=100)
    assert (report.code, report.seconds) == (ExitCode.CLEAN, about(0))


def test_one_with_nothing_worth_finishing_is_cancelled_at_once_and_that_is_clean() -> None:
    report, _ = stopped(spec("c", deaf, stop="cancel"))
    assert (report.code, report.seconds, report.cancelled) == (ExitCode.CLEAN, about(0), ())


def test_it_is_cancelled_every_second_where_it_clings() -> None:
    report, _ = stopped(spec("c", swallows(3), stop="cancel"))
    assert (report.code, report.graceful, report.cancelled) == (ExitCode.CLEAN, about(3), ())


def test_one_that_goes_last_sees_all_others_end() -> None:
    log: list[str] = []
    report, _ = stopped(
        spec("api", drains(0, log, "api"), stop="last"),
        spec("a", drains(20, log, "a")),
        spec("b", drains(30, log, "b")),
    )
    assert log == ["a", "b", "api"]
    assert (report.code, report.graceful) == (ExitCode.CLEAN, about(30))


def test_one_that_goes_last_and_dawdles_is_cancelled_and_that_is_clean() -> None:
    report, _ = stopped(spec("api", deaf, stop="last"), spec("a", obedient))
    assert (report.code, report.cancelled) == (ExitCode.CLEAN, ())
    assert report.seconds == pytest.approx(2, abs=1.01)


def test_one_that_goes_last_gets_its_turn_within_the_budget() -> None:
    log: list[str] = []
    report, _ = stopped(spec("api", drains(0.5, log, "api"), stop="last"), spec("a", swallows()))
    assert log == ["api"]
    assert (report.undead, report.graceful + report.force) == (("a",), about(120.1))


def test_one_that_goes_last_and_will_not_die() -> None:
    report, _ = stopped(spec("api", swallows(), stop="last"))
    assert (report.code, report.undead, report.graceful + report.force) == (ExitCode.UNDEAD, ("api",), about(120.1))


def test_one_that_fails_while_it_finishes_is_not_clean() -> None:
    async def sour(heart: Heart) -> None:
        await heart.wait_quiesce()
        await asyncio.sleep(1)
        raise RuntimeError("upload lost")

    report, world = stopped(spec("c", sour), spec("d", drains(5)))
    assert (report.code, report.failed, report.graceful) == (ExitCode.CANCELLED, ("c",), about(5))
    assert "upload lost" in world.named("child.failed", "c")[0].data["error"]
    assert world.child("c")["restarts"] == 0


def test_a_stuck_child_at_the_stop_is_cancelled_on() -> None:
    async def stuck(heart: Heart) -> None:
        await swallows(4)(heart)

    report, _ = stopped(spec("c", stuck, heartbeat=3.0), after=4.5)
    assert report.undead == ()
    assert report.seconds < 5


def test_a_temporary_one_may_still_finish() -> None:
    report, _ = stopped(spec("c", returns_after(10), restart="temporary"))
    assert (report.code, report.graceful) == (ExitCode.CLEAN, about(9))


# --- start -------------------------------------------------------------------------------------------------------------


def test_prepare_runs_first_and_may_add_children() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world: World

        async def prepare() -> None:
            await asyncio.sleep(5)
            world.supervisor.add(spec("late", obedient))

        world = World(loop, [spec("early", obedient)], prepare=prepare).start()
        await asyncio.sleep(4)
        assert [child["state"] for child in world.supervisor.status()["children"]] == ["waiting", "running"]
        assert world.supervisor.state is State.STARTING
        await asyncio.sleep(2)
        assert [(event.subject, when) for when, event in world.events if event.name == "child.started"][1:] == [
            ("early", 5.0),
            ("late", 5.0),
        ]
        assert [child["name"] for child in world.supervisor.status()["children"]] == ["early", "late"]
        assert await world.stop() is ExitCode.CLEAN

    run(scene)


def test_a_long_start_keeps_the_service_manager_waiting() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(loop, [spec("a", obedient)], prepare=lambda: asyncio.sleep(600)).start()
        await asyncio.sleep(610)
        extended = [when for when, text in world.notify.told if text.startswith("EXTEND")]
        assert len(extended) >= 119
        assert world.when("agent.ready") == [about(600)]
        await world.stop()

    run(scene)


@pytest.mark.parametrize("error", [ValueError("bad"), SystemExit(4), KeyboardInterrupt()])
def test_a_start_that_fails_is_raised_and_nothing_is_started_or_verified(error: BaseException) -> None:
    verified: list[StopReport] = []

    async def scene(loop: VirtualTimeLoop) -> None:
        async def prepare() -> None:
            await asyncio.sleep(1)
            raise error

        world = World(loop, [spec("a", obedient)], prepare=prepare, verify=lambda report: verified.append(report) or [])
        with pytest.raises(type(error)) as caught:
            await world.supervisor.run(signals=world.signals, prepare=prepare)
        assert caught.value is error
        assert world.supervisor.state is State.STOPPED
        assert world.supervisor.reason.startswith("the start failed")
        assert world.named("child.started", "a") == []
        assert world.notify.messages("READY", "STOPPING") == []

    run(scene)
    assert verified == []


def test_a_start_that_somebody_cancels_is_no_start() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(loop, [spec("a", obedient)], prepare=lambda: asyncio.sleep(100)).start()
        await asyncio.sleep(1)
        next(task for task in asyncio.all_tasks(loop) if task.get_name() == "start").cancel()
        with pytest.raises(asyncio.CancelledError):
            await world.end()
        assert world.supervisor.reason == "the start failed: asyncio.exceptions.CancelledError"
        assert world.named("child.started", "a") == []

    run(scene)


def test_a_signal_during_the_start_ends_it_at_once() -> None:
    report, world = stopped(spec("a", obedient), prepare=lambda: asyncio.sleep(100), after=3)
    assert (report.code, report.seconds) == (ExitCode.CLEAN, about(0))
    assert world.named("child.started", "a") == []
    assert world.notify.messages("READY") == []


def test_a_start_that_will_not_be_ended_has_the_same_deadlines() -> None:
    async def prepare() -> None:
        await swallows()(None)  # type: ignore[arg-type]

    report, _ = stopped(spec("a", obedient), prepare=prepare)
    assert (report.code, report.undead, report.seconds) == (ExitCode.UNDEAD, ("start",), about(120.1))


def test_a_start_that_fails_because_it_is_ended_is_a_stop_like_any_other() -> None:
    async def prepare() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            raise ValueError("half open")

    report, world = stopped(spec("a", obedient), prepare=prepare)
    assert (report.code, report.failed) == (ExitCode.CANCELLED, ("start",))
    assert "half open" in world.named("child.failed", "start")[0].data["error"]


def test_a_signal_before_the_loop_ran() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(loop, [spec("a", obedient)], prepare=lambda: asyncio.sleep(100))
        world.signal()
        await asyncio.sleep(20)
        world.start()
        assert await world.end() is ExitCode.CLEAN
        assert loop.time() == 20
        assert world.named("child.started") == []

    run(scene)


def test_the_clock_began_with_the_signal_not_with_the_loop() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        async def prepare() -> None:
            loop.jump(20)  # as if the loop had been blocked
            await asyncio.sleep(0)

        world = World(loop, [spec("c", swallows())]).start()
        await asyncio.sleep(1)
        world.signal()
        loop.jump(30)
        assert await world.end() is ExitCode.UNDEAD
        assert loop.time() == about(1 + 120 + 0.1)

    run(scene, check_leaks=False)


# --- cancellation ------------------------------------------------------------------------------------------------------


def test_cancelling_the_caller_is_a_stop_and_again_hastens_it() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(loop, [spec("c", drains(30))]).start()
        await asyncio.sleep(1)
        assert world.task is not None
        world.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await world.task
        assert loop.time() == 31
        assert world.supervisor.state is State.STOPPED

    run(scene)

    async def hasty(loop: VirtualTimeLoop) -> None:
        world = World(loop, [spec("c", swallows())]).start()
        assert world.task is not None
        for _ in range(3):
            await asyncio.sleep(1)
            world.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await world.task
        assert loop.time() == about(3.1)

    run(hasty, check_leaks=False)


def test_cancelled_at_every_suspension_point_of_its_caller() -> None:
    fired = 0
    for step in range(1, 100):

        async def scene(loop: VirtualTimeLoop, step: int = step) -> bool:
            world = World(loop, [spec("a", drains(30)), spec("b", fails_times(2))], prepare=lambda: asyncio.sleep(1))
            cut = CancelAt(world.supervisor.run(signals=world.signals, prepare=world.prepare), step)
            task = asyncio.ensure_future(cut)
            await asyncio.sleep(5)
            world.signal()
            if cut.fired:
                with pytest.raises(asyncio.CancelledError):
                    await task
            else:
                assert await task is ExitCode.CLEAN
            assert world.supervisor.state is State.STOPPED
            assert world.supervisor.report is not None
            return cut.fired

        if not run(scene):
            break
        fired += 1
    assert fired >= 1
    assert step < 99


def test_no_cancellation_ends_the_stop_itself() -> None:
    """Somebody cancels every task there is, again and again, through start, run and stop."""
    for at in range(0, 140, 7):

        async def scene(loop: VirtualTimeLoop, at: int = at) -> None:
            verified: list[StopReport] = []
            world = World(
                loop,
                [spec("a", drains(30)), spec("b", swallows(70))],
                verify=lambda report: verified.append(report) or [],
            ).start()
            loop.call_later(10, world.signal)

            def cancel_all() -> None:
                for task in asyncio.all_tasks(loop):
                    if task.get_name() == "supervisor":
                        task.cancel()

            for offset in (0.0, 0.001, 1.0):
                loop.call_later(at + offset, cancel_all)
            await world.end()
            assert world.supervisor.state is State.STOPPED
            assert len(verified) == 1
            assert loop.time() <= 10 + 120.2

        run(scene, check_leaks=False)
