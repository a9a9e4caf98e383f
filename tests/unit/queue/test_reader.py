"""What people and programs see of a store: pages, details, counts, payloads, beside an agent and without one."""

from __future__ import annotations

import json
import sqlite3
import threading
from typing import Any

import pytest

from dropmill.foundation.clock import utc_iso
from dropmill.queue.errors import PayloadDamaged, StoreUnavailable
from dropmill.queue.queries import DeliveryQuery, FileQuery
from dropmill.queue.reader import QueueReader
from dropmill.queue.sqlite import searching
from dropmill.testing.store_suite.bench import deliver, dispose


@pytest.fixture
def reader(bench: Any) -> Any:
    reader = QueueReader(bench.state, clock=bench.clock)
    yield reader
    reader.close()


async def lives(bench: Any, store: Any) -> dict[str, Any]:
    """Files in every state: their names and ids."""
    files = {
        name: bench.file(name, folder="odd" if name == "parked.csv" else "inbox")
        for name in ("waiting.csv", "converting.csv", "parked.csv", "failed.xml", "sent.csv", "dead.csv", "pending.csv")
    }
    await store.add_files(list(files.values()))
    ids = {name: file.id for name, file in files.items()}
    await store.confirm_files(list(ids.values()))
    await store.start_conversions([file_id for name, file_id in ids.items() if name != "waiting.csv"])
    await store.park_file(ids["parked.csv"], reason="ambiguous", error={"code": "DM-V001"}, converter="csv 1.0")
    await store.fail_file(
        ids["failed.xml"], code="XML", reason="no root", error={"code": "XML", "line": 1}, converter="junit 2.0"
    )
    await store.publish(ids["sent.csv"], [bench.report("sent", b"s", "out", "archive")], converter="csv 1.0")
    await deliver(store)
    await deliver(store, "archive")
    await store.publish(ids["dead.csv"], [bench.report("dead", b"d")], converter="csv 1.0", warnings=[{"code": "W1"}])
    (lease,) = (await store.claim("out", 1)).leases
    await store.fail(lease, error={"code": "HTTP-400", "what": "bad"}, delay=None, permanent=True)
    await dispose(store)
    await store.publish(
        ids["pending.csv"], [bench.report("pending", b"p" * 20_000, fields={"serial": "7"})], converter="csv 1.0"
    )
    return ids


async def test_status_counts_everything(bench: Any, reader: QueueReader) -> None:
    async with bench.store(max_items=50) as store:
        await lives(bench, store)
        await store.set_flag("lane:out", {"paused": True, "by": "me"})
        bench.clock.advance(10)
        status = reader.status()
    assert status["files"] == {
        "claimed": 1,
        "converting": 1,
        "converted": 1,
        "parked": 1,
        "failed": 1,
        "finished": 2,
    }
    assert status["folders"]["odd"]["parked"] == 1
    assert status["folders"]["inbox"]["pending"] == 1
    assert status["deliveries"]["out"] == {
        "ready": 1,
        "leased": 0,
        "delayed": 0,
        "sent": 1,
        "dead": 1,
        "dropped": 0,
        "bytes": 20_000,
    }
    assert status["totals"] == {
        "ready": 1,
        "leased": 0,
        "delayed": 0,
        "sent": 2,
        "dead": 1,
        "dropped": 0,
        "pending": 1,
        "failed": 1,
    }
    queue = status["queue"]
    assert (queue["items"], queue["bytes"], queue["maxItems"], queue["highItems"], queue["lowItems"]) == (
        1,
        20_000,
        50,
        45,
        37,
    )
    assert (queue["mostItems"], queue["mostBytes"]) == (2, 20_000)
    assert 10 <= queue["oldestAge"] < 11
    assert status["flags"]["lane:out"]["by"] == "me"
    assert not status["clean"]
    json.dumps(status)
    status = reader.status()
    assert status["clean"], "closed meanwhile; the counts are still there"
    assert status["files"]["claimed"] == 2


async def test_files_by_filter(bench: Any, reader: QueueReader) -> None:
    async with bench.store() as store:
        ids = await lives(bench, store)
    by_id = {file_id: name for name, file_id in ids.items()}

    def names(**query: Any) -> list[str]:
        page = reader.files(FileQuery(**query))
        assert page["next"] is None
        assert reader.count_files(FileQuery(**query)) == len(page["items"])
        walked, following = reader.file_ids(FileQuery(**query))
        assert following is None
        assert [by_id[file_id] for file_id in walked] == [item["name"] for item in page["items"]][::-1]
        return [item["name"] for item in page["items"]]

    everything = list(ids)[::-1]
    assert names() == everything
    assert names(folder=["odd"]) == ["parked.csv"]
    assert names(folder=["odd", "inbox"], state=["parked", "failed"]) == ["failed.xml", "parked.csv"]
    assert names(state=["finished"]) == ["dead.csv", "sent.csv"]
    assert names(reason="ambiguous") == ["parked.csv"]
    assert names(name="*.xml") == ["failed.xml"]
    assert names(name="s?nt.*") == ["sent.csv"]
    assert names(converter="junit") == ["failed.xml"]
    assert names(converter="csv 1.0", state=["parked"]) == ["parked.csv"]
    assert names(code="XML") == ["failed.xml"]
    assert names(folder=["nowhere"]) == []
    since = bench.clock.time() + 1
    assert names(since=since) == []
    assert names(until=since) == everything


async def test_a_file_with_all_that_is_known_of_it(bench: Any, reader: QueueReader) -> None:
    async with bench.store() as store:
        ids = await lives(bench, store)
        detail = reader.file(ids["dead.csv"])
        assert detail is not None
        assert (detail["state"], detail["dead"], detail["warnings"]) == ("finished", 1, [{"code": "W1"}])
        assert detail["place"] == f"/failed/{ids['dead.csv']}"
        names = [event["name"] for event in detail["events"]]
        assert names == ["file.claimed", "file.converting", "file.converted", "delivery.dead", "file.laid"]
        (report,) = detail["reports"]
        assert (report["reportId"], report["revision"], report["size"], report["stored"]) == ("dead", 1, 1, True)
        (delivery,) = detail["deliveries"]
        assert (delivery["destination"], delivery["state"], delivery["key"], delivery["code"]) == (
            "out",
            "dead",
            "dead.1",
            "HTTP-400",
        )
        (attempt,) = delivery["history"]
        assert (attempt["number"], attempt["outcome"], attempt["answer"]) == (
            1,
            "refused",
            {"code": "HTTP-400", "what": "bad"},
        )
        assert reader.delivery(delivery["id"]) == delivery
        timeline = reader.timeline(ids["dead.csv"])
        assert timeline is not None
        assert [entry["at"] for entry in timeline] == sorted(entry["at"] for entry in timeline)
        assert {entry["kind"] for entry in timeline} == {"event", "report", "delivery", "attempt"}
        await store.maintain()
        sent = reader.file(ids["sent.csv"])
        assert sent is not None
        assert [one["state"] for one in sent["deliveries"]] == ["sent", "sent"]
        assert [one["stored"] for one in sent["reports"]] == [False]
    assert reader.file("nobody") is None
    assert reader.timeline("nobody") is None
    assert reader.delivery(999) is None


async def test_deliveries_by_filter(bench: Any, reader: QueueReader) -> None:
    async with bench.store() as store:
        ids = await lives(bench, store)
        await store.offer([bench.report("lone")])

        def keys(**query: Any) -> list[str]:
            page = reader.deliveries(DeliveryQuery(**query))
            assert reader.count_deliveries(DeliveryQuery(**query)) == len(page["items"])
            walked, _ = reader.delivery_ids(DeliveryQuery(**query))
            assert walked == [item["id"] for item in page["items"]][::-1]
            return [item["key"] for item in page["items"]]

        assert keys() == ["lone.1", "pending.1", "dead.1", "sent.1", "sent.1"]
        assert keys(state=["ready", "leased", "delayed"]) == ["lone.1", "pending.1"]
        assert keys(lane=["archive"]) == ["sent.1"]
        assert keys(state=["sent"], lane=["out"]) == ["sent.1"]
        assert keys(folder=["inbox"], state=["ready"]) == ["pending.1"]
        assert keys(code="HTTP-400") == ["dead.1"]
        assert keys(file=ids["sent.csv"]) == ["sent.1", "sent.1"]
        assert keys(file=ids["sent.csv"], lane=["out"], state=["sent"]) == ["sent.1"]
        assert keys(file="nobody") == []
        assert keys(since=bench.clock.time() + 1) == []
        lone = reader.deliveries(DeliveryQuery(state=["ready"]))["items"][0]
        assert (lone["fileId"], lone["folder"], lone["name"]) == (None, None, None)
        (lease,) = (await store.claim("out", 1)).leases
        await store.fail(lease, error={"code": "X"}, delay=60)
        (delayed,) = reader.deliveries(DeliveryQuery(state=["delayed"]))["items"]
        assert delayed["nextAt"] == utc_iso(bench.clock.time() + 60)


async def test_pages_follow_one_another_while_things_change(bench: Any, reader: QueueReader) -> None:
    async with bench.store() as store:
        await store.offer([bench.report(f"r{index:03}", b"", "out", "archive") for index in range(30)])
        seen: list[int] = []
        after = None
        while True:
            page = reader.deliveries(DeliveryQuery(state=["ready"]), after=after, limit=7)
            seen += [item["id"] for item in page["items"]]
            await store.offer([bench.report(f"later{len(seen)}")])
            after = page["next"]
            if after is None:
                break
        assert seen == sorted(seen, reverse=True)
        assert len(seen) == 60
        assert reader.deliveries(after="nonsense", limit=1)["items"], "a foreign cursor begins anew"
        ids, after = reader.delivery_ids(limit=10)
        assert ids == list(range(1, 11))
        assert reader.delivery_ids(after=after, limit=5)[0] == [11, 12, 13, 14, 15]


async def test_a_search_that_finds_little_stops_and_goes_on(
    bench: Any, reader: QueueReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench.store() as store:
        await store.offer([bench.report(f"r{index:03}", b"", "out") for index in range(700)])
        (first,) = (await store.claim("out", 1)).leases
        await store.fail(first, error={"code": "RARE"}, delay=None, permanent=True)
    monkeypatch.setattr(searching, "BUDGET", 0.0)
    pages = 0
    after: str | None = None
    found: list[str] = []
    while pages == 0 or after is not None:
        page = reader.deliveries(DeliveryQuery(code="RARE"), after=after)
        found += [item["key"] for item in page["items"]]
        after = page["next"]
        pages += 1
    assert found == ["r000.1"]
    assert pages == 4


async def test_a_file_is_found_by_whatever_people_call_it(bench: Any, reader: QueueReader) -> None:
    async with bench.store() as store:
        plain = bench.file("a.csv")
        nested = bench.file("line 7/b[1].csv")
        odd = bench.file("c\udcff.csv")
        again = bench.file("a.csv", content="other")
        for file in (plain, nested, odd, again):
            await bench.converted(store, file)
            moved = {file.id: f"/inbox/done/{file.name}-moved" if file is nested else f"/inbox/done/{file.name}"}
            await store.plan_disposals(moved)
            await store.finish_disposals(moved)
    assert reader.find_files(plain.id) == [plain.id]
    assert reader.find_files(plain.sha256) == [plain.id]
    assert reader.find_files(plain.sha256.upper()) == [plain.id]
    assert reader.find_files("a.csv") == [again.id, plain.id]
    assert reader.find_files("a.csv", limit=1) == [again.id]
    assert reader.find_files("/inbox/a.csv") == [again.id, plain.id]
    assert reader.find_files("/inbox/done/a.csv") == [again.id, plain.id]
    assert reader.find_files("/other/a.csv") == []
    assert reader.find_files("line 7/b[1].csv") == [nested.id]
    assert reader.find_files("/inbox/line 7/b[1].csv") == [nested.id]
    assert reader.find_files("/inbox/done/line 7/b[1].csv-moved") == [nested.id]
    assert reader.find_files("b[1].csv-moved") == [nested.id]
    assert reader.find_files("c\udcff.csv") == [odd.id]
    assert reader.find_files("") == []
    assert reader.files(FileQuery(name="*\udcff*"))["items"][0]["name"] == "c\udcff.csv"


async def test_payloads_of_each_size(bench: Any, reader: QueueReader) -> None:
    bodies = {"row": b"r" * 100, "segment": b"s" * 20_000, "large": b"l" * 300_000}
    async with bench.store() as store:
        for uid, body in bodies.items():
            await store.offer([bench.report(uid, body)])
        await store.offer([bench.report("row", b"newer")])
        assert {uid: reader.payload(uid, 1) for uid in bodies} == bodies
        assert reader.payload("row") == b"newer"
        assert reader.payload("nobody") is None
        assert reader.payload("row", 9) is None
        await deliver(store)
        await store.maintain()
        assert [reader.payload(uid) for uid in bodies] == [None] * 3


async def test_a_payload_over_32_mb(bench: Any, reader: QueueReader) -> None:
    body = b"0123456789abcdef" * (33 * 65_536)
    async with bench.store() as store:
        await store.offer([bench.report("file", body)])
        assert reader.payload("file") == body
        (path,) = (bench.state / "payloads").iterdir()
        await deliver(store)
        assert reader.payload("file") is None
        assert not path.exists()


async def test_a_damaged_payload_is_told(bench: Any, reader: QueueReader) -> None:
    async with bench.store() as store:
        await store.offer([bench.report("segment", b"s" * 20_000), bench.report("gone", b"g" * 20_000)])
        with (bench.state / "segments" / "1").open("r+b") as file:
            file.write(b"!")
        with pytest.raises(PayloadDamaged):
            reader.payload("segment")
        (bench.state / "segments" / "1").unlink()
        with pytest.raises(PayloadDamaged):
            reader.payload("gone")


async def test_events_of_everything(bench: Any, reader: QueueReader) -> None:
    async with bench.store() as store:
        await store.record_event("inbox", "folder.offline", {"reason": "unmounted"})
        file = bench.file()
        await store.add_files([file])
        events = reader.events()
        assert [(event["subject"], event["name"]) for event in events] == [
            ("inbox", "folder.offline"),
            (file.id, "file.claimed"),
        ]
        assert reader.events(since=events[0]["seq"]) == events[1:]
        assert reader.events(limit=1) == events[:1]


def test_without_a_store(bench: Any, reader: QueueReader) -> None:
    assert not reader.exists
    with pytest.raises(StoreUnavailable, match="no queue yet"):
        reader.status()


def test_an_empty_database_is_not_ready(bench: Any, reader: QueueReader) -> None:
    bench.state.mkdir()
    sqlite3.connect(bench.state / "queue.db").close()
    (bench.state / "queue.db").touch()
    with pytest.raises(StoreUnavailable):
        reader.status()
    (bench.state / "queue.db").write_bytes(b"nonsense" * 1000)
    with pytest.raises(StoreUnavailable, match="repairs"):
        reader.status()


async def test_the_reader_follows_a_database_that_took_anothers_place(bench: Any, reader: QueueReader) -> None:
    async with bench.store() as store:
        await store.offer([bench.report("a")])
        assert reader.status()["queue"]["items"] == 1
    for suffix in ("", "-wal"):
        (bench.state / f"queue.db{suffix}").rename(bench.state / f"old.db{suffix}")
    async with bench.store() as store:
        assert reader.status()["queue"]["items"] == 0


async def test_several_threads_read_at_once(bench: Any, reader: QueueReader) -> None:
    async with bench.store() as store:
        await store.offer([bench.report(f"r{index}") for index in range(50)])
        found: list[int] = []

        def read() -> None:
            for _ in range(20):
                found.append(len(reader.deliveries()["items"]))

        threads = [threading.Thread(target=read) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [50] * 120
