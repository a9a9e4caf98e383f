"""What a lane does with a real queue under it: every item ends where it should, charged for what it is to blame for."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from dropmill.api import AuthRejected, Delivered, Duplicate, Rejected, Retry, TransportCaps, Unavailable
from dropmill.delivery.status import LaneState
from support.lanes import ScriptedTransport, Site


def sent(queue: Site, lane: str = "d") -> int:
    return sum(event.name == "delivery.sent" and event.data["destination"] == lane for event in queue.events)


# --- the straight way --------------------------------------------------------------------------------------------------


async def test_everything_is_delivered_once(queue: Site) -> None:
    await queue.offer(*range(100))
    transport = ScriptedTransport()
    lane = queue.lane(transport, concurrency=4)
    async with queue.running(lane):
        await queue.until(lambda: sent(queue) == 100)
        await queue.offer(*range(100, 120))
        await queue.until(lambda: sent(queue) == 120)
    assert transport.attempts == Counter({f"r{number:05d}.1": 1 for number in range(120)})
    assert set(queue.deliveries().values()) == {("sent", 1)}
    assert queue.states() == ["starting", "running", "stopped"]
    assert transport.calls == {"open": 1, "close": 1}
    assert lane.status().counts == {"sent": 120}


async def test_sends_in_flight_are_bounded_by_settings_and_caps(queue: Site) -> None:
    async def slow(batch):
        await asyncio.sleep(0.01)
        return Delivered()

    for name, concurrency, most, expected in (("a", 3, None, 3), ("b", 8, 2, 2)):
        await queue.offer(*range(20), lanes=(name,))
        transport = ScriptedTransport(*[slow] * 20)
        caps = TransportCaps(max_in_flight=most)
        async with queue.running(queue.lane(transport, name=name, caps=caps, concurrency=concurrency)):
            await queue.until(lambda name=name: sent(queue, name) == 20)
        assert transport.most_in_flight == expected


async def test_batches_keep_to_the_caps(queue: Site) -> None:
    await queue.offer(*range(23), body=b"0123456789")
    transport = ScriptedTransport()
    caps = TransportCaps(max_batch=10, max_bytes=45)
    async with queue.running(queue.lane(transport, caps=caps, concurrency=1)):
        await queue.until(lambda: sent(queue) == 23)
    assert [len(batch) for batch in transport.batches] == [4, 4, 4, 4, 4, 3]


async def test_an_item_larger_than_the_transport_takes_is_a_dead_letter(queue: Site) -> None:
    await queue.offer(1, body=b"x" * 100)
    await queue.offer(2, body=b"x" * 10)
    transport = ScriptedTransport()
    async with queue.running(queue.lane(transport, caps=TransportCaps(max_batch=10, max_bytes=50))):
        await queue.until(lambda: queue.names("delivery.dead") == ["r00001.1"] and sent(queue) == 1)
    assert transport.keys == ["r00002.1"]
    assert queue.answers("r00001")[0][1]["code"] == "DM-D007"


async def test_a_repeated_delivery_is_as_good_as_a_first_one(queue: Site) -> None:
    await queue.offer(1)
    lane = queue.lane(ScriptedTransport(Duplicate("/there", details={"status": 409})))
    async with queue.running(lane):
        await queue.until(lambda: sent(queue) == 1)
    assert queue.answers("r00001") == [("sent", {"outcome": "duplicate", "ref": "/there", "details": {"status": 409}})]
    receipt = lane.status().last_receipt
    assert receipt is not None and receipt["key"] == "r00001.1" and receipt["ref"] == "/there"


# --- failures of single items --------------------------------------------------------------------------------------------


async def test_a_failed_item_comes_again_and_its_attempts_are_counted(queue: Site) -> None:
    await queue.offer(1)
    transport = ScriptedTransport(Retry("busy", code="HTTP-503"), RuntimeError("bug"), [], Delivered())
    async with queue.running(queue.lane(transport)):
        await queue.until(lambda: sent(queue) == 1)
    assert transport.batches == [[("r00001.1", attempt)] for attempt in (1, 2, 3, 4)]
    assert [answer["code"] for outcome, answer in queue.answers("r00001") if outcome == "failed"] == [
        "HTTP-503",
        "DM-D004",
        "DM-D005",
    ]
    assert queue.deliveries() == {"r00001": ("sent", 4)}


async def test_attempts_are_used_up(queue: Site) -> None:
    await queue.offer(1, 2)
    transport = ScriptedTransport(*[lambda batch: Retry("no") if batch[0].key == "r00001.1" else Delivered()] * 20)
    async with queue.running(queue.lane(transport, retries=3)):
        await queue.until(lambda: queue.names("delivery.dead") == ["r00001.1"] and sent(queue) == 1)
    assert transport.attempts == {"r00001.1": 4, "r00002.1": 1}
    assert queue.deliveries() == {"r00001": ("dead", 4), "r00002": ("sent", 1)}


async def test_a_refused_item_is_never_sent_again_and_holds_up_nobody(queue: Site) -> None:
    await queue.offer(*range(20))
    bad = {"r00003.1", "r00007.1"}
    transport = ScriptedTransport(
        *[lambda batch: Rejected("HTTP-400", "bad") if batch[0].key in bad else Delivered()] * 20
    )
    lane = queue.lane(transport)
    async with queue.running(lane):
        await queue.until(lambda: sent(queue) == 18 and len(queue.names("delivery.dead")) == 2)
    assert set(queue.names("delivery.dead")) == bad
    assert max(transport.attempts.values()) == 1
    assert lane.status().counts == {"sent": 18, "rejected": 2, "dead": 2}
    error = lane.status().last_error
    assert error is not None and error["code"] == "HTTP-400" and error["reason"] == "bad"


async def test_back_off_grows_and_a_wish_of_the_destination_is_kept(still_queue: Site) -> None:
    queue = still_queue
    await queue.offer(1)
    transport = ScriptedTransport(Retry("busy"), Retry("busy"), Retry("later", 120.0), Delivered())
    lane = queue.lane(transport, backoff=10.0, backoff_cap=300.0)
    start = queue.clock.time()
    due: list[float] = []
    async with queue.running(lane):
        for number in (1, 2, 3):
            await queue.until(lambda number=number: len(queue.names("delivery.failed")) == number)
            due.append(queue.due_in())
            queue.clock.advance(due[-1] - 0.001)
            lane.wake()
            await asyncio.sleep(0.02)
            assert len(transport.batches) == number, "it came before it was due"
            queue.clock.advance(0.002)
            lane.wake()
        await queue.until(lambda: sent(queue) == 1)
    assert 0 <= due[0] <= 10 and 0 <= due[1] <= 20 and 120 <= due[2] <= 132
    assert queue.clock.time() - start >= 120


async def test_a_send_that_hangs_is_ended_and_counts(queue: Site) -> None:
    await queue.offer(1, 2)
    ended = asyncio.Event()

    async def hang(batch):
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    transport = ScriptedTransport(hang)
    lane = queue.lane(transport, timeout=0.05, concurrency=1)
    async with queue.running(lane):
        await queue.until(lambda: sent(queue) == 2)
    assert ended.is_set()
    assert queue.answers("r00001")[0][1]["code"] == "DM-D006"
    assert lane.status().counts["timeout"] == 1


class Clinging:
    """A send that does not let go when it is cancelled."""

    def __init__(self) -> None:
        self.let_go = asyncio.Event()

    async def __call__(self, batch):
        while not self.let_go.is_set():
            try:
                await self.let_go.wait()
            except asyncio.CancelledError:
                continue
        return [Delivered("late")] * len(batch)


@pytest.mark.parametrize("then", [[], [Retry("503")] * 5, [Unavailable("away")]])
async def test_a_send_that_does_not_let_go_is_shown_and_the_others_go_on(
    queue: Site, monkeypatch: pytest.MonkeyPatch, then: list[object]
) -> None:
    monkeypatch.setattr("dropmill.delivery.lane._GRACE", 0.05)
    monkeypatch.setattr("dropmill.delivery.lane._BEAT", 0.02)
    await queue.offer(*range(20))
    cling = Clinging()
    transport = ScriptedTransport(cling, *then)
    lane = queue.lane(transport, timeout=0.5, concurrency=2)
    try:
        async with queue.running(lane):
            try:
                await queue.until(lambda: "stuck" in queue.states() and sent(queue) == 19)
                assert lane.status().state is LaneState.STUCK and "1 of 1 sends" in lane.status().reason
            finally:
                cling.let_go.set()
            await queue.until(lambda: sent(queue) == 20)
            await queue.until(lambda: queue.states()[-1:] == ["running"])
    finally:
        cling.let_go.set()


async def test_sends_that_do_not_let_go_never_use_up_more_than_their_places(
    queue: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dropmill.delivery.lane._GRACE", 0.02)
    monkeypatch.setattr("dropmill.delivery.lane._BEAT", 0.02)
    await queue.offer(*range(20))
    cling = Clinging()
    transport = ScriptedTransport(*[cling] * 20)
    lane = queue.lane(transport, timeout=0.02, concurrency=3)
    try:
        async with queue.running(lane):
            try:
                await queue.until(lambda: "stuck" in queue.states() and lane.status().reason.startswith("3 of 3"))
                lane.probe_now()
                await asyncio.sleep(0.3)
                assert transport.in_flight == 3 and transport.calls["probe"] == 1
            finally:
                cling.let_go.set()
            await queue.until(lambda: sent(queue) == 20)
    finally:
        cling.let_go.set()


async def test_a_listener_that_fails_does_not_touch_the_lane(queue: Site) -> None:
    await queue.offer(1)
    lane = queue.lane(ScriptedTransport())
    heard = []

    def fail(event):
        queue.on_event(event)
        heard.append(event)
        raise RuntimeError("a bug in a listener")

    lane._board._on_event = fail
    async with queue.running(lane):
        await queue.until(lambda: sent(queue) == 1)
    assert queue.deliveries() == {"r00001": ("sent", 1)} and heard


async def test_a_transport_that_cancels_itself_does_not_take_the_lane_along(queue: Site) -> None:
    await queue.offer(1)
    async with queue.running(queue.lane(ScriptedTransport(asyncio.CancelledError()))):
        await queue.until(lambda: sent(queue) == 1)
    assert "cancelled" in queue.answers("r00001")[0][1]["reason"]


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), GeneratorExit()])
async def test_a_transport_cannot_end_the_agent(queue: Site, error: BaseException) -> None:
    await queue.offer(1)
    transport = ScriptedTransport(error)
    async with queue.running(queue.lane(transport)):
        await queue.until(lambda: sent(queue) == 1)
    assert queue.answers("r00001")[0][1]["code"] == "DM-D004"
    assert transport.calls["open"] == 2, "a transport that faulted is opened anew"


async def test_items_of_a_batch_end_one_by_one(queue: Site) -> None:
    await queue.offer(1, 2, 3)
    transport = ScriptedTransport([Delivered("a"), Retry("again"), Rejected("X", "never")])
    async with queue.running(queue.lane(transport, caps=TransportCaps(max_batch=10))):
        await queue.until(lambda: sent(queue) == 2 and len(queue.names("delivery.dead")) == 1)
    assert transport.batches[1] == [("r00002.1", 2)]
    assert queue.deliveries() == {"r00001": ("sent", 1), "r00002": ("sent", 2), "r00003": ("dead", 1)}


# --- the destination as a whole --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signal", [Unavailable("refused"), AuthRejected("401 Unauthorized")])
async def test_a_destination_that_is_away_costs_no_attempt(queue: Site, signal: Exception) -> None:
    await queue.offer(*range(30))
    transport = ScriptedTransport(*[signal] * 4)
    transport.probes.extend([signal, signal, signal])
    lane = queue.lane(transport, concurrency=4, probe_every=0.05)
    async with queue.running(lane):
        await queue.until(lambda: "waiting for destination" in queue.states())
        status = lane.status()
        assert status.state is LaneState.WAITING and status.reason
        assert status.next_probe is not None
        assert status.last_error is not None and status.last_error["code"] in ("DM-D001", "DM-D002")
        await queue.until(lambda: sent(queue) == 30)
        assert lane.status().state is LaneState.RUNNING
    assert set(queue.deliveries().values()) == {("sent", 1)}
    assert transport.calls["probe"] >= 4
    assert max(transport.attempts.values()) <= 5
    assert all(attempt == 1 for batch in transport.batches for _, attempt in batch)


async def test_credentials_are_read_anew_while_they_are_refused(queue: Site) -> None:
    await queue.offer(1)
    transport = ScriptedTransport(AuthRejected("401"))
    transport.probes.extend([AuthRejected("401"), AuthRejected("401")])
    lane = queue.lane(transport, probe_every=0.02)
    lane.hide(["new-token"])
    async with queue.running(lane):
        await queue.until(lambda: sent(queue) == 1)
    assert transport.calls["open"] == 4 and transport.calls["close"] == 4


async def test_no_storm_while_a_destination_is_away(still_queue: Site) -> None:
    queue = still_queue
    await queue.offer(*range(200))
    transport = ScriptedTransport(*[Unavailable("refused")] * 400)
    transport.probes.extend([Unavailable("refused")] * 1000)
    lane = queue.lane(transport, concurrency=8, probe_every=30.0)
    async with queue.running(lane):
        await queue.until(lambda: "waiting for destination" in queue.states())
        began = queue.clock.time()
        for _ in range(3600):
            queue.clock.advance(1.0)
            before = transport.calls["probe"]
            status = lane.status()
            lane.wake()
            if status.next_probe is not None and status.next_probe <= queue.clock.time():
                async with asyncio.timeout(5):
                    while transport.calls["probe"] == before or lane.status().next_probe == status.next_probe:
                        await asyncio.sleep(0)
        hour = queue.clock.time() - began
        assert hour / 30 <= transport.calls["probe"] <= hour / 15 + 10
        assert len(transport.keys) <= 8, "only what was in flight when it went away"
    assert {state for state, _ in queue.deliveries().values()} <= {"ready", "delayed"}
    assert {attempts for _, attempts in queue.deliveries().values()} == {0}


async def test_after_a_probe_one_item_is_tried_alone(queue: Site) -> None:
    await queue.offer(*range(40))
    gate = asyncio.Event()

    async def wait(batch):
        await gate.wait()
        return Delivered()

    transport = ScriptedTransport(*[Unavailable("away")] * 4, wait)
    lane = queue.lane(transport, concurrency=4)
    async with queue.running(lane):
        await queue.until(lambda: "waiting for destination" in queue.states())
        async with asyncio.timeout(10):
            while transport.calls["probe"] < 1 or transport.in_flight == 0:
                await asyncio.sleep(0.005)
        before = len(transport.batches)
        await asyncio.sleep(0.05)
        assert len(transport.batches) == before and transport.in_flight == 1
        gate.set()
        await queue.until(lambda: sent(queue) == 40)
    assert transport.most_in_flight <= 4


async def test_an_item_that_alone_brings_the_lane_down_is_charged_in_the_end(queue: Site) -> None:
    """Its refusal looks like a destination that is away; but others get through, so it must not hold them up for ever."""

    def step(batch):
        return Unavailable("403 for this one") if batch[0].key == "r00000.1" else Delivered()

    transport = ScriptedTransport(*[step] * 10_000)
    lane = queue.lane(transport, retries=1, concurrency=2, probe_every=0.01)
    async with queue.running(lane):
        await queue.offer(0)
        number = 0
        while not queue.names("delivery.dead"):
            number += 5
            await queue.offer(*range(number, number + 5))
            await queue.until(lambda number=number: sent(queue) == number, timeout=60)
    assert queue.names("delivery.dead") == ["r00000.1"]
    assert queue.deliveries()["r00000"] == ("dead", 2)
    assert transport.attempts["r00000.1"] >= 10, (
        "five refusals, with others getting through in between, for one attempt"
    )
    assert max(count for key, count in transport.attempts.items() if key != "r00000.1") == 1


async def test_a_destination_that_takes_some_and_refuses_others_hardly_charges_anybody(queue: Site) -> None:
    """A disk that is nearly full, say: who is refused depends on the moment."""
    await queue.offer(*range(60))
    turn = iter(range(10_000))
    transport = ScriptedTransport(*[lambda batch: Unavailable("full") if next(turn) % 3 else Delivered()] * 1000)
    async with queue.running(queue.lane(transport, probe_every=0.005)):
        await queue.until(lambda: sent(queue) == 60, timeout=60)
    spent = [attempts for _, attempts in queue.deliveries().values()]
    assert sum(spent) - 60 <= len(transport.keys) / 5


async def test_what_a_batch_could_not_take_along_is_not_charged(queue: Site) -> None:
    await queue.offer(1, 2, 3)
    full = Retry("disk full", code="DIR-UNAVAILABLE", charged=False)
    transport = ScriptedTransport([Delivered(), full, full], full, full)
    lane = queue.lane(transport, caps=TransportCaps(max_batch=3))
    async with queue.running(lane):
        await queue.until(lambda: sent(queue) == 3)
    assert set(queue.deliveries().values()) == {("sent", 1)}
    assert lane.status().counts["sent"] == 3 and lane.status().counts["given_back"] >= 4


async def test_a_transport_that_charges_nobody_cannot_storm(queue: Site) -> None:
    await queue.offer(*range(10))
    transport = ScriptedTransport(*[Retry("no", charged=False)] * 10_000)
    lane = queue.lane(transport, probe_every=10.0, concurrency=2)
    async with queue.running(lane):
        await queue.until(lambda: "breaker open" in queue.states())
        await asyncio.sleep(0.3)
        assert len(transport.keys) <= 5 + 1


async def test_the_breaker_opens_after_failures_in_a_row(queue: Site) -> None:
    await queue.offer(*range(50))
    transport = ScriptedTransport(*[Retry("503 Service Unavailable")] * 12)
    lane = queue.lane(transport, concurrency=1, threshold=5, retries=20)
    async with queue.running(lane):
        await queue.until(lambda: "breaker open" in queue.states())
        status = lane.status()
        assert status.state is LaneState.BREAKER_OPEN and "503" in status.reason and status.failures >= 5
        await queue.until(lambda: sent(queue) == 50)
    assert transport.calls["probe"] == 0, "a trial is an item"
    charged = sum(attempts for _, attempts in queue.deliveries().values())
    assert charged == 50 + 12, "five before it opened, then one for each trial"


async def test_a_flood_is_not_charged_while_the_breaker_is_open(queue: Site) -> None:
    await queue.offer(*range(100))
    transport = ScriptedTransport(*[Retry("500")] * 10_000)
    lane = queue.lane(transport, concurrency=8, threshold=5, probe_every=10.0)
    async with queue.running(lane):
        await queue.until(lambda: "breaker open" in queue.states())
        async with asyncio.timeout(10):
            while transport.in_flight or lane.status().leased:
                await asyncio.sleep(0.005)
        assert len(transport.keys) <= 5 + 7


async def test_a_slow_destination_does_not_delay_another(queue: Site) -> None:
    await queue.offer(*range(200), lanes=("slow", "quick", "dead"))
    gate = asyncio.Event()

    async def hang(batch):
        await gate.wait()
        return Delivered()

    slow = ScriptedTransport(*[hang] * 4)
    dead = ScriptedTransport(*[Unavailable("away")] * 1000)
    dead.probes.extend([Unavailable("away")] * 1000)
    quick = ScriptedTransport()
    lanes = [queue.lane(t, name=n) for t, n in ((slow, "slow"), (dead, "dead"), (quick, "quick"))]
    async with queue.running(*lanes):
        await queue.until(lambda: sent(queue, "quick") == 200)
        assert sent(queue, "slow") == 0
        gate.set()
        await queue.until(lambda: sent(queue, "slow") == 200)
    assert set(queue.deliveries("dead").values()) == {("ready", 0)} or all(
        state in ("ready", "delayed") and attempts == 0 for state, attempts in queue.deliveries("dead").values()
    )


# --- order -----------------------------------------------------------------------------------------------------------------


async def test_order_is_kept_through_failures(queue: Site) -> None:
    await queue.offer(*range(30))
    steps = {5: Retry("busy"), 6: Retry("busy"), 9: Unavailable("away"), 12: RuntimeError("bug")}
    transport = ScriptedTransport(*[steps.get(number, Delivered()) for number in range(40)])
    async with queue.running(queue.lane(transport, caps=TransportCaps(ordered=True), concurrency=8)):
        await queue.until(lambda: sent(queue) == 30)
    assert transport.most_in_flight == 1
    arrived = [key for key, step in zip(transport.keys, range(40), strict=False) if step not in steps]
    assert arrived == [f"r{number:05d}.1" for number in range(30)]


async def test_an_ordered_batch_that_fails_in_the_middle(queue: Site) -> None:
    await queue.offer(*range(6))
    transport = ScriptedTransport([Delivered(), Retry("busy"), Delivered(), Delivered()])
    async with queue.running(queue.lane(transport, caps=TransportCaps(ordered=True, max_batch=4))):
        await queue.until(lambda: sent(queue) == 6)
    assert transport.batches[0] == [(f"r{number:05d}.1", 1) for number in range(4)]
    assert transport.batches[1][0] == ("r00001.1", 2)


async def test_a_dead_letter_does_not_hold_up_an_ordered_lane(queue: Site) -> None:
    await queue.offer(*range(4))
    transport = ScriptedTransport(Delivered(), Rejected("X", "no"))
    async with queue.running(queue.lane(transport, caps=TransportCaps(ordered=True))):
        await queue.until(lambda: sent(queue) == 3)
    assert transport.keys == [f"r{number:05d}.1" for number in range(4)]


# --- operators -------------------------------------------------------------------------------------------------------------


async def test_a_paused_lane_finishes_what_is_in_flight_and_begins_nothing(queue: Site) -> None:
    await queue.offer(*range(50))
    gate = asyncio.Event()

    async def wait(batch):
        await gate.wait()
        return Delivered()

    transport = ScriptedTransport(wait, wait)
    lane = queue.lane(transport, concurrency=2)
    async with queue.running(lane):
        async with asyncio.timeout(5):
            while transport.in_flight < 2:
                await asyncio.sleep(0)
        lane.pause("maintenance")
        await queue.until(lambda: queue.states()[-1:] == ["paused"])
        assert (lane.status().state, lane.status().reason) == (LaneState.PAUSED, "maintenance")
        async with asyncio.timeout(5):
            while lane.status().leased > 2:
                await asyncio.sleep(0.005)
        assert lane.status().in_flight == 2
        gate.set()
        await queue.until(lambda: sent(queue) == 2)
        await asyncio.sleep(0.05)
        assert sent(queue) == 2 and len(transport.batches) == 2
        assert Counter(queue.deliveries().values()) == {("sent", 1): 2, ("ready", 0): 48}
        lane.resume()
        await queue.until(lambda: sent(queue) == 50)


async def test_a_lane_may_start_paused(queue: Site) -> None:
    await queue.offer(1)
    transport = ScriptedTransport()
    lane = queue.lane(transport, paused="since yesterday")
    async with queue.running(lane):
        await queue.until(lambda: queue.states() == ["paused"])
        assert transport.calls["open"] == 0
        lane.resume()
        await queue.until(lambda: sent(queue) == 1)


async def test_resuming_asks_a_waiting_destination_at_once(still_queue: Site) -> None:
    queue = still_queue
    await queue.offer(1)
    transport = ScriptedTransport(AuthRejected("401"))
    lane = queue.lane(transport, probe_every=3600.0)
    async with queue.running(lane):
        await queue.until(lambda: "waiting for destination" in queue.states())
        lane.resume()
        async with asyncio.timeout(5):
            while transport.calls["probe"] == 0:
                await asyncio.sleep(0)
        await queue.until(lambda: sent(queue) == 1)


async def test_probing_on_request(queue: Site) -> None:
    transport = ScriptedTransport()
    lane = queue.lane(transport, paused="for now")
    async with queue.running(lane):
        for error in ("", "the destination is not available: 503", ""):
            transport.probes.append(Unavailable("503") if error else None)
            lane.probe_now()
            before = lane.status().last_probe
            async with asyncio.timeout(5):
                while lane.status().last_probe is before:
                    await asyncio.sleep(0.001)
            probe = lane.status().last_probe
            assert probe is not None and probe.error == error and probe.seconds >= 0
        assert transport.calls == {"open": 1, "probe": 3}
        await queue.offer(1)
        lane.resume()
        await queue.until(lambda: sent(queue) == 1)


async def test_a_failing_probe_on_request_shows_a_running_lane_as_waiting(queue: Site) -> None:
    transport = ScriptedTransport()
    lane = queue.lane(transport)
    async with queue.running(lane):
        await queue.until(lambda: queue.states()[-1:] == ["running"])
        transport.probes.append(Unavailable("down"))
        lane.probe_now()
        await queue.until(lambda: "waiting for destination" in queue.states())
        await queue.until(lambda: queue.states()[-1:] == ["running"], "the next probe to go well")


async def test_the_status_has_a_shape_for_json(queue: Site) -> None:
    import json

    await queue.offer(1)
    lane = queue.lane(ScriptedTransport(Retry("no")))
    assert lane.status().state is LaneState.STOPPED
    async with queue.running(lane):
        await queue.until(lambda: sent(queue) == 1)
        shown = json.loads(json.dumps(lane.status().as_dict()))
    assert shown["state"] == "running" and shown["inFlight"] == 0 and shown["counts"]["sent"] == 1
    assert shown["lastReceipt"]["reportId"] == "r00001" and shown["lastError"]["reason"] == "no"


# --- opening and closing -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [Unavailable("no such folder"), ValueError("stray brace"), SystemExit()])
async def test_a_transport_that_does_not_open_is_tried_again(queue: Site, error: BaseException) -> None:
    await queue.offer(1)
    transport = ScriptedTransport()
    transport.opens.extend([error, error])
    lane = queue.lane(transport, probe_every=0.02)
    async with queue.running(lane):
        await queue.until(lambda: sent(queue) == 1)
    assert transport.calls["open"] == 3
    assert queue.states()[:2] == ["starting", "waiting for destination"]
    assert queue.deliveries() == {"r00001": ("sent", 1)}


async def test_opening_has_a_time_limit(queue: Site) -> None:
    await queue.offer(1)
    transport = ScriptedTransport()
    transport.opens.append(lambda: asyncio.sleep(60))
    lane = queue.lane(transport, timeout=0.05, probe_every=0.02)
    async with queue.running(lane):
        await queue.until(lambda: sent(queue) == 1)
    assert transport.calls["open"] == 2


async def test_a_transport_that_does_not_close_does_not_hold_up_the_stop(queue: Site, monkeypatch) -> None:
    monkeypatch.setattr("dropmill.delivery.courier._CLOSE_LIMIT", 0.05)

    class Clinging(ScriptedTransport):
        async def close(self) -> None:
            await asyncio.sleep(60)

    class Failing(ScriptedTransport):
        async def close(self) -> None:
            raise RuntimeError("already gone")

    for transport in (Clinging(), Failing()):
        async with queue.running(queue.lane(transport)):
            await queue.until(lambda: queue.states()[-1:] == ["running"])
