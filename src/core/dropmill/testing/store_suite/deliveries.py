"""Deliveries: offered, leased, answered, and what is never done twice."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Sequence
from random import Random
from typing import Any

import pytest

from dropmill.queue.errors import StoreUnavailable
from dropmill.testing.store_suite.bench import Bench, StoreFactory, deliver, keys_of, scenario, whole

__all__ = ["DeliveryPromises"]


class DeliveryPromises:
    factory: StoreFactory

    @scenario
    async def test_an_offer_is_known_by_uid_and_bytes(self, bench: Bench) -> None:
        async with bench.store() as store:
            assert await store.offer([bench.report("a", b"1"), bench.report("b", b"2")]) == ["queued", "queued"]
            assert await store.offer([bench.report("a", b"1"), bench.report("a2", b"1")]) == ["known", "queued"]
            assert await store.offer([bench.report("a", b"other")]) == ["queued"]
            assert await keys_of(store) == ["a.1", "b.1", "a2.1", "a.2"]

    @scenario
    async def test_a_claim_keeps_to_order_and_bounds(self, bench: Bench) -> None:
        async with bench.store() as store:
            await store.offer([bench.report(f"r{index}", b"x" * 10) for index in range(6)])
            assert await keys_of(store, 2) == ["r0.1", "r1.1"]
            assert await keys_of(store, 10, max_bytes=25) == ["r2.1", "r3.1"]
            assert await keys_of(store, 10, max_bytes=1) == ["r4.1"], "at least one, however large"
            assert (store.gauges.items, store.gauges.leased) == (6, 5)

    @scenario
    async def test_a_lease_tells_what_is_to_be_sent(self, bench: Bench) -> None:
        async with bench.store() as store:
            await store.set_lane("out", max_attempts=3)
            file = bench.file()
            report = bench.report("r", b"body", fields={"serial": "42"})
            await bench.converted(store, file, report)
            (lease,) = (await store.claim("out", 1)).leases
            assert (lease.lane, lease.key, lease.report_id, lease.size, lease.sha256, lease.body) == (
                "out",
                "r.1",
                "r",
                4,
                report.sha256,
                b"body",
            )
            assert (lease.attempt, lease.attempts_left) == (1, 2)
            assert lease.fields == {"serial": "42", "folder": "inbox", "file": "a.csv", "converter": "csv 1.0"}

    @scenario
    async def test_nobody_shares_a_lease(self, bench: Bench) -> None:
        async with bench.store() as store:
            await store.offer([bench.report(f"r{index}") for index in range(100)])
            seen: list[str] = []

            async def worker() -> None:
                while keys := await keys_of(store, 7):
                    seen.extend(keys)

            await asyncio.gather(*(worker() for _ in range(8)))
            assert len(seen) == len(set(seen)) == 100

    @scenario
    async def test_a_lost_lease_changes_nothing(self, bench: Bench) -> None:
        async with bench.store() as store:
            await store.offer([bench.report("r")])
            (lost,) = (await store.claim("out", 1)).leases
            assert await store.release_lane("out", reason="the lane was restarted") == 1
            (lease,) = (await store.claim("out", 1)).leases
            assert lease.fence > lost.fence
            assert lease.attempt == 1, "what was released was not charged"
            for late in (lost, lost):
                assert [one.counted for one in await store.acknowledge([late], [{}])] == [False]
            assert not (await store.fail(lost, error={}, delay=None, permanent=True)).counted
            await store.snooze([lost], delay=9, reason="late")
            assert store.gauges.leased == 1
            assert [one.counted for one in await store.acknowledge([lease], [{}])] == [True]
            assert [one.counted for one in await store.acknowledge([lease], [{}])] == [False]
            assert (store.gauges.items, store.gauges.leased) == (0, 0)

    @scenario
    async def test_two_answers_at_once_count_once(self, bench: Bench) -> None:
        async with bench.store() as store:
            await store.offer([bench.report("r")])
            (lease,) = (await store.claim("out", 1)).leases
            answers = await asyncio.gather(*(store.acknowledge([lease], [{}]) for _ in range(4)))
            assert [one.counted for (one,) in answers].count(True) == 1

    @scenario
    async def test_a_failed_delivery_waits_and_uses_up_its_attempts(self, bench: Bench) -> None:
        async with bench.store() as store:
            await store.set_lane("out", max_attempts=2)
            await store.offer([bench.report("r")])
            (lease,) = (await store.claim("out", 1)).leases
            assert (await store.fail(lease, error={"code": "HTTP-503"}, delay=10)).counted
            claimed = await store.claim("out", 1)
            assert (claimed.leases, claimed.next_at) == ([], bench.clock.time() + 10)
            bench.clock.advance(9)
            assert await keys_of(store) == []
            bench.clock.advance(2)
            (lease,) = (await store.claim("out", 1)).leases
            assert (lease.attempt, lease.attempts_left) == (2, 0)
            await store.fail(lease, error={"code": "HTTP-503"}, delay=10)
            bench.clock.advance(100)
            assert await keys_of(store) == []
            assert (store.gauges.dead, store.gauges.items) == (1, 0)

    @scenario
    async def test_a_refused_delivery_is_dead_at_once(self, bench: Bench) -> None:
        async with bench.store() as store:
            await store.offer([bench.report("r")])
            (lease,) = (await store.claim("out", 1)).leases
            await store.fail(lease, error={"code": "HTTP-400"}, delay=1, permanent=True)
            assert (store.gauges.dead, store.gauges.items, store.gauges.leased) == (1, 0, 0)
            assert await store.retry([lease.id]) == 1
            (again,) = (await store.claim("out", 1)).leases
            assert (again.attempt, again.body) == (1, b"{}"), "a dead letter keeps its payload"

    @scenario
    async def test_snoozing_costs_no_attempt(self, bench: Bench) -> None:
        async with bench.store() as store:
            await store.set_lane("out", max_attempts=1)
            await store.offer([bench.report("a"), bench.report("b")])
            leases = (await store.claim("out", 2)).leases
            await store.snooze(leases[:1], delay=0, reason="shutdown")
            await store.snooze(leases[1:], delay=5, reason="breaker open")
            (lease,) = (await store.claim("out", 2)).leases
            assert (lease.key, lease.attempt) == ("a.1", 1)
            bench.clock.advance(6)
            (lease,) = (await store.claim("out", 2)).leases
            assert (lease.key, lease.attempt) == ("b.1", 1)

    @scenario
    async def test_strict_order_waits_for_what_is_unfinished(self, bench: Bench) -> None:
        async with bench.store() as store:
            await store.offer([bench.report(f"r{index}") for index in range(3)])
            (first,) = (await store.claim("out", 1, ordered=True)).leases
            assert await keys_of(store, ordered=True) == []
            await store.fail(first, error={}, delay=5)
            assert await keys_of(store, ordered=True) == []
            bench.clock.advance(6)
            leases = (await store.claim("out", 2, ordered=True)).leases
            assert [lease.key for lease in leases] == ["r0.1", "r1.1"]
            await store.fail(leases[0], error={}, delay=None, permanent=True)
            await store.acknowledge(leases[1:], [{}])
            assert await keys_of(store, ordered=True) == ["r2.1"], "a dead letter holds nothing up"

    @scenario
    async def test_lanes_do_not_see_each_other(self, bench: Bench) -> None:
        async with bench.store() as store:
            await store.offer([bench.report("r", b"1", "out", "archive")])
            assert await keys_of(store) == ["r.1"]
            assert await store.release_lane("out", reason="gone") == 1
            (lease,) = (await store.claim("archive", 9)).leases
            await store.acknowledge([lease], [{}])
            assert await keys_of(store) == ["r.1"]

    @scenario
    async def test_a_lane_is_woken_when_something_is_ready(self, bench: Bench) -> None:
        async with bench.store() as store:
            seen = store.wakeups.count("lane:out")
            other = store.wakeups.count("lane:archive")
            await store.offer([bench.report("r")])
            assert await store.wakeups.wait("lane:out", seen, 5)
            assert store.wakeups.count("lane:archive") == other

    @scenario
    async def test_payloads_of_every_size_come_back_whole(self, bench: Bench) -> None:
        sizes = (0, 1, 16_384, 16_385, 65_536, 65_537, 300_000, 5_000_000)
        random = Random(7)  # noqa: S311
        bodies = [random.randbytes(size) for size in sizes]
        async with bench.store() as store:
            for index, body in enumerate(bodies):
                await store.offer([bench.report(f"memory{index}", body)])
                staged = bench.place / f"staged{index}"
                await store.offer([bench.report(f"staged{index}", body, staged=staged)])
                assert not staged.exists(), "the store takes a staged file over"
            leases = (await store.claim("out", 100)).leases
            assert len(leases) == 2 * len(sizes)
            for index, lease in enumerate(leases):
                assert await whole(store, lease) == bodies[index // 2]
                assert lease.body is None or lease.body == bodies[index // 2]
            await store.acknowledge(leases, [{}] * len(leases))
            assert store.gauges.bytes == 0

    @scenario
    async def test_a_payload_over_32_mb_comes_back_whole(self, bench: Bench) -> None:
        body = Random(8).randbytes(33 * 1024 * 1024)  # noqa: S311
        staged = bench.place / "staged"
        report = bench.report("large", body, staged=staged)
        async with bench.store(clean=False) as store:
            await store.offer([report])
        async with bench.store() as store:
            (lease,) = (await store.claim("out", 1)).leases
            digest = hashlib.sha256()
            async for piece in store.read(lease, 1_000_000):
                digest.update(piece)
            assert digest.hexdigest() == report.sha256

    @scenario
    async def test_a_payload_is_read_by_who_holds_the_lease(self, bench: Bench) -> None:
        async with bench.store() as store:
            await store.offer([bench.report("r", b"x" * 100_000)])
            (lease,) = (await store.claim("out", 1)).leases
            await store.release_lane("out", reason="gone")
            with pytest.raises(StoreUnavailable):
                await whole(store, lease)

    @scenario
    async def test_a_reading_that_is_broken_off_harms_nobody(self, bench: Bench) -> None:
        async with bench.store() as store:
            await store.offer([bench.report("r", b"x" * 1_000_000)])
            (lease,) = (await store.claim("out", 1)).leases
            reading = store.read(lease, 1000)
            assert await anext(reading) == b"x" * 1000
            await reading.aclose()  # type: ignore[attr-defined]
            assert await whole(store, lease) == b"x" * 1_000_000

    @scenario
    async def test_a_staged_file_that_is_not_what_was_said_is_refused(self, bench: Bench) -> None:
        async with bench.store() as store:
            for size in (100, 100_000, 500_000):
                report = bench.report("r", b"x" * size, staged=bench.place / "staged")
                (bench.place / "staged").write_bytes(b"y" * size)
                with pytest.raises(ValueError, match="staged"):
                    await store.offer([report])
            assert store.gauges.items == 0
            assert await store.offer([bench.report("r", b"x" * 100_000)]) == ["queued"]

    @scenario
    async def test_a_cancelled_claim_is_given_back(self, bench: Bench) -> None:
        async with bench.store() as store:
            await store.offer([bench.report(f"r{index}") for index in range(20)])
            for turns in range(6):
                claim = asyncio.ensure_future(store.claim("out", 2))
                for _ in range(turns):
                    await asyncio.sleep(0)
                claim.cancel()
                await asyncio.gather(claim, return_exceptions=True)
            await store.set_lane("out", max_attempts=5)
            await store.set_lane("out", max_attempts=5)
            leases = (await store.claim("out", 100)).leases
            assert len(leases) + store.gauges.leased - len(leases) == 20
            assert {lease.attempt for lease in leases} == {1}

    @scenario
    async def test_one_failure_does_not_fail_its_neighbours(self, bench: Bench) -> None:
        async with bench.store() as store:
            files = [bench.file(f"{index}") for index in range(4)]
            await bench.converting(store, *files)
            bad = bench.report("bad", b"x")
            calls: Sequence[Awaitable[Any]] = [
                store.publish(files[0].id, [bench.report("r0")], converter="c"),
                store.publish("nobody", [bench.report("r1")], converter="c"),
                store.publish(files[1].id, [bench.report("r2")], converter="c"),
                store.confirm_files(["nobody"]),
                store.publish(files[2].id, [bad, bad], converter="c"),
                store.publish(files[3].id, [bench.report("r3")], converter="c"),
            ]
            results = await asyncio.gather(*calls, return_exceptions=True)
            kinds = [type(result).__name__ for result in results]
            assert kinds == ["Published", "NotHeld", "Published", "NotHeld", "ValueError", "Published"]
            assert await deliver(store) == ["r0.1", "r2.1", "r3.1"]
