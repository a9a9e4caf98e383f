"""Full disks, I/O errors, damage and stuck databases: nothing that was promised is lost, and the store comes back by itself."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dropmill.queue.errors import PayloadDamaged, QueueFull, SchemaTooNew, StoreClosed, StoreUnavailable
from dropmill.queue.reader import QueueReader
from dropmill.testing.store_suite.bench import deliver, dispose, keys_of, whole

LARGE = b"x" * 300_000
MIDDLE = b"y" * 20_000


def database(bench: Any) -> sqlite3.Connection:
    return sqlite3.connect(bench.state / "queue.db", isolation_level=None)


async def reopened(bench: Any, store: Any) -> None:
    """Time passes until the store tries its database again."""
    bench.clock.advance(5)


# --- a full disk -------------------------------------------------------------------------------------------------------------


async def test_a_full_disk_stops_offers_and_not_deliveries(bench: Any) -> None:
    async with bench.store(min_free_disk=1_000_000) as store:
        await store.offer([bench.report("a"), bench.report("b")])
        bench.free = 500_000
        bench.clock.advance(2)
        with pytest.raises(QueueFull, match="short of space"):
            await store.offer([bench.report("c")])
        assert await keys_of(store, 1) == ["a.1"]
        await store.release_lane("out", reason="x")
        assert await deliver(store) == ["a.1", "b.1"]
        bench.free = 1 << 40
        bench.clock.advance(2)
        assert await store.offer([bench.report("c")]) == ["queued"]


@pytest.mark.parametrize("point", ["queue.group.applied", "queue.group.prepared"])
async def test_no_space_while_writing_frees_the_ballast(bench: Any, point: str) -> None:
    async with bench.store() as store:
        await store.offer([bench.report("a")])
        (lease,) = (await store.claim("out", 1)).leases
    bench.failpoints = f"{point}=error:ENOSPC@2"
    async with bench.store() as store:
        (lease,) = (await store.claim("out", 1)).leases
        assert (bench.state / "ballast").stat().st_size == 8 * 1024 * 1024
        assert [one.counted for one in await store.acknowledge([lease], [{}])] == [True], "the second write had no room"
        assert not (bench.state / "ballast").exists()
        assert bench.told("queue.disk_full")
        with pytest.raises(QueueFull):
            await store.offer([bench.report("b")])
        assert not store.gauges.writable
        await store.maintain()
        assert (bench.state / "ballast").stat().st_size == 8 * 1024 * 1024
        assert await store.offer([bench.report("b")]) == ["queued"]
        assert store.gauges.writable


async def test_no_space_for_a_payload_refuses_only_its_offer(bench: Any) -> None:
    bench.failpoints = "queue.segment.written=error:ENOSPC"
    async with bench.store() as store:
        results = await asyncio.gather(
            store.offer([bench.report("small")]),
            store.offer([bench.report("middle", MIDDLE)]),
            store.set_lane("out", max_attempts=3),
            return_exceptions=True,
        )
        assert results[0] == ["queued"] or isinstance(results[0], QueueFull)
        assert results[2] is None
        await store.maintain()
        await store.offer([bench.report("middle", MIDDLE)])
        keys = await deliver(store)
        assert keys[-1] == "middle.1"


async def test_no_room_for_a_segment(bench: Any) -> None:
    bench.failpoints = "queue.segment.created=error:ENOSPC"
    async with bench.store() as store:
        with pytest.raises((StoreUnavailable, QueueFull)):
            await store.offer([bench.report("large", LARGE)])
        await store.maintain()
        assert await store.offer([bench.report("large", LARGE)]) == ["queued"]
        assert [entry.name for entry in (bench.state / "segments").iterdir()] == ["1"]


async def test_without_room_for_the_ballast_nothing_is_taken(bench: Any) -> None:
    bench.free = 100_000_000
    async with bench.store(min_free_disk=99_000_000) as store:
        with pytest.raises(QueueFull):
            await store.offer([bench.report("a")])


# --- I/O errors --------------------------------------------------------------------------------------------------------------


async def test_a_failed_sync_changes_nothing_and_the_segment_is_left_alone(bench: Any) -> None:
    bench.failpoints = "queue.segment.sync=error:EIO"
    async with bench.store() as store:
        await store.offer([bench.report("before")])
        with pytest.raises(StoreUnavailable):
            await store.offer([bench.report("middle", MIDDLE)])
        assert store.gauges.items == 1
        await reopened(bench, store)
        assert await store.offer([bench.report("middle", MIDDLE)]) == ["queued"]
        leases = (await store.claim("out", 9)).leases
        assert [lease.key for lease in leases] == ["before.1", "middle.1"]
        assert leases[1].body == MIDDLE
        assert bench.told("queue.reopened")
        assert sorted(entry.name for entry in (bench.state / "segments").iterdir()) == ["1", "2"]


async def test_a_failed_sync_of_the_log_is_never_tried_again(bench: Any) -> None:
    """What was committed may have been lost, or not: the caller is told so, and doing it again does not do it twice."""
    bench.failpoints = "queue.log.sync=error:EIO@2"
    async with bench.store() as store:
        file = bench.file()
        with pytest.raises(StoreUnavailable):
            await store.offer([bench.report("a")])
        await reopened(bench, store)
        assert await store.offer([bench.report("a")]) == ["known"]
        assert bench.told("queue.reopened")
        await bench.converting(store, file)
        assert await deliver(store) == ["a.1"]
        assert store.gauges.items == 0


async def test_a_failed_sync_of_a_large_payload_is_told_to_its_offer(bench: Any) -> None:
    bench.failpoints = "queue.segment.sync=error:EIO"
    async with bench.store() as store:
        with pytest.raises(StoreUnavailable):
            await store.offer([bench.report("large", LARGE)])
        assert await store.offer([bench.report("large", LARGE)]) == ["queued"]
        (lease,) = (await store.claim("out", 9)).leases
        assert await whole(store, lease) == LARGE


async def test_leases_outlive_an_io_error(bench: Any) -> None:
    bench.failpoints = "queue.group.prepared=error:EIO@4"
    async with bench.store() as store:
        await store.offer([bench.report("a"), bench.report("b")])
        file = bench.file()
        await store.add_files([file])
        (first, second) = (await store.claim("out", 2)).leases
        with pytest.raises(StoreUnavailable):
            await store.acknowledge([first], [{}])
        await reopened(bench, store)
        assert [one.counted for one in await store.acknowledge([first, second], [{}, {}])] == [True, True]
        assert store.gauges.items == 0


async def test_while_the_database_is_out_of_reach_every_call_says_so(bench: Any) -> None:
    bench.failpoints = "queue.group.prepared=error:EIO@2,queue.open=error:EIO@2+"
    async with bench.store() as store:
        await store.offer([bench.report("a")])
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                await store.claim("out", 1)
            bench.clock.advance(5)
        assert not store.gauges.writable
        assert store.gauges.items == 1


async def test_an_answer_that_got_lost_is_given_again(bench: Any) -> None:
    """The commit is durable and the caller is told that it failed: doing it again must not do it twice."""
    file = bench.file()
    async with bench.store() as store:
        await bench.converting(store, file)
        await store.offer([bench.report("a")])
    bench.failpoints = "queue.group.committed=error:EIO@1+"
    async with bench.store(clean=False) as store:
        with pytest.raises(StoreUnavailable):
            await store.set_lane("out", max_attempts=4)
        with pytest.raises(StoreUnavailable):
            await store.offer([bench.report("b")])
    bench.failpoints = ""
    async with bench.store() as store:
        assert await store.offer([bench.report("b")]) == ["known"]
        assert await deliver(store) == ["a.1", "b.1"]


async def test_a_database_that_somebody_else_has_locked(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench.store() as store:
        await store.offer([bench.report("a")])
        connect = sqlite3.connect
        with closing(connect(bench.state / "queue.db", isolation_level=None)) as intruder:
            store._engine._connection  # noqa: B018 - the engine is open
            await store.set_lane("x", max_attempts=1)
            intruder.execute("BEGIN IMMEDIATE")
            waiting = asyncio.ensure_future(store.offer([bench.report("b")]))
            await asyncio.sleep(0.05)
            intruder.execute("ROLLBACK")
            assert await waiting == ["queued"]


# --- damage ------------------------------------------------------------------------------------------------------------------


async def filled(bench: Any, count: int = 60) -> None:
    async with bench.store(clean=False) as store:
        for index in range(count):
            await bench.converted(store, bench.file(f"{index}"), bench.report(f"r{index}", b"%d" % index * 500))


async def test_a_file_that_is_no_database_is_put_aside(bench: Any) -> None:
    bench.state.mkdir()
    (bench.state / "queue.db").write_bytes(b"not a database at all" * 1000)
    async with bench.store() as store:
        assert await store.offer([bench.report("a")]) == ["queued"]
        (told,) = bench.told("queue.damaged")
        assert Path(told["quarantine"]).read_bytes().startswith(b"not a database")


async def test_a_truncated_database_keeps_what_is_whole(bench: Any) -> None:
    await filled(bench)
    with closing(database(bench)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path = bench.state / "queue.db"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 3 // 4])
    async with bench.store() as store:
        (told,) = bench.told("queue.damaged")
        assert told["saved"]
        assert 0 < store.gauges.items <= 60
        keys = await deliver(store)
        assert keys
        assert len(keys) + store.gauges.dead <= 60
        assert await store.offer([bench.report("new")]) == ["queued"]
        for disposal in await store.next_disposals(100):
            assert disposal.outcome in ("done", "failed")
    bench.events.clear()
    async with bench.store() as store:
        assert not bench.told("queue.damaged"), "the damage was dealt with once"


async def test_overwritten_pages_cost_what_stood_on_them(bench: Any) -> None:
    await filled(bench)
    with closing(database(bench)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path = bench.state / "queue.db"
    data = bytearray(path.read_bytes())
    pages = len(data) // 4096
    for page in range(pages // 2, pages // 2 + 3):
        data[page * 4096 : (page + 1) * 4096] = b"\xff" * 4096
    path.write_bytes(data)
    async with bench.store() as store:
        assert bench.told("queue.damaged")
        assert store.gauges.items > 0
        assert await store.offer([bench.report("new")]) == ["queued"]
        assert (await deliver(store))[-1] == "new.1"


async def test_leaves_that_nothing_leads_to_are_found(bench: Any) -> None:
    async with bench.store() as store:
        await store.offer([bench.report(f"r{index:03}", b"%d" % index * 50) for index in range(300)])
    with closing(database(bench)) as connection:
        roots = dict(connection.execute("SELECT name, rootpage FROM sqlite_schema WHERE type = 'table'").fetchall())
    path = bench.state / "queue.db"
    data = bytearray(path.read_bytes())
    for table in ("delivery", "report", "blob", "event"):
        assert data[(roots[table] - 1) * 4096] == 0x05, "an interior page"
        data[(roots[table] - 1) * 4096 : roots[table] * 4096] = bytes(4096)
    path.write_bytes(data)
    with closing(database(bench)) as connection:
        connection.execute("UPDATE meta SET value = 0 WHERE key = 'clean'")
    async with bench.store() as store:
        (told,) = bench.told("queue.damaged")
        assert (told["saved"]["delivery"], told["saved"]["report"], told["saved"]["blob"]) == (300, 300, 300)
        assert await deliver(store) == [f"r{index:03}.1" for index in range(300)]


@pytest.mark.parametrize("point", ["queue.salvage.copied@1", "queue.salvage.copied@2", "queue.salvage.aside"])
async def test_salvage_that_is_cut_short_is_finished_at_the_next_start(bench: Any, point: str) -> None:
    await filled(bench)
    with closing(database(bench)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path = bench.state / "queue.db"
    damaged = path.read_bytes()[:-20_000]
    path.write_bytes(damaged)
    name, _, nth = point.partition("@")
    bench.failpoints = f"{name}=error:EIO@{nth or 1}"
    with pytest.raises(StoreUnavailable):
        await bench.make().open()
    bench.failpoints = ""
    async with bench.store() as store:
        assert store.gauges.items > 20
        (told,) = bench.told("queue.damaged")
        assert Path(told["quarantine"]).read_bytes() == damaged
        view = await store.view()
        assert view.items == store.gauges.items
    assert sorted(entry.name for entry in bench.state.iterdir() if "db" in entry.name) == ["queue.db"]
    assert len(list((bench.state / "quarantine").iterdir())) == 1


async def test_damage_that_shows_only_at_the_takeover(bench: Any) -> None:
    """Left clean, the database is not read as a whole at the start."""
    async with bench.store() as store:
        await store.offer([bench.report("a"), bench.report("b")])
    with closing(database(bench)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'file_converting'").fetchone()
    path = bench.state / "queue.db"
    data = bytearray(path.read_bytes())
    data[(page - 1) * 4096 : page * 4096] = b"\x55" * 4096
    path.write_bytes(data)
    async with bench.store() as store:
        assert bench.told("queue.damaged")
        assert await deliver(store) == ["a.1", "b.1"]


async def test_an_empty_database_with_a_log_is_read_from_the_log(bench: Any) -> None:
    """SQLite itself would delete the log."""
    bench.failpoints = "queue.checkpoint=error:EIO@1+"
    async with bench.store(clean=False) as store:
        await store.offer([bench.report("a"), bench.report("b")])
        log = (bench.state / "queue.db-wal").read_bytes()
    (bench.state / "queue.db-wal").write_bytes(log)
    (bench.state / "queue.db").write_bytes(b"")
    bench.failpoints = ""
    async with bench.store() as store:
        assert "log" in bench.told("queue.damaged")[0]["error"]
        assert await deliver(store) == ["a.1", "b.1"]


async def test_a_large_database_is_checked_while_it_is_used(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dropmill.queue.sqlite.recovery.CHECK_LIMIT", 0)
    await filled(bench)
    with closing(database(bench)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'file_by_content'").fetchone()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path = bench.state / "queue.db"
    data = bytearray(path.read_bytes())
    data[(page - 1) * 4096 : page * 4096] = b"\x55" * 4096
    path.write_bytes(data)
    async with bench.store() as store:
        assert not bench.told("queue.damaged")
        deadline = asyncio.get_running_loop().time() + 10
        while store._engine._damage is None:
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.01)
        assert store.gauges.items == 60
        assert len(await deliver(store)) == 60
        assert bench.told("queue.damaged")


async def test_a_large_database_that_is_whole_is_left_alone(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dropmill.queue.sqlite.recovery.CHECK_LIMIT", 0)
    await filled(bench, 5)
    async with bench.store() as store:
        while any(thread.name == "queue-check" for thread in threading.enumerate()):
            await asyncio.sleep(0.01)
        assert len(await deliver(store)) == 5
        assert not bench.told("queue.damaged")


async def test_a_disk_that_damages_everything_is_not_salvaged_for_ever(bench: Any) -> None:
    async with bench.store() as store:
        await store.offer([bench.report("a")])
        for _ in range(3):
            store._engine._damage = sqlite3.DatabaseError("again")
            await asyncio.gather(store.set_lane("x", max_attempts=1), return_exceptions=True)
            bench.clock.advance(2)
        assert len(list((bench.state / "quarantine").iterdir())) == 1
        assert not store.gauges.writable
        bench.clock.advance(61)
        await asyncio.gather(store.set_lane("x", max_attempts=1), return_exceptions=True)
        assert await deliver(store) == ["a.1"]


async def test_healing_that_fails_leaves_the_store_unavailable(bench: Any) -> None:
    bench.failpoints = "queue.salvage.copied=error:EIO"
    async with bench.store() as store:
        await store.offer([bench.report("a")])
        store._engine._damage = sqlite3.DatabaseError("page 7")
        with pytest.raises(StoreUnavailable):
            await store.set_lane("x", max_attempts=1)
        await reopened(bench, store)
        assert await deliver(store) == ["a.1"]


async def test_a_claim_that_was_committed_and_not_told_is_given_back(bench: Any) -> None:
    bench.failpoints = "queue.group.prepared=delay:0.2@2,queue.log.sync=error:EIO@4"
    async with bench.store() as store:
        await store.offer([bench.report("a")])
        first = asyncio.ensure_future(store.set_lane("x", max_attempts=1))
        await asyncio.sleep(0.05)  # these two come while the first is being committed, and make one group
        results = await asyncio.gather(
            store.claim("out", 1), store.offer([bench.report("b")]), first, return_exceptions=True
        )
        assert [type(result) for result in results] == [StoreUnavailable, StoreUnavailable, type(None)]
        await reopened(bench, store)
        leases = (await store.claim("out", 9)).leases
        assert [(lease.key, lease.attempt) for lease in leases] == [("a.1", 1), ("b.1", 1)]
        assert await store.offer([bench.report("b")]) == ["known"]


async def test_a_start_that_the_disk_refuses_is_told_and_lets_the_lock_go(bench: Any) -> None:
    bench.failpoints = "queue.open=error:EIO"
    with pytest.raises(StoreUnavailable):
        await bench.make().open()
    bench.failpoints = ""
    async with bench.store() as store:
        assert await store.offer([bench.report("a")]) == ["queued"]


async def test_a_takeover_that_breaks_off_changes_nothing(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench.store(clean=False) as store:
        await store.offer([bench.report("a")])

    def broken(*_arguments: Any) -> None:
        raise OSError(5, "no")

    with monkeypatch.context() as patched:
        patched.setattr("dropmill.queue.sqlite.recovery._mind_the_clock", broken)
        with pytest.raises(StoreUnavailable):
            await bench.make().open()
        patched.setattr("dropmill.queue.sqlite.recovery.give_back", broken)
    with monkeypatch.context() as patched:
        store = bench.make()
        await store.open()
        patched.setattr("dropmill.queue.sqlite.recovery.give_back", broken)
        with pytest.raises(StoreUnavailable):
            await store.close(clean=True)
    async with bench.store() as store:
        assert await deliver(store) == ["a.1"]


async def test_damage_found_at_work_is_healed_at_work(bench: Any) -> None:
    async with bench.store() as store:
        await store.offer([bench.report("a"), bench.report("b")])
        (lease,) = (await store.claim("out", 1)).leases
        store._engine._damage = sqlite3.DatabaseError("page 7: it says so")
        assert [one.counted for one in await store.acknowledge([lease], [{}])] == [True], "the lease lived on"
        assert bench.told("queue.damaged")
        assert await deliver(store) == ["b.1"]


async def test_a_deleted_log_costs_only_what_was_in_it(bench: Any) -> None:
    await filled(bench, 5)
    (bench.state / "queue.db-wal").unlink(missing_ok=True)
    async with bench.store() as store:
        assert await store.offer([bench.report("new")]) == ["queued"]
        assert "new.1" in await deliver(store)


async def test_a_flipped_bit_in_a_payload_is_found_at_the_claim(bench: Any) -> None:
    for name, body, where in (
        ("row", b"z" * 9_000, "queue.db"),
        ("middle", MIDDLE, "segments/1"),
    ):
        async with bench.store(clean=True) as store:
            file = bench.file(name)
            await bench.converted(store, file, bench.report(name, body))
        path = bench.state / where
        data = bytearray(path.read_bytes())
        at = data.index(body[:64]) + 40
        data[at] ^= 1
        path.write_bytes(data)
        async with bench.store() as store:
            assert await keys_of(store) == []
            assert store.gauges.items == 0
            assert await dispose(store) == {file.id: "failed"}
            reader = QueueReader(bench.state)
            (delivery,) = reader.deliveries()["items"][:1]
            assert (delivery["state"], delivery["code"]) == ("dead", "DM-Q008")
            reader.close()
            assert await store.retry([delivery["id"]]) == 0, "there is nothing to send"
            again = bench.file(f"{name} again")
            await bench.converted(store, again, bench.report(name, body))
            assert await deliver(store) == [f"{name}.1"], "a new conversion brings the payload again"


async def test_a_flipped_bit_in_a_large_payload_is_found_while_it_is_read(bench: Any) -> None:
    async with bench.store() as store:
        await store.offer([bench.report("large", LARGE)])
        path = bench.state / "segments" / "1"
        with path.open("r+b") as file:
            file.seek(200_000)
            file.write(b"!")
        (lease,) = (await store.claim("out", 1)).leases
        with pytest.raises(PayloadDamaged):
            await whole(store, lease)
        assert (store.gauges.dead, store.gauges.leased) == (1, 0)
        assert [one.counted for one in await store.acknowledge([lease], [{}])] == [False]


async def test_changed_metadata_is_found_at_the_claim(bench: Any) -> None:
    async with bench.store() as store:
        await store.offer([bench.report("a", b"1", "out"), bench.report("b", b"1")])
    with closing(database(bench)) as connection:
        connection.execute("UPDATE report SET fields = '{\"serial\":\"other\"}' WHERE uid = 'a'")
    async with bench.store() as store:
        assert await deliver(store) == ["b.1"]
        assert store.gauges.dead == 1


async def test_a_segment_that_is_gone_costs_its_payloads(bench: Any) -> None:
    async with bench.store() as store:
        await store.offer([bench.report("middle", MIDDLE), bench.report("large", LARGE), bench.report("small")])
    (bench.state / "segments" / "1").unlink()
    async with bench.store() as store:
        leases = (await store.claim("out", 9)).leases
        assert [lease.key for lease in leases] == ["large.1", "small.1"]
        with pytest.raises(PayloadDamaged):
            await whole(store, leases[0])
        await store.acknowledge(leases[1:], [{}])
        assert store.gauges.dead == 2
        await store.offer([bench.report("new", MIDDLE)])
        assert [entry.name for entry in (bench.state / "segments").iterdir()] == ["2"], "the number is not used again"


async def test_a_newer_schema_is_refused_untouched(bench: Any) -> None:
    async with bench.store() as store:
        await store.offer([bench.report("a")])
    with closing(database(bench)) as connection:
        connection.execute("UPDATE meta SET value = 99 WHERE key = 'schema'")
    before = (bench.state / "queue.db").read_bytes()
    with pytest.raises(SchemaTooNew) as caught:
        async with bench.store():
            pass
    assert "99" in caught.value.problem.what
    assert (bench.state / "queue.db").read_bytes() == before
    with pytest.raises(SchemaTooNew):
        QueueReader(bench.state).status()
    with closing(database(bench)) as connection:
        connection.execute("UPDATE meta SET value = 1 WHERE key = 'schema'")
    async with bench.store() as store:
        assert await deliver(store) == ["a.1"]


async def test_a_damaged_payload_does_not_stop_the_emptying_of_its_segment(bench: Any) -> None:
    async with bench.store() as store:
        await store.offer([bench.report("bad", b"b" * 20_000), bench.report("good", b"g" * 20_000)])
        with (bench.state / "segments" / "1").open("r+b") as file:
            file.write(b"!")
        store._engine.payloads.segments._size = 60_000
        await store.offer([bench.report("other", b"o" * 20_000), bench.report("next", b"n" * 20_000)])
        while await store.maintain():
            pass
        assert await deliver(store) == ["good.1", "other.1", "next.1"]
        assert store.gauges.dead == 1


# --- ends --------------------------------------------------------------------------------------------------------------------


async def test_the_last_look_gives_back_what_is_held(bench: Any) -> None:
    async with bench.store() as store:
        await store.offer([bench.report("a")])
        file = bench.file()
        await bench.converting(store, file)
        (lease,) = (await store.claim("out", 1)).leases
        audit = store.verify_clean()
        assert (audit.deliveries, audit.files, audit.problem, audit.clean) == (1, 1, "", False)
        for call in (store.claim("out", 1), store.start_conversions([file.id])):
            with pytest.raises(StoreClosed):
                await call
        assert await store.next_files(9) == []
        assert [one.counted for one in await store.acknowledge([lease], [{}])] == [False]
        assert store.verify_clean().clean
    async with bench.store() as store:
        (again,) = (await store.claim("out", 1)).leases
        assert again.attempt == 1
    reader = QueueReader(bench.state)
    events = [event for event in reader.events() if event["data"].get("reason") == "shutdown"]
    assert [event["name"] for event in events][:2] == ["delivery.snoozed", "file.released"]
    assert reader.status()["clean"]
    reader.close()


async def test_the_last_look_of_a_stuck_or_closed_store_says_so(bench: Any) -> None:
    bench.failpoints = "queue.group.applied=delay:0.5@2"
    store = bench.make()
    assert store.verify_clean().problem
    await store.open()
    waiting = asyncio.ensure_future(store.set_lane("out", max_attempts=2))
    await asyncio.sleep(0.05)
    audit = store.verify_clean(timeout=0.05)
    assert "0.05" in audit.problem
    await waiting
    await store.close(clean=True)


async def test_an_end_that_cannot_be_marked_is_told(bench: Any) -> None:
    bench.failpoints = "queue.close=error:EIO"
    store = bench.make()
    await store.open()
    await store.offer([bench.report("a")])
    with pytest.raises(StoreUnavailable):
        await store.close(clean=True)
    bench.failpoints = ""
    async with bench.store() as store:
        assert await deliver(store) == ["a.1"]


async def test_a_store_is_opened_once_and_closed_once(bench: Any) -> None:
    store = bench.make()
    await store.open()
    with pytest.raises(RuntimeError):
        await store.open()
    await store.close(clean=True)
    await store.close(clean=True)
    for call in (store.offer([bench.report("a", LARGE)]), store.claim("out", 1)):
        with pytest.raises(StoreClosed):
            await call
    await store.open()
    assert await store.offer([bench.report("a")]) == ["queued"]
    await store.close(clean=True)


async def test_the_lock_names_its_holder(bench: Any) -> None:
    async with bench.store():
        holder = json.loads((bench.state / "owner.lock").read_text())
        assert holder["instance"] == "instance-1"
        with pytest.raises(Exception, match="instance-1"):
            await bench.make().open()
