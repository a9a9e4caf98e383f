"""The queue's door: what a policy may do, what no policy can break, and when intake may take files in."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from dropmill.api import Decision, Evict, Offer, Pause, QueueView, Reject
from dropmill.config.settings import QueueSettings
from dropmill.foundation.errors import Problem
from dropmill.queue.admission import Admission
from dropmill.queue.errors import QueueFull, TooLarge
from dropmill.queue.judging import Judge, PolicyFault
from dropmill.queue.reader import QueueReader

VIEW = QueueView(
    max_items=10,
    max_bytes=100,
    items=10,
    bytes=50,
    high_items=9,
    low_items=7,
    oldest_age=1.0,
    evictable_items=8,
    evictable_bytes=40,
)


class Policy:
    """Does what it is told."""

    def __init__(self, decide: Callable[[Offer, QueueView], Any], *, stops_intake: bool = True) -> None:
        self._decide = decide
        self.stops_intake = stops_intake
        self.asked: list[tuple[Offer, QueueView]] = []

    def on_full(self, offer: Offer, view: QueueView) -> Decision:
        self.asked.append((offer, view))
        return self._decide(offer, view)


def rejecting() -> Policy:
    return Policy(lambda _offer, _view: Reject("no"))


def oldest_first() -> Policy:
    return Policy(lambda offer, _view: Evict(offer.items, 0), stops_intake=False)


def pausing(below: int | None = None) -> Policy:
    return Policy(lambda _offer, _view: Pause(below))


class Door:
    """A store, an admission in front of it, and what it complained of."""

    def __init__(self, bench: Any, store: Any, policy: Any, **settings: Any) -> None:
        self.bench = bench
        self.store = store
        self.problems: list[Problem] = []
        self.admission = Admission(
            store, policy, QueueSettings(**settings), policy_id="mine", on_problem=self.problems.append
        )

    async def fill(self, count: int) -> None:
        for _ in range(count):
            await self.store.offer([self.bench.report(f"fill{self.bench.clock.time()}")])
            self.bench.clock.advance(0.001)

    async def drain(self, count: int) -> None:
        leases = (await self.store.claim("out", count)).leases
        assert len(leases) == count
        await self.store.acknowledge(leases, [{}] * count)


# --- policies ----------------------------------------------------------------------------------------------------------------


async def test_reject_turns_the_offer_away(bench: Any) -> None:
    policy = rejecting()
    async with bench.store(max_items=2) as store:
        door = Door(bench, store, policy, max_items=100)
        await door.fill(2)
        with pytest.raises(QueueFull, match=r"2 of 2 items.*\(no\)"):
            await door.admission.offer([bench.report("r", b"123", "a", "b")], folder="inbox")
        ((offer, view),) = policy.asked
        assert offer == Offer(2, 6, "inbox")
        assert (view.items, view.max_items, view.evictable_items) == (2, 2, 2)
        assert store.gauges.items == 2
        door.admission.close()


async def test_eviction_makes_room_in_the_same_transaction(bench: Any) -> None:
    async with bench.store(max_items=3) as store:
        door = Door(bench, store, oldest_first(), max_items=3)
        await door.fill(3)
        (held,) = (await store.claim("out", 1)).leases
        await door.admission.offer([bench.report("new1"), bench.report("new2")])
        assert (store.gauges.items, store.gauges.dead) == (3, 2)
        file = bench.file()
        await bench.converting(store, file)
        published = await door.admission.publish(file.id, [bench.report("p")], converter="c 1", folder="inbox")
        assert published.deliveries == 1
        assert (store.gauges.items, store.gauges.dead) == (3, 3)
        assert [one.counted for one in await store.acknowledge([held], [{}])] == [True]
        door.admission.close()


async def test_sixteen_producers_and_a_policy_that_evicts(bench: Any) -> None:
    async with bench.store(max_items=20) as store:
        door = Door(bench, store, oldest_first(), max_items=20)
        most = 0

        async def producer(number: int) -> None:
            nonlocal most
            for turn in range(8):
                await door.admission.offer([bench.report(f"p{number}-{turn}")])
                most = max(most, store.gauges.items)

        await asyncio.gather(*(producer(number) for number in range(16)))
        assert most == store.gauges.items == 20
        assert store.gauges.dead == 16 * 8 - 20
        door.admission.close()


async def test_what_cannot_ever_fit_is_not_asked_about(bench: Any) -> None:
    policy = oldest_first()
    async with bench.store(max_items=3) as store:
        door = Door(bench, store, policy, max_items=3)
        await door.fill(3)
        with pytest.raises(TooLarge):
            await door.admission.offer([bench.report("r", b"", *"abcd")])
        assert (policy.asked, store.gauges.items) == ([], 3)
        door.admission.close()


async def test_a_policy_that_never_makes_enough_room_is_asked_a_few_times(bench: Any) -> None:
    policy = Policy(lambda _offer, _view: Evict(1))
    async with bench.store(max_items=3) as store:
        door = Door(bench, store, policy, max_items=100)
        await door.fill(3)
        with pytest.raises(QueueFull):
            await door.admission.offer([bench.report(f"r{index}") for index in range(3)])
        assert len(policy.asked) == 3
        assert (store.gauges.items, store.gauges.dead) == (3, 0)
        assert not door.problems
        door.admission.close()


async def test_pause_closes_intake_until_it_has_drained(bench: Any) -> None:
    async with bench.store(max_items=10) as store:
        door = Door(bench, store, pausing(3), max_items=1000)
        await door.fill(10)
        assert door.admission.intake_open
        file = bench.file()
        await bench.converting(store, file)
        with pytest.raises(QueueFull):
            await door.admission.publish(file.id, [bench.report("p")], converter="c 1")
        assert "goes on at 3" in door.admission.intake_reason
        await door.drain(6)
        assert not door.admission.intake_open
        with pytest.raises(QueueFull, match="the queue is full"):
            await door.admission.offer([bench.report("x")])
        await door.admission.publish(file.id, [bench.report("p")], converter="c 1")
        await door.drain(2)
        assert door.admission.intake_open
        door.admission.close()


# --- policies that fail ------------------------------------------------------------------------------------------------------


def looping(_offer: Offer, _view: QueueView) -> Decision:
    while True:
        pass


def raising(_offer: Offer, _view: QueueView) -> Decision:
    raise RuntimeError("boom")


def exiting(_offer: Offer, _view: QueueView) -> Decision:
    raise SystemExit(3)


def dawdling(_offer: Offer, _view: QueueView) -> Decision:
    time.sleep(0.6)
    return Reject()


@pytest.mark.parametrize(
    ("decide", "what"),
    [
        (looping, "50 ms"),
        (dawdling, "50 ms"),
        (raising, "RuntimeError: boom"),
        (exiting, "SystemExit"),
        (lambda _o, _v: None, "None"),
        (lambda _o, _v: "evict", "evict"),
        (lambda _o, _v: Evict(-1), "makes no sense"),
        (lambda _o, _v: Evict(0), "makes no sense"),
        (lambda _o, _v: Evict(True), "makes no sense"),
        (lambda _o, _v: Evict(1, -5), "makes no sense"),
        (lambda _o, _v: Pause(-1), "makes no sense"),
        (lambda _o, _v: Pause("low"), "makes no sense"),
    ],
    ids=["loops", "dawdles", "raises", "exits", "None", "text", "-1", "0", "True", "bytes", "below", "below text"],
)
async def test_a_failing_policy_is_replaced_by_pausing(bench: Any, decide: Any, what: str) -> None:
    policy = Policy(decide, stops_intake=False)
    async with bench.store(max_items=4) as store:
        door = Door(bench, store, policy, max_items=4)
        await door.fill(4)
        assert door.admission.intake_open
        for _ in range(2):
            with pytest.raises(QueueFull):
                await door.admission.offer([bench.report("r")])
        assert len(policy.asked) == 1, "it is not asked again"
        (problem,) = door.problems
        assert door.admission.quarantined == problem
        assert problem.code == "DM-Q009"
        assert what in problem.what
        assert not door.admission.intake_open
        assert store.gauges.items == 4, "nothing was lost by it"
        (told,) = bench.told("policy.quarantined")
        assert told["policy"] == "mine"
        assert ("boom" in told["detail"]) == (decide is raising)
        door.admission.close()


async def test_a_looping_policy_is_ended() -> None:
    judge = Judge(Policy(looping), limit=0.02)
    with pytest.raises(PolicyFault):
        await judge.decide(Offer(1, 1), VIEW)
    deadline = time.monotonic() + 10
    while any(thread.name == "queue-policy" for thread in threading.enumerate()):
        assert time.monotonic() < deadline, "the thread still burns the processor"
        await asyncio.sleep(0.01)


async def test_a_stalled_machine_is_not_the_policys_fault() -> None:
    """The event loop itself was away: the policy's time is not up."""
    judge = Judge(Policy(dawdling), limit=0.3)

    async def stall() -> None:
        await asyncio.sleep(0)
        time.sleep(0.7)

    decision, _ = await asyncio.gather(judge.decide(Offer(1, 1), VIEW), stall())
    assert decision == Reject()
    judge.close()


async def test_a_policy_cannot_evict_more_than_may_go() -> None:
    judge = Judge(Policy(lambda _offer, _view: Evict(1000, 1000)))
    assert await judge.decide(Offer(1, 1), VIEW) == Evict(8, 40)
    assert await judge.decide(Offer(1, 1), VIEW) == Evict(8, 40)
    judge.close()
    judge.close()
    assert await judge.decide(Offer(1, 1), VIEW) == Evict(8, 40), "it starts again when it is asked again"
    judge.close()


# --- intake ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [rejecting, pausing])
async def test_intake_stops_high_and_goes_on_low(bench: Any, policy: Callable[[], Policy]) -> None:
    settings: Mapping[str, Any] = {"max_items": 20, "high_water": 0.9, "low_water": 0.5}
    async with bench.store(**settings) as store:
        door = Door(bench, store, policy(), **settings)
        await door.fill(17)
        assert door.admission.intake_open
        await door.fill(1)
        assert door.admission.intake_reason == "the queue is full: 18 items wait, intake goes on at 10"
        await door.drain(7)
        assert not door.admission.intake_open
        await door.drain(1)
        assert door.admission.intake_open
        door.admission.close()


async def test_intake_goes_on_where_the_policy_evicts(bench: Any) -> None:
    async with bench.store(max_items=4) as store:
        door = Door(bench, store, oldest_first(), max_items=4)
        await door.fill(4)
        assert door.admission.intake_open
        bench.free = 1000
        bench.clock.advance(2)
        await store.view()
        assert "short of space" in door.admission.intake_reason
        door.admission.close()


async def test_bytes_close_intake_as_well(bench: Any) -> None:
    settings: Mapping[str, Any] = {"max_bytes": 1000, "high_water": 0.9, "low_water": 0.5}
    async with bench.store(**settings) as store:
        door = Door(bench, store, rejecting(), **settings)
        await store.offer([bench.report("a", b"x" * 400)])
        await store.offer([bench.report("b", b"x" * 500)])
        assert not door.admission.intake_open
        await door.drain(1)
        assert door.admission.intake_open
        door.admission.close()


async def test_too_many_claimed_files_close_intake(bench: Any) -> None:
    async with bench.store() as store:
        door = Door(bench, store, oldest_first(), max_claimed=2)
        await bench.converting(store, bench.file("a"))
        file = bench.file("b")
        await store.add_files([file])
        assert "2 files wait for conversion" in door.admission.intake_reason
        await store.remove_files([file.id], "gone")
        assert door.admission.intake_open
        door.admission.close()


async def test_too_many_dead_letters_close_intake(bench: Any) -> None:
    async with bench.store(max_dead=1) as store:
        door = Door(bench, store, rejecting(), max_dead=1)
        await door.fill(1)
        (lease,) = (await store.claim("out", 1)).leases
        await store.fail(lease, error={}, delay=None, permanent=True)
        assert "1 dead letters" in door.admission.intake_reason
        seen = store.wakeups.count("capacity")
        await store.drop([lease.id], reason="x")
        assert await store.wakeups.wait("capacity", seen, 5)
        assert door.admission.intake_open
        door.admission.close()


async def test_what_intake_waits_for_is_on_record(bench: Any) -> None:
    async with bench.store(max_items=2) as store:
        door = Door(bench, store, rejecting(), max_items=2)
        watching = asyncio.ensure_future(door.admission.watch())
        reader = QueueReader(bench.state)
        await door.fill(2)
        while "intake" not in await store.flags():
            await asyncio.sleep(0.01)
        assert "goes on at 1" in reader.status()["flags"]["intake"]["reason"]
        await door.drain(1)
        while "intake" in await store.flags():
            await asyncio.sleep(0.01)
        assert bench.told("flag.set")
        assert bench.told("flag.cleared")
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        reader.close()
    await door.admission.show()
    door.admission.close()


async def test_an_unwritable_store_closes_intake(bench: Any) -> None:
    bench.failpoints = "queue.group.prepared=error:EIO@1,queue.open=error:EIO@2+"
    async with bench.store() as store:
        door = Door(bench, store, oldest_first())
        await asyncio.gather(store.set_lane("a", max_attempts=1), return_exceptions=True)
        assert door.admission.intake_reason == "the queue cannot be written"
        door.admission.close()
