"""Limits, exact whoever offers, and what is made to go when a policy says so."""

from __future__ import annotations

import asyncio

import pytest

from dropmill.api import Evict
from dropmill.queue.errors import QueueFull, TooLarge
from dropmill.testing.store_suite.bench import Bench, StoreFactory, deliver, dispose, keys_of, scenario

__all__ = ["CapacityPromises"]


class CapacityPromises:
    factory: StoreFactory

    @scenario
    async def test_the_limit_is_exact_for_many_producers(self, bench: Bench) -> None:
        async with bench.store(max_items=50) as store:
            taken: list[str] = []

            async def producer(number: int) -> None:
                for turn in range(10):
                    try:
                        await store.offer([bench.report(f"p{number}-{turn}", b"x", "out", "archive")])
                        taken.append("x")
                    except QueueFull:
                        pass

            await asyncio.gather(*(producer(number) for number in range(16)))
            assert len(taken) == 25
            assert store.gauges.items == 50
            assert (await store.view()).items == 50

    @scenario
    async def test_the_limit_counts_bytes(self, bench: Bench) -> None:
        async with bench.store(max_bytes=100) as store:
            await store.offer([bench.report("a", b"x" * 30, "out", "archive")])
            with pytest.raises(QueueFull) as caught:
                await store.offer([bench.report("b", b"x" * 41)])
            view = caught.value.view
            assert (view.items, view.bytes, view.max_bytes) == (2, 60, 100)
            await store.offer([bench.report("c", b"x" * 40)])
            assert store.gauges.bytes == 100

    @scenario
    async def test_what_can_never_fit_is_told_apart(self, bench: Bench) -> None:
        async with bench.store(max_items=3, max_bytes=10) as store:
            await store.offer([bench.report("held")])
            with pytest.raises(TooLarge):
                await store.offer([bench.report("r", b"x", *"abcd")], evict=Evict(9))
            with pytest.raises(TooLarge):
                await store.offer([bench.report("r", b"x" * 11)], evict=Evict(9))
            assert await keys_of(store) == ["held.1"], "nothing went for it"

    @scenario
    async def test_an_offer_is_taken_whole_or_not_at_all(self, bench: Bench) -> None:
        async with bench.store(max_items=3) as store:
            await store.offer([bench.report("a")])
            with pytest.raises(QueueFull):
                await store.offer([bench.report(f"r{index}") for index in range(3)])
            assert await keys_of(store) == ["a.1"]
            file = bench.file()
            await bench.converting(store, file)
            with pytest.raises(QueueFull):
                await store.publish(file.id, [bench.report(f"r{index}") for index in range(3)], converter="c")
            await store.publish(file.id, [bench.report(f"r{index}") for index in range(2)], converter="c")

    @scenario
    async def test_eviction_takes_the_oldest_that_nobody_holds(self, bench: Bench) -> None:
        async with bench.store(max_items=4) as store:
            await store.offer([bench.report(f"r{index}") for index in range(4)])
            (held,) = (await store.claim("out", 1)).leases
            (later,) = (await store.claim("out", 1)).leases
            await store.fail(later, error={}, delay=100)
            assert await store.offer([bench.report("n0"), bench.report("n1")], evict=Evict(2)) == ["queued"] * 2
            gauges = store.gauges
            assert (gauges.items, gauges.leased, gauges.dead) == (4, 1, 2)
            assert [one.counted for one in await store.acknowledge([held], [{}])] == [True]
            assert await keys_of(store) == ["r3.1", "n0.1", "n1.1"]
            assert await store.offer([bench.report("n2")]) == ["queued"]
            assert await store.retry([later.id]) == 0, "there is no room for it"

    @scenario
    async def test_evicted_items_are_kept_as_dead_letters(self, bench: Bench) -> None:
        async with bench.store(max_items=1) as store:
            file = bench.file()
            await bench.converted(store, file, bench.report("old", b"old body"))
            (lease,) = (await store.claim("out", 1)).leases
            await store.snooze([lease], delay=0, reason="x")
            await store.offer([bench.report("new")], evict=Evict(1))
            assert await dispose(store) == {file.id: "failed"}
            assert await deliver(store) == ["new.1"]
            assert await store.retry([lease.id]) == 1
            (again,) = (await store.claim("out", 1)).leases
            assert (again.key, again.body) == ("old.1", b"old body")

    @scenario
    async def test_eviction_that_does_not_help_changes_nothing(self, bench: Bench) -> None:
        async with bench.store(max_items=2) as store:
            await store.offer([bench.report("a"), bench.report("b")])
            await store.claim("out", 1)
            with pytest.raises(QueueFull):
                await store.offer([bench.report("c"), bench.report("d")], evict=Evict(2))
            assert (store.gauges.items, store.gauges.dead) == (2, 0)
            await store.claim("out", 1)
            with pytest.raises(QueueFull):
                await store.offer([bench.report("c")], evict=Evict(1))

    @scenario
    async def test_too_many_dead_letters_stop_new_offers(self, bench: Bench) -> None:
        async with bench.store(max_dead=1) as store:
            await store.offer([bench.report("a"), bench.report("b")])
            leases = (await store.claim("out", 2)).leases
            await store.fail(leases[0], error={}, delay=None, permanent=True)
            with pytest.raises(QueueFull):
                await store.offer([bench.report("c")])
            await store.fail(leases[1], error={}, delay=None, permanent=True)
            assert store.gauges.dead == 2, "what is in the queue already may still die: nothing is thrown away"
            assert await store.offer([bench.report("c")], evict=Evict(1)) == ["queued"]
            assert store.gauges.dead == 0, "with a policy that prefers the newest, the oldest dead letters go"

    @scenario
    async def test_what_is_evicted_is_bounded_as_well(self, bench: Bench) -> None:
        async with bench.store(max_items=100, max_dead=3) as store:
            await store.offer([bench.report(f"old{index:03}") for index in range(100)])
            await store.offer([bench.report(f"new{index:03}") for index in range(90)], evict=Evict(90))
            assert (store.gauges.items, store.gauges.dead) == (100, 3), "the oldest dead letters went for good"
            assert (await keys_of(store, 11))[-1] == "new000.1"

    @scenario
    async def test_files_wait_until_a_full_queue_has_drained(self, bench: Bench) -> None:
        async with bench.store(max_items=10, high_water=0.9, low_water=0.5) as store:
            await store.offer([bench.report(f"r{index}") for index in range(10)])
            file = bench.file()
            await bench.converting(store, file)
            with pytest.raises(QueueFull):
                await store.publish(file.id, [bench.report("x")], converter="c")
            await store.release_files([file.id], reason="queue full")
            assert store.gauges.full
            assert await store.next_files(10) == []
            for _ in range(4):
                await store.acknowledge((await store.claim("out", 1)).leases, [{}])
            assert await store.next_files(10) == []
            seen = store.wakeups.count("files")
            await store.acknowledge((await store.claim("out", 1)).leases, [{}])
            assert await store.wakeups.wait("files", seen, 5)
            assert [record.id for record in await store.next_files(10)] == [file.id]
            assert not store.gauges.full

    @scenario
    async def test_a_large_publication_waits_until_there_is_room_for_it(self, bench: Bench) -> None:
        async with bench.store(max_items=10, low_water=0.9) as store:
            await store.offer([bench.report(f"r{index}") for index in range(5)])
            file = bench.file()
            await bench.converting(store, file)
            reports = [bench.report(f"x{index}") for index in range(8)]
            with pytest.raises(QueueFull):
                await store.publish(file.id, reports, converter="c")
            await store.release_files([file.id], reason="queue full")
            assert await store.next_files(10) == []
            await store.acknowledge((await store.claim("out", 3)).leases, [{}] * 3)
            assert [record.id for record in await store.next_files(10)] == [file.id]

    @scenario
    async def test_what_is_counted_is_what_is_there(self, bench: Bench) -> None:
        async with bench.store() as store:
            first, second = bench.file("a"), bench.file("b", folder="other")
            await bench.converted(store, first, bench.report("r1", b"x" * 10, "out", "archive"))
            await bench.converted(store, second, bench.report("r2", b"x" * 5))
            await store.claim("out", 1)
            bench.clock.advance(7)
            view = await store.view()
            assert (view.items, view.bytes, view.evictable_items, view.evictable_bytes) == (3, 25, 2, 15)
            assert view.folders == {"inbox": 2, "other": 1}
            assert 7 <= view.oldest_age < 8
            assert (store.gauges.most_items, store.gauges.most_bytes) == (3, 25)
