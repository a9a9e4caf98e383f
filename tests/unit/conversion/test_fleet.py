"""Which worker does what, on a clock that stands still and with workers that say what the test has them say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from dropmill.conversion import fleet as fleets
from dropmill.conversion.errors import PoolClosed, WorkersUnavailable
from dropmill.conversion.fleet import Fleet
from dropmill.conversion.handle import WorkerHandle
from dropmill.conversion.launch import Launched
from dropmill.conversion.ticket import Answer, Death, Ticket
from dropmill.foundation.clock import ManualClock
from support.puppets import Puppet, ticket, until


class Stage:
    """A fleet of puppets, in the order in which they were started."""

    def __init__(self, scratch: Path, **settings: Any) -> None:
        self._scratch = scratch
        self.clock = ManualClock()
        self.puppets: list[Puppet] = []
        self.greeted: list[int] = []
        self.reaped: list[int] = []
        self.failing: OSError | None = None
        self.fleet = Fleet(
            **{"running": 2, "recycle_after": 100, "memory": 10**12, "spare": False, **settings},
            start=self._start,
            greeted=lambda worker: self.greeted.append(worker.number),
            reaped=lambda worker: self.reaped.append(worker.number),
            clock=self.clock,
            loop=asyncio.get_running_loop(),
        )

    def _start(self) -> Launched:
        if self.failing is not None:
            raise self.failing
        puppet = Puppet(len(self.puppets) + 1, self._scratch)
        self.puppets.append(puppet)
        return puppet.launched

    def submit(self, count: int = 1, group: str = "acme", **more: Any) -> list[Ticket]:
        made = [ticket(group, **more) for _ in range(count)]
        for one in made:
            one.submitted = self.clock.monotonic()
            self.fleet.submit(one)
        return made

    def handle(self, number: int) -> WorkerHandle:
        (found,) = [worker for worker in self.fleet.workers if worker.number == number]
        return found

    async def hello(self, *numbers: int, resident: int = 10**12) -> None:
        for number in numbers:
            self.puppets[number - 1].hello(resident)
            await until(lambda number=number: self.handle(number).started)

    async def got(self, number: int, calls: Sequence[int]) -> None:
        await until(lambda: self.puppets[number - 1].read() == list(calls))

    async def done(self, *tickets: Ticket) -> list[Answer | Death]:
        async with asyncio.timeout(10):
            return [await one.future for one in tickets]

    async def learn(self, wall: float = 0.001) -> None:
        """Let the fleet know how long a call takes."""
        (one,) = self.submit()
        number = len(self.puppets)
        await self.hello(number)
        await until(lambda: self.puppets[number - 1].read())
        self.puppets[number - 1].answer(1, wall=wall)
        await self.done(one)

    def tick(self, seconds: float = 0.0) -> None:
        self.clock.advance(seconds)
        self.fleet._tick()


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Callable[..., Stage]]:
    stages: list[Stage] = []

    def make_stage(**settings: Any) -> Stage:
        stages.append(Stage(tmp_path, **settings))
        return stages[-1]

    yield make_stage
    for stage in stages:
        await stage.fleet.close(0.0)
        assert stage.fleet.workers == []
        assert sorted(stage.reaped) == [puppet.launched.number for puppet in stage.puppets]
        for puppet in stage.puppets:
            puppet.close()


async def test_a_first_call_starts_a_worker_and_may_be_sent_at_once(make: Callable[..., Stage]) -> None:
    stage = make()
    (one,) = stage.submit()
    await stage.got(1, [1])
    assert stage.handle(1).group == "acme"
    assert stage.fleet.busy
    await stage.hello(1)
    stage.puppets[0].answer(1, result="x")
    (answer,) = await stage.done(one)
    assert isinstance(answer, Answer)
    assert not stage.fleet.busy


async def test_calls_of_unknown_length_go_to_workers_of_their_own(make: Callable[..., Stage]) -> None:
    stage = make()
    stage.submit(3)
    await stage.got(1, [1])
    await stage.got(2, [1])
    assert len(stage.puppets) == 2
    assert stage.fleet.pending == 1


@pytest.mark.parametrize(("wall", "ahead"), [(0.0001, 8), (0.004, 5), (0.009, 2), (0.5, 1)])
async def test_short_calls_are_sent_ahead(make: Callable[..., Stage], wall: float, ahead: int) -> None:
    stage = make(running=1)
    await stage.learn(wall)
    stage.submit(20)
    await stage.got(1, range(1, ahead + 2))
    assert stage.fleet.pending == 20 - ahead
    assert len(stage.puppets) == 1


async def test_another_worker_is_started_only_when_the_first_has_its_fill(make: Callable[..., Stage]) -> None:
    stage = make()
    await stage.learn()
    stage.submit(8)
    await stage.got(1, range(1, 10))
    assert len(stage.puppets) == 1
    stage.submit(1)
    await until(lambda: len(stage.puppets) == 2)
    await stage.got(2, [1])


async def test_what_waits_behind_a_long_call_is_taken_back(make: Callable[..., Stage]) -> None:
    stage = make()
    await stage.learn()
    tickets = stage.submit(4)
    await stage.got(1, range(1, 6))
    stage.puppets[0].page.begin(2)
    stage.tick()
    assert len(stage.puppets) == 1
    stage.tick(0.15)
    await until(lambda: len(stage.puppets) == 2)
    await stage.got(2, [1, 2, 3])
    assert stage.handle(1).calls == {2: tickets[0]}
    more = stage.submit(1)
    await stage.got(2, [1, 2, 3, 4])
    stage.puppets[0].page.end()
    stage.puppets[0].answer(2)
    await stage.done(tickets[0])
    assert not more[0].future.done()


async def test_running_workers_are_bounded_and_groups_take_turns(make: Callable[..., Stage]) -> None:
    stage = make(running=1)
    await stage.learn()
    busy = stage.submit(10)
    await stage.got(1, range(1, 10))
    (other,) = stage.submit(group="elsewhere")
    stage.tick(0.1)
    assert not stage.handle(1).yielding
    stage.tick(0.2)
    assert stage.handle(1).yielding
    first = stage.handle(1)
    assert list(first.calls.values()) == busy[:1], "the others were taken back, the first may have begun"
    stage.puppets[0].answer(2)
    await until(lambda: len(stage.puppets) == 2)
    await stage.got(2, [1])
    assert stage.handle(2).group == "elsewhere"
    stage.puppets[1].answer(1)
    await stage.done(other)
    await until(lambda: len(first.calls) == 8)
    assert not first.yielding


async def test_a_worker_that_is_yielding_is_enough(make: Callable[..., Stage]) -> None:
    stage = make()
    stage.submit(2)
    await stage.hello(1, 2)
    stage.submit(group="b")
    stage.submit(group="c")
    stage.tick(0.3)
    stage.tick(0.3)
    assert [worker.yielding for worker in stage.fleet.workers] == [True, False]


async def test_idle_workers_of_others_make_room(make: Callable[..., Stage]) -> None:
    stage = make(running=1)
    for number, group in enumerate("abc", start=1):
        (one,) = stage.submit(group=group)
        await stage.hello(number)
        await stage.got(number, [1])
        stage.puppets[number - 1].answer(1)
        await stage.done(one)
        stage.clock.advance(1.0)
    assert len(stage.fleet.workers) == 3
    stage.submit(group="d")
    await until(lambda: stage.puppets[0].told_to_quit)
    assert stage.handle(1).worn == "retired"
    await stage.got(4, [1])


async def test_no_room_means_waiting(make: Callable[..., Stage]) -> None:
    stage = make(running=1)
    for group in "abc":
        stage.submit(group=group)
    assert len(stage.puppets) == 1
    assert stage.fleet.pending == 2


async def test_a_spare_stands_ready(make: Callable[..., Stage]) -> None:
    stage = make(spare=True)
    stage.fleet.warm_up()
    await until(lambda: len(stage.puppets) == 1)
    await stage.hello(1)
    stage.submit()
    await stage.got(1, [1])
    await until(lambda: len(stage.puppets) == 2)
    assert stage.handle(2).group is None


async def test_a_spare_that_dies_is_replaced(make: Callable[..., Stage]) -> None:
    stage = make(spare=True)
    stage.fleet.warm_up()
    await until(lambda: len(stage.puppets) == 1)
    await stage.hello(1)
    stage.puppets[0].die()
    await until(lambda: len(stage.puppets) == 2)


async def test_a_worker_is_replaced_after_its_share(make: Callable[..., Stage]) -> None:
    stage = make(running=1, recycle_after=3)
    await stage.learn()
    tickets = stage.submit(5)
    await stage.got(1, range(1, 7))
    for number in (2, 3):
        stage.puppets[0].answer(number)
    await stage.done(*tickets[:2])
    assert stage.handle(1).worn == "3 conversions"
    assert list(stage.handle(1).calls.values()) == [tickets[2]], "it may have begun this one"
    stage.puppets[0].answer(4)
    await stage.done(tickets[2])
    await until(lambda: stage.puppets[0].told_to_quit)
    await until(lambda: len(stage.puppets) == 2)
    await stage.got(2, [1, 2])
    stage.puppets[0].die()
    await until(lambda: stage.reaped == [1])


async def test_a_worn_worker_is_told_to_go(make: Callable[..., Stage]) -> None:
    stage = make()
    (one,) = stage.submit()
    await stage.hello(1)
    await stage.got(1, [1])
    stage.puppets[0].answer(1, worn="threads left over")
    await stage.done(one)
    await until(lambda: stage.puppets[0].told_to_quit)
    stage.tick(1.5)
    await until(lambda: stage.reaped == [1])


async def test_idle_workers_go_in_the_end(make: Callable[..., Stage]) -> None:
    stage = make()
    await stage.learn()
    stage.tick(59.0)
    assert not stage.puppets[0].told_to_quit
    stage.tick(2.0)
    await until(lambda: stage.puppets[0].told_to_quit)


async def test_time_limits(make: Callable[..., Stage]) -> None:
    stage = make()
    (one,) = stage.submit(converter="faulty")
    await stage.hello(1)
    await stage.got(1, [1])
    stage.puppets[0].page.begin(1)
    stage.tick()
    for _ in range(3):
        stage.puppets[0].page.advance(1)
        stage.tick(0.9)
    assert not stage.handle(1).dying
    stage.tick(1.0)
    (death,) = await stage.done(one)
    assert isinstance(death, Death)
    assert (death.kind, death.message) == ("timeout", "it made no progress for 1 s")
    assert death.wall == pytest.approx(3.7)


async def test_memory_is_watched(make: Callable[..., Stage]) -> None:
    stage = make(memory=100_000)
    (one,) = stage.submit()
    await stage.hello(1, resident=0)
    await stage.got(1, [1])
    stage.puppets[0].page.begin(1)
    stage.tick()
    (death,) = await stage.done(one)
    assert isinstance(death, Death)
    assert death.kind == "oom"


async def test_a_worker_that_stalls_between_calls_is_ended(make: Callable[..., Stage]) -> None:
    stage = make(running=1)
    (one,) = stage.submit()
    await stage.hello(1)
    await stage.got(1, [1])
    stage.tick(9.0)
    assert not stage.handle(1).dying
    stage.tick(2.0)
    await until(lambda: len(stage.puppets) == 2)
    assert one.returned == 1


async def test_a_call_before_which_workers_keep_dying_is_given_up(make: Callable[..., Stage]) -> None:
    stage = make(running=1)
    (one,) = stage.submit()
    for number in (1, 2, 3):
        await until(lambda number=number: len(stage.puppets) == number)
        await stage.hello(number)
        await stage.got(number, [1])
        stage.puppets[number - 1].die()
    (death,) = await stage.done(one)
    assert isinstance(death, Death)
    assert death.message == "3 worker processes ended before they began this file"


async def test_cancelling_what_waits_and_what_runs(make: Callable[..., Stage]) -> None:
    stage = make(running=1)
    one, two = stage.submit(2)
    await stage.hello(1)
    await stage.got(1, [1])
    stage.fleet.cancel(two)
    assert stage.fleet.pending == 0
    stage.puppets[0].page.begin(1)
    stage.fleet.cancel(one)
    assert stage.puppets[0].page.cancelled(1)
    stage.tick(0.9)
    assert not stage.handle(1).dying
    stage.tick(0.2)
    assert stage.handle(1).dying
    await until(lambda: stage.reaped == [1])


async def test_starts_that_fail(make: Callable[..., Stage]) -> None:
    stage = make()
    stage.failing = OSError(12, "Cannot allocate memory")
    (one,) = stage.submit()
    for seconds in (0.1, 0.2, 0.5):
        assert not one.future.done()
        stage.tick(seconds)
    with pytest.raises(
        WorkersUnavailable, match="3 worker processes in a row did not start; the last one said: Cannot allocate"
    ):
        await one.future
    (at_once,) = stage.submit()
    with pytest.raises(WorkersUnavailable):
        await at_once.future
    stage.clock.advance(60.0)
    stage.failing = OSError(2, "No such file", "python")
    (two,) = stage.submit()
    with pytest.raises(WorkersUnavailable, match="No such file \\(python\\)"):
        await two.future
    stage.clock.advance(60.0)
    stage.failing = None
    (three,) = stage.submit()
    await stage.hello(1)
    await stage.got(1, [1])
    stage.puppets[0].answer(1)
    await stage.done(three)
    assert stage.fleet._failed_starts == 0


async def test_a_worker_that_is_never_ready(make: Callable[..., Stage]) -> None:
    stage = make()
    (one,) = stage.submit()
    stage.tick(29.0)
    assert not stage.handle(1).dying
    stage.tick(2.0)
    await until(lambda: stage.reaped == [1])
    assert one.returned == 0
    stage.tick(1.0)
    await until(lambda: len(stage.puppets) == 2)


async def test_closing(make: Callable[..., Stage]) -> None:
    stage = make(running=1)
    one, two = stage.submit(2)
    await stage.hello(1)
    await stage.got(1, [1])
    stage.puppets[0].page.begin(1)
    await stage.fleet.close(0.05)
    with pytest.raises(PoolClosed):
        await two.future
    (death,) = await stage.done(one)
    assert isinstance(death, Death)
    assert death.kind == "cancelled"
    (late,) = stage.submit()
    with pytest.raises(PoolClosed):
        await late.future
    stage.fleet.warm_up()
    assert len(stage.puppets) == 1


async def test_what_a_closing_worker_had_not_begun_goes_back(make: Callable[..., Stage]) -> None:
    stage = make()
    await stage.learn()
    tickets = stage.submit(3)
    await stage.got(1, [1, 2, 3, 4])
    await stage.fleet.close(0.0)
    for one in tickets:
        with pytest.raises(PoolClosed):
            await one.future


async def test_the_clock_is_looked_at_often_only_while_there_is_work(make: Callable[..., Stage]) -> None:
    stage = make()
    loop = asyncio.get_running_loop()

    def delay() -> float:
        assert stage.fleet._timer is not None
        return stage.fleet._timer.when() - loop.time()

    assert stage.fleet._timer is None
    (one,) = stage.submit()
    assert delay() <= fleets._TICK
    await stage.hello(1)
    await stage.got(1, [1])
    stage.puppets[0].answer(1)
    await stage.done(one)
    stage.tick()
    assert delay() > 5
    stage.submit()
    assert delay() <= fleets._TICK
