"""The virtual-time loop itself."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest

from dropmill.testing.virtual_time import CancelAt, Deadlock, VirtualClock, VirtualTimeLoop, run


def test_a_year_passes_at_once() -> None:
    async def scene(loop: VirtualTimeLoop) -> float:
        await asyncio.sleep(365 * 86_400)
        return loop.time()

    began = time.monotonic()
    assert run(scene) == 365 * 86_400
    assert time.monotonic() - began < 10


def test_timers_fire_in_the_order_of_their_times_whatever_the_seed() -> None:
    async def scene(loop: VirtualTimeLoop) -> list[int]:
        fired: list[int] = []
        for n in (3, 1, 2):
            loop.call_later(n, fired.append, n)
        await asyncio.sleep(4)
        return fired

    for seed in range(20):
        assert run(scene, seed=seed) == [1, 2, 3]


def order(seed: int | None) -> list[int]:
    async def scene(loop: VirtualTimeLoop) -> list[int]:
        seen: list[int] = []

        async def step(n: int) -> None:
            for _ in range(3):
                seen.append(n)
                await asyncio.sleep(0)

        await asyncio.gather(*(step(n) for n in range(5)))
        return seen

    return run(scene, seed=seed)


def test_a_seed_shuffles_what_is_ready_and_repeats_itself() -> None:
    assert order(None) == [0, 1, 2, 3, 4] * 3
    assert order(7) == order(7)
    assert len({tuple(order(seed)) for seed in range(20)}) > 15
    assert all(sorted(order(seed)) == sorted(order(None)) for seed in range(20))


def test_a_deadlock_is_named() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        await loop.create_future()

    with pytest.raises(Deadlock, match=r"nothing is ready and no timer is set(.|\n)*test_virtual_time.py"):
        run(scene)


def test_time_stands_still_while_a_thread_works() -> None:
    async def scene(loop: VirtualTimeLoop) -> tuple[str, float]:
        slow = asyncio.ensure_future(asyncio.to_thread(lambda: time.sleep(0.2) or "done"))
        await asyncio.sleep(0)
        timer = asyncio.ensure_future(asyncio.sleep(1000))
        await slow
        at = loop.time()
        await timer
        return slow.result(), at

    assert run(scene) == ("done", 0.0)


def test_tasks_left_behind_are_an_error() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        task = loop.create_task(asyncio.sleep(10), name="forgotten")
        assert task
        await asyncio.sleep(1)

    with pytest.raises(AssertionError, match="tasks were left behind: forgotten"):
        run(scene)
    run(scene, check_leaks=False)


def test_what_main_raises_comes_out() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        run(scene)


def test_the_clock_is_the_loops_and_can_be_stepped() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        clock = loop.clock
        assert isinstance(clock, VirtualClock)
        wall, ticks = clock.time(), clock.monotonic()
        await asyncio.sleep(5)
        assert (clock.time() - wall, clock.monotonic() - ticks) == (5, 5)
        clock.step(-3600)
        assert clock.time() == wall + 5 - 3600
        assert clock.monotonic() == ticks + 5

    run(scene)


def test_cancel_at_visits_every_suspension_point() -> None:
    async def work(log: list[int]) -> str:
        for n in range(3):
            await asyncio.sleep(n)
            log.append(n)
        return "done"

    async def scene(loop: VirtualTimeLoop) -> None:
        for step in range(1, 10):
            log: list[int] = []
            cut = CancelAt(work(log), step)
            task = asyncio.ensure_future(cut)
            if step <= 3:
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert log == list(range(step - 1))
            else:
                assert await task == "done"
            assert cut.fired == (step <= 3)
            assert cut.steps == min(step, 3)

    run(scene)


def test_cancel_at_is_like_a_real_cancellation() -> None:
    """What is awaited is cancelled too, `asyncio.timeout` lets it through, and it can be swallowed."""

    async def scene(loop: VirtualTimeLoop) -> None:
        inner = loop.create_task(asyncio.sleep(100))

        async def waits() -> None:
            async with asyncio.timeout(50):
                await inner

        with pytest.raises(asyncio.CancelledError):
            await asyncio.ensure_future(CancelAt(waits(), 1))
        assert inner.cancelled()

        async def swallows() -> str:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(100)
            await asyncio.sleep(1)
            return "still here"

        assert await asyncio.ensure_future(CancelAt(swallows(), 1)) == "still here"
        assert loop.time() == 1

    run(scene)


def test_cancel_at_passes_errors_on() -> None:
    async def work() -> None:
        try:
            await asyncio.wait_for(asyncio.sleep(100), 1)
        except TimeoutError:
            raise ValueError("late") from None

    async def scene(loop: VirtualTimeLoop) -> None:
        with pytest.raises(ValueError, match="late"):
            await asyncio.ensure_future(CancelAt(work(), 99))

    run(scene)


def test_stubborn_leftovers_do_not_hang_the_test() -> None:
    async def stubborn() -> None:
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(1e9)

    async def scene(loop: VirtualTimeLoop) -> None:
        task = loop.create_task(stubborn())
        assert task
        await asyncio.sleep(1)

    run(scene, check_leaks=False)
