"""Ends and beginnings: restarts, clocks, what is kept and what is forgotten."""

from __future__ import annotations

import pytest

from dropmill.queue.errors import StoreBusy, StoreUnavailable
from dropmill.testing.store_suite.bench import Bench, StoreFactory, deliver, dispose, keys_of, scenario

__all__ = ["LifePromises"]


class LifePromises:
    factory: StoreFactory

    @scenario
    async def test_only_one_owner(self, bench: Bench) -> None:
        async with bench.store():
            with pytest.raises(StoreBusy):
                async with bench.store():
                    pass
        async with bench.store():
            pass

    @scenario
    async def test_a_restart_gives_back_what_was_held(self, bench: Bench) -> None:
        for clean in (True, False):
            async with bench.store(clean=clean) as store:
                files = [bench.file(f"{clean}{index}") for index in range(3)]
                await bench.converting(store, files[0])
                await bench.converted(store, files[1], bench.report(f"r{clean}"))
                await store.add_files([files[2]])
                (held,) = (await store.claim("out", 1)).leases
            async with bench.store() as store:
                assert (store.gauges.leased, store.gauges.converting) == (0, 0)
                (record,) = await store.next_files(10)
                assert (record.id, record.attempts) == (files[0].id, 0)
                assert [one.id for one in await store.unconfirmed_files()] == [files[2].id]
                assert [one.counted for one in await store.acknowledge([held], [{}])] == [False]
                (lease,) = (await store.claim("out", 10)).leases
                assert (lease.key, lease.attempt) == (held.key, 1)
                await store.acknowledge([lease], [{}])
                await store.remove_files([files[0].id, files[2].id], "done with")
                assert await dispose(store) == {files[1].id: "done"}

    @scenario
    async def test_everything_else_survives_a_restart(self, bench: Bench) -> None:
        async with bench.store(clean=False) as store:
            await store.set_lane("out", max_attempts=2)
            await store.set_flag("lane:out", {"paused": True})
            await store.offer([bench.report(f"r{index}") for index in range(3)])
            leases = (await store.claim("out", 2)).leases
            await store.fail(leases[0], error={"code": "X"}, delay=60)
            await store.acknowledge(leases[1:], [{"ref": "1"}])
            before = store.gauges
        async with bench.store() as store:
            assert (store.gauges.items, store.gauges.bytes) == (before.items, before.bytes) == (2, 4)
            assert store.gauges.most_items == 3
            flags = await store.flags()
            assert flags["lane:out"]["paused"] is True
            await store.set_flag("lane:out", None)
            assert await store.flags() == {}
            claimed = await store.claim("out", 10)
            assert [lease.key for lease in claimed.leases] == ["r2.1"]
            assert claimed.next_at is not None
            bench.clock.advance(61)
            (lease,) = (await store.claim("out", 10)).leases
            assert (lease.key, lease.attempt, lease.attempts_left) == ("r0.1", 2, 0)
            assert await store.offer([bench.report("r1")]) == ["known"]

    @scenario
    async def test_a_clock_set_back_makes_nobody_wait_longer(self, bench: Bench) -> None:
        async with bench.store() as store:
            await store.offer([bench.report("r")])
            (lease,) = (await store.claim("out", 1)).leases
            await store.fail(lease, error={}, delay=10)
            file = bench.file()
            await bench.converting(store, file)
            await store.release_files([file.id], reason="not ready", not_before=bench.clock.time() + 10)
            bench.clock.step(-86_400)
            bench.clock.advance(11)
            assert await keys_of(store) == ["r.1"]
            assert [record.id for record in await store.next_files(10)] == [file.id]

    @scenario
    async def test_a_clock_set_back_between_two_runs_makes_nobody_wait_longer(self, bench: Bench) -> None:
        async with bench.store() as store:
            await store.offer([bench.report("r")])
            (lease,) = (await store.claim("out", 1)).leases
            await store.fail(lease, error={}, delay=10)
        bench.clock.step(-86_400)
        async with bench.store() as store:
            bench.clock.advance(11)
            assert await keys_of(store) == ["r.1"]

    @scenario
    async def test_retention_forgets_what_has_come_to_rest(self, bench: Bench) -> None:
        async with bench.store(retention=100.0) as store:
            finished, dead, waiting = (bench.file(name) for name in ("finished", "dead", "waiting"))
            await bench.converted(store, finished, bench.report("r1"))
            await deliver(store)
            await bench.converted(store, dead, bench.report("r2"))
            (lease,) = (await store.claim("out", 1)).leases
            await store.fail(lease, error={}, delay=None, permanent=True)
            await dispose(store)
            await bench.converting(store, waiting)
            await store.offer([bench.report("lone")])
            await deliver(store)
            await store.record_event("inbox", "folder.offline", {"reason": "unmounted"})
            while await store.maintain():
                pass
            assert await store.known_content("inbox", finished.sha256)
            bench.clock.advance(101)
            while await store.maintain():
                pass
            assert not await store.known_content("inbox", finished.sha256)
            assert await store.known_content("inbox", dead.sha256), "a dead letter is not forgotten by age"
            assert await store.known_content("inbox", waiting.sha256)
            assert await store.retry([lease.id]) == 1
            assert await store.offer([bench.report("lone")]) == ["queued"]

    @scenario
    async def test_a_closed_store_says_so(self, bench: Bench) -> None:
        async with bench.store() as store:
            pass
        with pytest.raises(StoreUnavailable):
            await store.offer([bench.report("r")])
