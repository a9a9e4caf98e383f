"""Files: from the claim to the place where they come to rest."""

from __future__ import annotations

import pytest

from dropmill.queue.errors import NotHeld
from dropmill.queue.records import FileState
from dropmill.testing.store_suite.bench import Bench, StoreFactory, deliver, dispose, scenario

__all__ = ["FilePromises"]


class FilePromises:
    factory: StoreFactory

    @scenario
    async def test_a_claimed_file_waits_until_it_is_confirmed(self, bench: Bench) -> None:
        async with bench.store() as store:
            file = bench.file("b\udcff \u00e4.csv", tags={"line": "7"})
            (record,) = await store.add_files([file])
            assert (record.state, record.name, record.identity, record.tags) == (
                FileState.CLAIMED,
                file.name,
                file.identity,
                {"line": "7"},
            )
            assert await store.next_files(10) == []
            assert [one.id for one in await store.unconfirmed_files()] == [file.id]
            assert await store.claimed_files() == 1
            await store.confirm_files([file.id])
            assert await store.unconfirmed_files() == []
            (found,) = await store.next_files(10)
            assert (found.id, found.name, found.place, found.origin) == (file.id, file.name, file.place, file.origin)

    @scenario
    async def test_files_come_by_priority_then_by_age(self, bench: Bench) -> None:
        async with bench.store() as store:
            files = [bench.file(f"{index}.csv", priority=priority) for index, priority in enumerate((0, 5, 0, 5))]
            await store.add_files(files)
            await store.confirm_files([file.id for file in files])
            order = [files[index].id for index in (1, 3, 0, 2)]
            assert [record.id for record in await store.next_files(10)] == order
            assert [record.id for record in await store.next_files(2)] == order[:2]

    @scenario
    async def test_a_claim_that_did_not_come_about_leaves_nothing(self, bench: Bench) -> None:
        async with bench.store() as store:
            file = bench.file()
            await store.add_files([file])
            await store.remove_files([file.id], "it changed")
            assert await store.unconfirmed_files() == []
            assert await store.live_files("inbox") == []
            assert await store.claimed_files() == 0
            with pytest.raises(NotHeld):
                await store.remove_files([file.id], "it changed")

    @scenario
    async def test_a_converting_file_is_nobody_elses(self, bench: Bench) -> None:
        async with bench.store() as store:
            file = bench.file()
            await bench.converting(store, file)
            assert await store.next_files(10) == []
            with pytest.raises(NotHeld):
                await store.start_conversions([file.id])
            assert store.gauges.converting == 1

    @scenario
    async def test_a_released_file_comes_again_when_its_time_has_come(self, bench: Bench) -> None:
        async with bench.store() as store:
            file = bench.file()
            await bench.converting(store, file)
            until = bench.clock.time() + 30
            await store.release_files([file.id], reason="not ready", not_before=until, charge=True, converter="json")
            assert await store.next_files(10) == []
            bench.clock.advance(31)
            (record,) = await store.next_files(10)
            assert (record.attempts, record.forced_converter, record.reason) == (1, "json", "not ready")

    @scenario
    async def test_waiting_for_a_files_time_wakes(self, bench: Bench) -> None:
        async with bench.store() as store:
            file = bench.file()
            await bench.converting(store, file)
            await store.release_files([file.id], reason="not ready", not_before=bench.clock.time() + 0.05)
            seen = store.wakeups.count("files")
            assert await store.wakeups.wait("files", seen, 10)

    @scenario
    async def test_the_whole_way_of_a_file(self, bench: Bench) -> None:
        async with bench.store() as store:
            file = bench.file()
            await bench.converting(store, file)
            published = await store.publish(
                file.id,
                [bench.report("r1", b"1", "out", "archive"), bench.report("r2", b"2", "out", ordinal=1)],
                converter="csv 1.0",
                warnings=[{"code": "W"}],
            )
            assert (published.deliveries, published.unchanged) == (3, 0)
            assert await store.next_disposals(10) == []
            assert await deliver(store) == ["r1.1", "r2.1"]
            assert await store.next_disposals(10) == []
            assert await deliver(store, "archive") == ["r1.1"]
            (disposal,) = await store.next_disposals(10)
            assert (disposal.file.id, disposal.outcome, disposal.file.state) == (file.id, "done", FileState.CONVERTED)
            assert [one.id for one in await store.live_files("inbox")] == [file.id]
            await store.plan_disposals({file.id: "/done/a.csv"})
            assert await store.next_disposals(10) == []
            assert [one.target for one in await store.live_files("inbox")] == ["/done/a.csv"]
            await store.finish_disposals({file.id: "/done/a.csv"})
            assert await store.live_files("inbox") == []
            (record,) = await store.known_content("inbox", file.sha256)
            assert (record.state, record.place, record.target) == (FileState.FINISHED, "/done/a.csv", None)
            assert store.gauges.items == store.gauges.bytes == 0

    @scenario
    async def test_a_plan_can_be_taken_back(self, bench: Bench) -> None:
        async with bench.store() as store:
            file = bench.file()
            await bench.converted(store, file)
            await store.plan_disposals({file.id: "/done/a.csv"})
            await store.plan_disposals({file.id: "/done/b.csv"})
            (record,) = await store.live_files("inbox")
            assert record.target == "/done/b.csv"
            await store.plan_disposals({file.id: ""})
            assert [one.file.id for one in await store.next_disposals(10)] == [file.id]

    @scenario
    async def test_disposals_of_offline_folders_stand_in_nobodys_way(self, bench: Bench) -> None:
        async with bench.store() as store:
            first, second = bench.file("a", folder="share"), bench.file("b")
            await bench.converted(store, first)
            await bench.converted(store, second)
            assert [one.file.id for one in await store.next_disposals(1)] == [first.id]
            assert [one.file.id for one in await store.next_disposals(1, skip_folders={"share"})] == [second.id]

    @scenario
    async def test_a_failed_file_goes_to_failed_and_may_come_back(self, bench: Bench) -> None:
        async with bench.store() as store:
            file = bench.file()
            await bench.converting(store, file)
            await store.fail_file(
                file.id, code="BAD", reason="no header", error={"code": "BAD", "line": 3}, converter="csv 1.0"
            )
            assert await dispose(store) == {file.id: "failed"}
            (record,) = await store.known_content("inbox", file.sha256)
            assert (record.state, record.reason, record.error) == (
                FileState.FAILED,
                "no header",
                {"code": "BAD", "line": 3},
            )
            await store.release_files([file.id], reason="retry")
            assert [one.id for one in await store.live_files("inbox")] == [file.id]
            await store.start_conversions([file.id])
            await store.publish(file.id, [bench.report("r")], converter="csv 1.1")
            await deliver(store)
            assert await dispose(store) == {file.id: "done"}

    @scenario
    async def test_intake_settles_files_itself(self, bench: Bench) -> None:
        async with bench.store() as store:
            skipped, empty = bench.file("a"), bench.file("b")
            await store.add_files([skipped, empty])
            await store.publish(skipped.id, [], converter="")
            await store.fail_file(empty.id, code="EMPTY", reason="empty", error={}, converter=None)
            assert await store.unconfirmed_files() == []
            assert await dispose(store) == {skipped.id: "done", empty.id: "failed"}

    @scenario
    async def test_parked_files_wait_for_release(self, bench: Bench) -> None:
        async with bench.store() as store:
            files = [bench.file(f"{index}") for index in range(3)]
            await bench.converting(store, *files)
            for file, reason in zip(files, ("ambiguous", "poison", "ambiguous"), strict=True):
                await store.park_file(file.id, reason=reason, error={"candidates": ["a", "b"]})
            found = await store.parked_files("ambiguous")
            assert [record.id for record in found] == [files[0].id, files[2].id]
            assert found[0].error == {"candidates": ["a", "b"]}
            assert await store.next_files(10) == []
            assert (store.gauges.parked, await store.claimed_files()) == (3, 0)
            await store.release_files([files[0].id], reason="resolved", converter="b")
            assert [record.id for record in await store.next_files(10)] == [files[0].id]

    @scenario
    async def test_equal_content_is_counted_by_folder(self, bench: Bench) -> None:
        async with bench.store() as store:
            both = [bench.file("a", content="x"), bench.file("b", content="x")]
            other = bench.file("a", content="x", folder="other")
            records = [*await store.add_files(both), *await store.add_files([other])]
            assert [record.occurrence for record in records] == [0, 1, 0]
            (third,) = await store.add_files([bench.file("c", content="x")])
            assert third.occurrence == 2
            known = await store.known_content("inbox", both[0].sha256)
            assert [record.occurrence for record in known] == [2, 1, 0]

    @scenario
    async def test_only_what_is_being_converted_is_published(self, bench: Bench) -> None:
        async with bench.store() as store:
            file = bench.file()
            await bench.converted(store, file, bench.report("r"))
            for wrong in (file.id, "nobody"):
                with pytest.raises(NotHeld):
                    await store.publish(wrong, [bench.report("r2")], converter="csv 1.0")
            assert store.gauges.items == 1

    @scenario
    async def test_the_same_report_is_not_queued_again(self, bench: Bench) -> None:
        async with bench.store() as store:
            first, second = bench.file("a"), bench.file("b")
            await bench.converted(store, first, bench.report("r", b"same"))
            await bench.converting(store, second)
            published = await store.publish(second.id, [bench.report("r", b"same", "out", "new")], converter="csv 1.0")
            assert (published.deliveries, published.unchanged) == (1, 1)
            assert await deliver(store) == ["r.1"]
            assert await deliver(store, "new") == ["r.1"]

    @scenario
    async def test_other_bytes_make_a_new_revision(self, bench: Bench) -> None:
        async with bench.store() as store:
            file = bench.file()
            await bench.converted(store, file, bench.report("r", b"wrong"))
            (lease,) = (await store.claim("out", 1)).leases
            await store.fail(lease, error={"code": "HTTP-400"}, delay=None, permanent=True)
            assert await dispose(store) == {file.id: "failed"}
            again = bench.file("again")
            await bench.converted(store, again, bench.report("r", b"right"))
            (lease,) = (await store.claim("out", 1)).leases
            assert (lease.key, lease.body) == ("r.2", b"right")
            await store.acknowledge([lease], [{}])
            assert store.gauges.dead == 0, "the dead letter of the first revision is overtaken"

    @scenario
    async def test_a_dead_delivery_takes_its_file_to_failed_until_it_is_sent(self, bench: Bench) -> None:
        async with bench.store() as store:
            file = bench.file()
            await bench.converted(store, file, bench.report("r", b"1", "out", "archive"))
            await deliver(store, "archive")
            (lease,) = (await store.claim("out", 1)).leases
            assert (await store.fail(lease, error={"code": "X"}, delay=None, permanent=True)).counted
            assert await dispose(store) == {file.id: "failed"}
            assert await store.live_files("inbox") == []
            assert await store.retry([lease.id]) == 1
            assert await store.next_disposals(10) == []
            (again,) = (await store.claim("out", 1)).leases
            assert (again.attempt, again.key) == (1, lease.key)
            await store.acknowledge([again], [{}])
            assert await dispose(store) == {file.id: "done"}
            (record,) = await store.known_content("inbox", file.sha256)
            assert (record.place, record.dead, record.pending) == (f"/done/{file.id}", 0, 0)

    @scenario
    async def test_a_dead_letter_rearmed_before_the_move_stops_it(self, bench: Bench) -> None:
        async with bench.store() as store:
            file = bench.file()
            await bench.converted(store, file, bench.report("r"))
            (lease,) = (await store.claim("out", 1)).leases
            await store.fail(lease, error={}, delay=None, permanent=True)
            await store.retry([lease.id])
            assert await store.next_disposals(10) == []
            await deliver(store)
            assert await dispose(store) == {file.id: "done"}

    @scenario
    async def test_a_dead_letter_sent_during_the_move_moves_the_file_again(self, bench: Bench) -> None:
        async with bench.store() as store:
            file = bench.file()
            await bench.converted(store, file, bench.report("r"))
            (lease,) = (await store.claim("out", 1)).leases
            await store.fail(lease, error={}, delay=None, permanent=True)
            await store.plan_disposals({file.id: "/failed/a"})
            await store.retry([lease.id])
            await deliver(store)
            assert await store.next_disposals(10) == []
            await store.finish_disposals({file.id: "/failed/a"})
            assert await dispose(store) == {file.id: "done"}

    @scenario
    async def test_a_dropped_dead_letter_stays_failed(self, bench: Bench) -> None:
        async with bench.store() as store:
            file = bench.file()
            await bench.converted(store, file, bench.report("r"))
            (lease,) = (await store.claim("out", 1)).leases
            await store.fail(lease, error={}, delay=None, permanent=True)
            assert await store.drop([lease.id, 999], reason="obsolete") == 1
            assert await store.drop([lease.id], reason="obsolete") == 0
            assert await store.retry([lease.id]) == 0
            assert store.gauges.dead == 0
            assert await dispose(store) == {file.id: "failed"}

    @scenario
    async def test_conversions_of_a_dispatcher_that_is_gone_come_back(self, bench: Bench) -> None:
        async with bench.store() as store:
            file = bench.file()
            await bench.converting(store, file)
            assert await store.release_conversions(reason="the dispatcher was restarted") == 1
            (record,) = await store.next_files(10)
            assert record.attempts == 0
            with pytest.raises(NotHeld):
                await store.fail_file("nobody", code="X", reason="", error={}, converter=None)

    @scenario
    async def test_a_file_found_elsewhere_is_known_there(self, bench: Bench) -> None:
        async with bench.store() as store:
            file = bench.file()
            await store.add_files([file])
            await store.relocate_file(file.id, "/elsewhere/a")
            (record,) = await store.unconfirmed_files()
            assert record.place == "/elsewhere/a"
