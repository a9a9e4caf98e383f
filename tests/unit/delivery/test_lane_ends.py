"""However a lane ends, and whatever the queue does meanwhile, no lease is lost and no answer is forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dropmill.api import Delivered, Rejected, Retry, TransportCaps, Unavailable
from dropmill.delivery.status import LaneState
from dropmill.queue.errors import StoreUnavailable
from dropmill.queue.records import Acknowledged, Lease
from dropmill.queue.sqlite import SqliteStore
from support.lanes import Heart, ScriptedTransport, Site, site


def sent(queue: Site) -> int:
    return len(queue.names("delivery.sent"))


async def in_flight(transport: ScriptedTransport, count: int) -> None:
    async with asyncio.timeout(10):
        while transport.in_flight < count:
            transport.changed.clear()
            await transport.changed.wait()


# --- stopping --------------------------------------------------------------------------------------------------------------


async def test_a_stop_lets_sends_finish_and_begins_nothing(queue: Site) -> None:
    await queue.offer(*range(50))
    gate = asyncio.Event()

    async def wait(batch):
        await gate.wait()
        return Delivered()

    transport = ScriptedTransport(wait, wait, wait)
    lane = queue.lane(transport, concurrency=3)
    async with queue.running(lane) as (heart,):
        await in_flight(transport, 3)
        heart.stop()
        await asyncio.sleep(0.05)
        assert lane.status().in_flight == 3
        gate.set()
    assert len(transport.batches) == 3
    assert sorted(queue.deliveries().values()) == [("ready", 0)] * 47 + [("sent", 1)] * 3
    assert transport.calls["close"] == 1
    assert lane.status().state is LaneState.STOPPED


async def test_an_idle_lane_stops_at_once(queue: Site) -> None:
    lane = queue.lane(ScriptedTransport())
    loop = asyncio.get_running_loop()
    async with queue.running(lane) as (heart,):
        await queue.until(lambda: queue.states()[-1:] == ["running"])
        began = loop.time()
        heart.stop()
    assert loop.time() - began < 0.5


@pytest.mark.parametrize("state", ["waiting", "breaker", "paused"])
async def test_a_lane_stops_from_every_state(queue: Site, state: str) -> None:
    await queue.offer(*range(10))
    script = {"waiting": [Unavailable("x")] * 9, "breaker": [Retry("x")] * 99, "paused": []}[state]
    lane = queue.lane(ScriptedTransport(*script), probe_every=3600.0, paused="x" if state == "paused" else "")
    async with queue.running(lane):
        shown = {"waiting": "waiting for destination", "breaker": "breaker open", "paused": "paused"}[state]
        await queue.until(lambda: shown in queue.states())


async def test_a_cancelled_lane_gives_back_what_it_has_without_charge(queue: Site) -> None:
    await queue.offer(*range(50))

    async def hang(batch):
        await asyncio.sleep(3600)

    transport = ScriptedTransport(*[hang] * 50)
    lane = queue.lane(transport, concurrency=4)
    task = asyncio.create_task(lane.run(Heart()))
    await in_flight(transport, 4)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert set(queue.deliveries().values()) == {("ready", 0)}
    assert transport.calls["close"] == 1
    assert lane.status().leased == 0


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.integers(0, 60), width=st.integers(1, 4), second=st.booleans())
async def test_cancelled_anywhere_every_item_is_sent_or_ready(
    tmp_path_factory: pytest.TempPathFactory, steps: int, width: int, second: bool
) -> None:
    """A cancellation after any number of the loop's rounds: nothing leased, nothing charged that was not sent."""
    async with site(tmp_path_factory.mktemp("queue")) as queue:
        await queue.offer(*range(12))

        async def nap(batch):
            await asyncio.sleep(0)
            return Delivered()

        transport = ScriptedTransport(*[nap] * 100)
        lane = queue.lane(transport, concurrency=width)
        task = asyncio.create_task(lane.run(Heart()))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        if second:
            await asyncio.sleep(0)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with queue.running(lane):  # it can be run again, as the supervisor does
            await queue.until(lambda: {state for state, _ in queue.deliveries().values()} == {"sent"})
        assert {attempts for _, attempts in queue.deliveries().values()} == {1}


async def test_a_lane_that_crashed_is_run_again_and_loses_nothing(queue: Site) -> None:
    await queue.offer(*range(40))
    transport = ScriptedTransport()
    lane = queue.lane(transport, concurrency=4)
    crash = iter([True])

    original = lane._gate.conclude

    def conclude(batch: Any, ending: Any) -> Any:
        if next(crash, False):
            raise RuntimeError("a bug of ours")
        return original(batch, ending)

    lane._gate.conclude = conclude  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="a bug of ours"):
        await lane.run(Heart())
    assert {state for state, _ in queue.deliveries().values()} <= {"ready", "sent"}
    assert {attempts for state, attempts in queue.deliveries().values() if state == "ready"} <= {0}
    async with queue.running(lane):
        await queue.until(lambda: {state for state, _ in queue.deliveries().values()} == {"sent"})


async def test_leases_of_a_lane_object_that_is_gone_are_freed_by_its_successor(queue: Site) -> None:
    await queue.offer(*range(5))
    claimed = await queue.store.claim("d", 3)
    assert len(claimed.leases) == 3
    async with queue.running(queue.lane(ScriptedTransport())):
        await queue.until(lambda: sent(queue) == 5)
    late = await queue.store.acknowledge(claimed.leases[:1], [{}])
    assert not late[0].counted


# --- the queue in trouble --------------------------------------------------------------------------------------------------


class Troubled(SqliteStore):
    """Fails each named call so many times before it works."""

    def trouble(self, **calls: int) -> None:
        self.left = calls

    def _fails(self, call: str) -> None:
        if getattr(self, "left", {}).get(call, 0) > 0:
            self.left[call] -= 1
            raise StoreUnavailable("no space left on device", where="queue.db")

    async def claim(self, *args: Any, **named: Any) -> Any:
        self._fails("claim")
        return await super().claim(*args, **named)

    async def acknowledge(
        self, leases: Sequence[Lease], receipts: Sequence[Mapping[str, Any]]
    ) -> Sequence[Acknowledged]:
        self._fails("acknowledge")
        return await super().acknowledge(leases, receipts)

    async def fail(self, *args: Any, **named: Any) -> Acknowledged:
        self._fails("fail")
        return await super().fail(*args, **named)

    async def snooze(self, *args: Any, **named: Any) -> None:
        self._fails("snooze")
        await super().snooze(*args, **named)

    async def record_event(self, *args: Any, **named: Any) -> None:
        self._fails("record_event")
        await super().record_event(*args, **named)


@pytest.fixture
async def troubled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("support.lanes.SqliteStore", Troubled)
    monkeypatch.setattr("dropmill.delivery.ledger._PATIENCE", (0.01, 0.05))
    async with site(tmp_path) as made:
        yield made


async def test_answers_wait_until_the_queue_can_be_written(troubled: Site) -> None:
    queue = troubled
    await queue.offer(*range(20))
    bad, busy = {"r00003.1"}, {"r00005.1"}

    def step(batch):
        key = batch[0].key
        if key in bad:
            return Rejected("X", "no")
        return Retry("busy") if key in busy and batch[0].attempt == 1 else Delivered()

    transport = ScriptedTransport(*[step] * 100)
    lane = queue.lane(transport)
    queue.store.trouble(claim=2, acknowledge=3, fail=2, record_event=2)  # type: ignore[attr-defined]
    async with queue.running(lane):
        async with asyncio.timeout(10):
            while not lane.status().trouble:
                await asyncio.sleep(0.001)
        assert "no space left" in lane.status().trouble
        await queue.until(lambda: sent(queue) == 19 and len(queue.names("delivery.dead")) == 1)
        assert lane.status().trouble == ""
    assert transport.attempts["r00005.1"] == 2
    assert sum(transport.attempts.values()) == 21, "nothing is sent again for want of a commit"


async def test_stopping_waits_for_the_queue_to_take_the_answers(troubled: Site) -> None:
    queue = troubled
    await queue.offer(*range(10))
    transport = ScriptedTransport()
    queue.store.trouble(acknowledge=3, snooze=3)  # type: ignore[attr-defined]
    async with queue.running(queue.lane(transport, concurrency=1)) as (heart,):
        await in_flight(transport, 0)
        async with asyncio.timeout(5):
            while not transport.batches:
                await asyncio.sleep(0)
        heart.stop()
    states = [state for state, _ in queue.deliveries().values()]
    assert states.count("sent") == len(transport.batches)
    assert set(states) <= {"sent", "ready"}


async def test_the_books_failing_unexpectedly_ends_the_run_for_the_supervisor_to_see(queue: Site) -> None:
    await queue.offer(*range(5))

    async def broken(leases: Any, receipts: Any) -> Any:
        raise TypeError("a bug in the store")

    original, queue.store.acknowledge = queue.store.acknowledge, broken  # type: ignore[method-assign]
    lane = queue.lane(ScriptedTransport())
    with pytest.raises(TypeError, match="a bug in the store"):
        async with asyncio.timeout(10):
            await lane.run(Heart())
    queue.store.acknowledge = original  # type: ignore[method-assign]
    async with queue.running(lane):
        await queue.until(lambda: sent(queue) == 5)


async def test_a_lease_that_was_taken_away_meanwhile_is_counted_and_changes_nothing(queue: Site) -> None:
    await queue.offer(1)
    gate = asyncio.Event()

    async def wait(batch):
        await gate.wait()
        return Delivered("late")

    transport = ScriptedTransport(wait)
    lane = queue.lane(transport)
    async with queue.running(lane):
        await in_flight(transport, 1)
        await queue.store.release_lane("d", reason="for a test")
        gate.set()
        await queue.until(lambda: lane.status().counts.get("stale", 0) == 1)
        await queue.until(lambda: queue.deliveries() == {"r00001": ("sent", 1)})
    assert transport.attempts == {"r00001.1": 2}


# --- payloads --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 100, 20_000, 700_000])
async def test_payloads_arrive_whole_in_one_piece_and_in_many(queue: Site, size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    body = body[:size]
    await queue.offer(1, body=body)
    got: list[Any] = []

    async def read(batch):
        (item,) = batch
        got.append(await item.read())
        got.append(b"".join([piece async for piece in item.chunks(1000)]))
        got.append((item.report_id, item.size, item.media_type, item.fields["serial"], item.attempt))
        return Delivered()

    async with queue.running(queue.lane(ScriptedTransport(read))):
        await queue.until(lambda: sent(queue) == 1)
    assert got == [body, body, ("r00001", size, "application/json", "S1", 1)]


async def test_a_payload_that_is_damaged_on_disk_is_not_blamed_on_the_transport(queue: Site) -> None:
    body = b"x" * 100_000
    await queue.offer(1, body=body)
    await queue.offer(2)
    segments = sorted((queue.home / "state" / "segments").iterdir())
    data = segments[0].read_bytes()
    place = data.index(body)
    with segments[0].open("r+b") as stream:
        stream.seek(place + 50_000)
        stream.write(b"!")

    async def read(batch):
        for item in batch:
            await item.read()
        return [Delivered()] * len(batch)

    transport = ScriptedTransport(*[read] * 10)
    lane = queue.lane(transport, caps=TransportCaps(max_batch=2), threshold=1)
    async with queue.running(lane):
        await queue.until(lambda: sent(queue) == 1)
        await queue.until(lambda: queue.deliveries()["r00001"][0] == "dead")
    assert lane.status().counts.get("fault", 0) == 0
    assert "breaker open" not in queue.states()
    assert transport.calls["open"] == 1


# --- what is kept ----------------------------------------------------------------------------------------------------------


async def test_no_secret_is_kept_or_told(queue: Site, capfd: pytest.CaptureFixture[str]) -> None:
    await queue.offer(1, 2, 3, 4)
    secret = "hunter2-hunter2"
    transport = ScriptedTransport(
        Retry(f"bad token {secret}", details={"echo": [secret]}),
        RuntimeError(f"could not log in with {secret}"),
        Unavailable(f"proxy refused {secret}"),
        Rejected("X", secret, details={"url": f"https://host/?t={secret}"}),
        Delivered(f"https://host/?t={secret}", details={"body": secret}),
    )
    transport.probes.append(RuntimeError(secret))
    lane = queue.lane(transport, secrets=[secret], concurrency=1)
    async with queue.running(lane):
        await queue.until(lambda: sent(queue) == 3 and len(queue.names("delivery.dead")) == 1)
        told = str(lane.status().as_dict()) + str(queue.events)
    kept = str([queue.answers(f"r{number:05d}") for number in (1, 2, 3, 4)])
    assert "***" in kept and "***" in told
    captured = capfd.readouterr()
    assert secret not in kept + told + captured.out + captured.err
    for file in (queue.home / "state").glob("queue.db*"):
        assert secret.encode() not in file.read_bytes()


async def test_states_are_kept_as_events_of_the_destination(queue: Site) -> None:
    await queue.offer(1)
    async with queue.running(queue.lane(ScriptedTransport(Unavailable("refused")))):
        await queue.until(lambda: sent(queue) == 1)
    told = queue.told("d", "lane.state")
    assert len(told) >= 4 and "refused" in str(told)


async def test_the_heart_beats_while_sends_hang_and_while_nothing_happens(
    queue: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dropmill.delivery.lane._BEAT", 0.01)
    await queue.offer(1)
    gate = asyncio.Event()

    async def wait(batch):
        await gate.wait()
        return Delivered()

    transport = ScriptedTransport(wait)
    async with queue.running(queue.lane(transport)) as (heart,):
        await in_flight(transport, 1)
        for _ in range(2):
            before = heart.beats
            async with asyncio.timeout(5):
                while heart.beats < before + 3:
                    await asyncio.sleep(0.005)
            gate.set()


async def test_the_supervisors_view(queue: Site) -> None:
    lane = queue.lane(ScriptedTransport(), name="reports")
    child = lane.child()
    assert child.name == "lane reports" and child.heartbeat is not None
    assert not child.critical, "one destination must not stop the agent"
    assert child.run == lane.run
    child.quiesce()
