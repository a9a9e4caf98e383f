"""A crew never exceeds its limit, never lets a job outlive it, never loses an error."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest

from dropmill.supervision.crew import Crew
from dropmill.testing.virtual_time import CancelAt, VirtualTimeLoop, run


async def nap(seconds: float, log: list[float] | None = None) -> None:
    await asyncio.sleep(seconds)
    if log is not None:
        log.append(seconds)


async def bad(after: float = 0.0, error: BaseException | None = None) -> None:
    await asyncio.sleep(after)
    raise error or ValueError("bad job")


def test_never_more_than_its_limit() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        log: list[float] = []
        async with Crew("c", 3) as crew:
            for _ in range(9):
                await crew.start(nap(2, log))
                assert len(crew) <= 3
                assert crew.free == 3 - len(crew)
        assert loop.time() == 6
        assert len(log) == 9
        assert len(crew) == 0

    run(scene)


def test_a_crew_of_none_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one place"):
        Crew("c", 0)


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(2), KeyboardInterrupt()])
def test_an_error_comes_out_of_the_block_once_the_others_have_finished(error: BaseException) -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        log: list[float] = []
        with pytest.raises(type(error)) as caught:
            async with Crew("c", 3) as crew:
                await crew.start(bad(1, error))
                await crew.start(nap(5, log))
        assert caught.value is error
        assert log == [5]

    run(scene)


def test_an_error_comes_out_of_the_next_start_and_that_job_is_not_begun() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        log: list[float] = []
        crew = Crew("c", 3)
        with pytest.raises(ValueError, match="bad job"):
            async with crew:
                await crew.start(bad())
                await asyncio.sleep(1)
                await crew.start(nap(5, log))
        assert log == []

    run(scene)


def test_an_error_ends_a_wait_for_a_place() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        with pytest.raises(ValueError, match="bad job"):
            async with Crew("c", 2) as crew:
                await crew.start(bad(3))
                await crew.start(nap(10))
                await crew.wait_free()
        assert loop.time() == 3, "leaving by the error cancels the other job"

    run(scene)


def test_drain_waits_for_all_and_raises() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        async with Crew("c", 2) as crew:
            await crew.start(bad(1))
            await crew.start(nap(4))
            with pytest.raises(ValueError, match="bad job"):
                await crew.drain()
            assert loop.time() == 4
            await crew.start(nap(1))
        assert loop.time() == 5, "it can be used on"

    run(scene)


def test_leaving_by_an_exception_cancels() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        log: list[float] = []
        with pytest.raises(KeyError):
            async with Crew("c", 2) as crew:
                await crew.start(nap(100, log))
                raise KeyError("mine")
        assert (log, loop.time()) == ([], 0)

    run(scene)


def test_an_error_of_a_job_that_is_cancelled_is_noted_on_the_exception() -> None:
    async def sour() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            raise ValueError("while cleaning up")

    async def scene(loop: VirtualTimeLoop) -> None:
        with pytest.raises(KeyError) as caught:
            async with Crew("lane", 2) as crew:
                await crew.start(sour())
                await asyncio.sleep(1)
                raise KeyError("mine")
        assert caught.value.__notes__ == ["a job of the crew 'lane' raised as well: ValueError('while cleaning up')"]

    run(scene)


def test_a_job_that_swallows_is_cancelled_again() -> None:
    async def clings() -> None:
        for _ in range(3):
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                pass

    async def scene(loop: VirtualTimeLoop) -> None:
        with pytest.raises(KeyError):
            async with Crew("c", 2) as crew:
                await crew.start(clings())
                await asyncio.sleep(1)
                raise KeyError("mine")
        assert loop.time() == 3

    run(scene)


def test_a_cancellation_that_nobody_asked_for_is_an_error() -> None:
    async def scene(loop: VirtualTimeLoop) -> None:
        gone: asyncio.Future[None] = loop.create_future()

        async def waits() -> None:
            await gone

        with pytest.raises(RuntimeError, match="something that a job waited for was cancelled") as caught:
            async with Crew("c", 2) as crew:
                await crew.start(waits())
                await asyncio.sleep(1)
                gone.cancel()
        assert isinstance(caught.value.__cause__, asyncio.CancelledError)

    run(scene)


@pytest.mark.filterwarnings("error")
def test_a_job_that_never_began_is_closed() -> None:
    """Cancelled before its first step, a coroutine would otherwise warn that it was never awaited."""

    async def scene(loop: VirtualTimeLoop) -> None:
        with pytest.raises(KeyError):
            async with Crew("c", 2) as crew:
                await crew.start(nap(1))
                raise KeyError("at once")

    run(scene)


@pytest.mark.parametrize("seed", range(5))
def test_cancelled_at_every_point_it_leaves_no_job_behind(seed: int) -> None:
    fired = 0
    for step in range(1, 200):

        async def scene(loop: VirtualTimeLoop, step: int = step) -> bool:
            random = Random(seed)
            alive = [0]

            async def job(seconds: float) -> None:
                alive[0] += 1
                try:
                    await asyncio.sleep(seconds)
                    await asyncio.sleep(0)
                finally:
                    try:
                        await asyncio.sleep(0.1)
                    finally:
                        alive[0] -= 1

            async def work() -> None:
                async with Crew("c", 2) as crew:
                    for _ in range(6):
                        await crew.start(job(random.uniform(0, 3)))
                    await crew.wait_free()

            cut = CancelAt(work(), step)
            try:
                await asyncio.ensure_future(cut)
                assert not cut.fired
            except asyncio.CancelledError:
                assert cut.fired
            assert alive == [0]
            return cut.fired

        if not run(scene, seed=seed):
            break
        fired += 1
    assert 3 < fired < 199


def test_cancelled_again_while_it_cancels() -> None:
    async def slow_end() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.shield(asyncio.sleep(0.5))

    async def scene(loop: VirtualTimeLoop) -> None:
        ended: list[Any] = []

        async def work() -> None:
            try:
                async with Crew("c", 2) as crew:
                    await crew.start(slow_end())
                    await asyncio.sleep(1000)
            finally:
                ended.append(len(crew))

        task = loop.create_task(work())
        for _ in range(5):
            await asyncio.sleep(0.1)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended == [0]

    run(scene, check_leaks=False)
