"""Order of start, rest for one, and children that come and go while the agent runs."""

from __future__ import annotations

import asyncio

import pytest

from dropmill.supervision.exits import ExitCode
from dropmill.supervision.family import in_order
from dropmill.supervision.spec import Heart, State, SupervisionError
from dropmill.testing.virtual_time import VirtualTimeLoop, run
from support.children import World, deaf, drains, fails_times, lives, obedient, returns_after, spec, swallows


def beats_after(seconds: float, then_lives: float = 1e9):
    async def child(heart: Heart) -> None:
        await asyncio.sleep(seconds)
        heart.beat()
        if not await heart.sleep(then_lives):
            return
        raise RuntimeError("boom")

    return child


def test_children_start_after_what_they_depend_on() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(
            loop,
            [
                spec("c", obedient, depends=("a", "b")),
                spec("b", obedient, depends=("a",)),
                spec("a", obedient),
                spec("d", obedient),
            ],
        ).start()
        await asyncio.sleep(1)
        order = [event.subject for event in world.named("child.started")]
        assert sorted(order) == ["a", "b", "c", "d"]
        assert order.index("a") < order.index("b") < order.index("c")
        await world.stop()

    run(scene)


def test_one_that_is_up_at_its_first_beat_holds_its_dependents_and_the_start() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(
            loop, [spec("pool", beats_after(5), up="beat"), spec("user", obedient, depends=("pool",))]
        ).start()
        await asyncio.sleep(4)
        assert world.child("user") | {"state": "waiting", "reason": "for pool"} == world.child("user")
        assert world.supervisor.state is State.STARTING
        await asyncio.sleep(2)
        assert world.when("child.started", "user") == [5.0]
        assert world.when("agent.ready") == [5.0]
        await world.stop()

    run(scene)


def test_rest_for_one() -> None:
    """When one fails, those that depend on it, near or far, end and start again after it; the others never notice."""

    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(
            loop,
            [
                spec("a", fails_times(1, after=10.0)),
                spec("b", deaf, depends=("a",)),
                spec("c", deaf, depends=("b",)),
                spec("d", deaf),
            ],
        ).start()
        await asyncio.sleep(10.5)
        assert [world.child(name)["state"] for name in "abcd"] == ["backoff", "waiting", "waiting", "running"]
        assert world.supervisor.state is State.DEGRADED
        await asyncio.sleep(10)
        assert [world.child(name)["state"] for name in "abcd"] == ["running"] * 4
        assert [world.child(name)["restarts"] for name in "abcd"] == [1, 1, 1, 0]
        assert [world.child(name)["failures"] for name in "abcd"] == [1, 0, 0, 0]
        again = [(event.subject, when) for when, event in world.events if event.name == "child.started" and when > 0]
        assert again == [("a", 11.0), ("b", 11.0), ("c", 11.0)]
        await world.stop()

    run(scene)


def test_a_dependent_that_clings_to_life_starts_again_once_it_is_gone() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(loop, [spec("a", fails_times(1, after=10.0)), spec("b", swallows(3), depends=("a",))]).start()
        await asyncio.sleep(12)
        assert world.child("a")["state"] == "running"
        assert world.child("b")["state"] == "ending"
        assert "a, which it depends on, has failed" in world.child("b")["reason"]
        await asyncio.sleep(5)
        assert world.child("b") | {"state": "running", "restarts": 1} == world.child("b")
        assert await world.stop() is ExitCode.CANCELLED

    run(scene)


def test_what_a_dependent_raises_while_it_is_ended_is_told_and_not_counted() -> None:
    async def clumsy(heart: Heart) -> None:
        try:
            await heart.wait_quiesce()
        except asyncio.CancelledError:
            raise RuntimeError("clean-up failed") from None

    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(loop, [spec("a", fails_times(1, after=10.0)), spec("b", clumsy, depends=("a",))]).start()
        await asyncio.sleep(20)
        assert world.child("b") | {"state": "running", "failures": 0, "restarts": 1} == world.child("b")
        assert "clean-up failed" in world.named("child.failed", "b")[0].data["error"]
        await world.stop()

    run(scene)


def test_dependents_wait_while_the_breaker_is_open_and_do_not_hold_up_the_start() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(
            loop,
            [
                spec("a", fails_times(4), critical=True, up="beat"),
                spec("b", obedient, depends=("a",)),
                spec("c", obedient, depends=("b",)),
            ],
        ).start()
        await world.until_state(State.ERROR)
        assert world.when("agent.ready") == [0.0]
        assert [world.child(name)["state"] for name in "abc"] == ["open", "waiting", "waiting"]
        assert "b: waits for a" in world.supervisor.reason
        assert not world.supervisor.resume("b"), "it waits for another"
        world.supervisor.resume("a")
        await asyncio.sleep(1)
        assert [world.child(name)["state"] for name in "abc"] == ["running"] * 3
        await world.stop()

    run(scene)


def test_a_dependent_in_back_off_waits_when_its_turn_comes() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(
            loop,
            [
                spec("a", fails_times(1, after=10.0), backoff=30.0),
                spec("b", fails_times(1, after=9.5), depends=("a",), backoff=2.0),
            ],
        ).start()
        await asyncio.sleep(20)
        assert world.child("b")["state"] == "waiting"
        await asyncio.sleep(25)
        assert [world.child(name)["state"] for name in "ab"] == ["running"] * 2
        await world.stop()

    run(scene)


def test_a_finished_dependency_is_as_good_as_up() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(
            loop,
            [
                spec("migrate", returns_after(3), restart="transient", up="beat"),
                spec("serve", obedient, depends=("migrate",)),
            ],
        ).start()
        await asyncio.sleep(5)
        assert world.when("child.started", "serve") == [3.0]
        await world.stop()

    run(scene)


def test_circles_doubles_and_strangers_are_refused() -> None:
    with pytest.raises(SupervisionError, match=r"in a circle: (a -> b -> a|b -> a -> b)"):
        in_order([spec("a", obedient, depends=("b",)), spec("b", obedient, depends=("a",))])
    with pytest.raises(SupervisionError, match="two children have this name"):
        in_order([spec("a", obedient), spec("a", obedient)])

    async def scene(loop: VirtualTimeLoop) -> None:
        with pytest.raises(SupervisionError, match="depends on x, which does not exist"):
            World(loop, [spec("a", obedient, depends=("x",))])

    run(scene)


def test_children_are_added_while_it_runs() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(loop, [spec("a", obedient)]).start()
        await asyncio.sleep(10)
        world.supervisor.add(spec("b", obedient, depends=("a",)))
        assert world.child("b")["state"] == "running"
        assert "b" in world.supervisor
        with pytest.raises(SupervisionError, match="the name is taken"):
            world.supervisor.add(spec("a", obedient))
        assert await world.stop() is ExitCode.CLEAN
        with pytest.raises(SupervisionError, match="stopping"):
            world.supervisor.add(spec("c", obedient))

    run(scene)


def test_a_removed_child_drains_first() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        told: list[float] = []
        world = World(
            loop, [spec("a", drains(7), quiesce=lambda: told.append(loop.time())), spec("b", obedient)]
        ).start()
        await asyncio.sleep(10)
        await world.supervisor.remove("a")
        assert loop.time() == 17
        assert told == [10]
        assert "a" not in world.supervisor
        assert world.supervisor.state is State.RUNNING
        assert world.named("child.failed") == []
        assert await world.stop() is ExitCode.CLEAN

    run(scene)


def test_a_removed_child_is_cancelled_after_its_grace() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(loop, [spec("a", deaf)]).start()
        await asyncio.sleep(10)
        await world.supervisor.remove("a", grace=5)
        assert loop.time() == 15
        await world.stop()

    run(scene)


def test_removing_one_that_will_not_end_says_so() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(loop, [spec("a", swallows())]).start()
        await asyncio.sleep(10)
        with pytest.raises(SupervisionError, match="a was told to end 10 s ago") as caught:
            await world.supervisor.remove("a", grace=5)
        assert caught.value.code == "DM-S005"
        assert world.supervisor.state is State.DEGRADED
        assert await world.stop() is ExitCode.UNDEAD

    run(scene, check_leaks=False)


def test_a_removal_goes_on_when_its_caller_is_cancelled() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(loop, [spec("a", drains(7))]).start()
        await asyncio.sleep(10)
        caller = loop.create_task(world.supervisor.remove("a"))
        await asyncio.sleep(1)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        await world.supervisor.remove("a")
        assert loop.time() == 17
        await world.stop()

    run(scene)


@pytest.mark.parametrize("state", ["backoff", "open"])
def test_a_removed_child_that_does_not_run_is_gone_at_once(state: str) -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(loop, [spec("a", lives(0))]).start()
        await world.until(lambda: world.child("a")["state"] == state)
        await world.supervisor.remove("a")
        assert world.supervisor.status()["children"] == []
        await asyncio.sleep(1000)
        assert world.supervisor.state is State.RUNNING
        await world.stop()

    run(scene)


def test_what_others_depend_on_cannot_be_removed() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(loop, [spec("a", obedient), spec("b", obedient, depends=("a",))]).start()
        await asyncio.sleep(1)
        with pytest.raises(SupervisionError, match="b depend on it"):
            await world.supervisor.remove("a")
        with pytest.raises(SupervisionError, match="there is no child"):
            await world.supervisor.remove("x")
        await world.stop()

    run(scene)


def test_one_that_fails_while_it_is_removed_is_told_and_gone() -> None:
    async def sour(heart: Heart) -> None:
        await heart.wait_quiesce()
        raise RuntimeError("not like this")

    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(loop, [spec("a", sour)]).start()
        await asyncio.sleep(1)
        await world.supervisor.remove("a")
        assert "not like this" in world.named("child.failed", "a")[0].data["error"]
        assert await world.stop() is ExitCode.CLEAN

    run(scene)


def test_a_stop_in_the_middle_of_a_removal() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        world = World(loop, [spec("a", drains(7))]).start()
        await asyncio.sleep(10)
        removal = loop.create_task(world.supervisor.remove("a"))
        await asyncio.sleep(1)
        assert await world.stop() is ExitCode.CLEAN
        await removal
        assert loop.time() == 17

    run(scene)
