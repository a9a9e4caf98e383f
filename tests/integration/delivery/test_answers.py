"""A lane with the HTTP transport against a server that answers, breaks off, drips and hangs: right state, right next step."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

import pytest

from dropmill.delivery.status import LaneState
from support.lanes import Heart, Site, http_lane
from support.servers import Reply, ScriptedServer, Silence

BIG = b"[" + b"1," * 400_000 + b"1]"


IMPATIENT = {"read_timeout": 0.5}


@dataclass(frozen=True)
class Case:
    """An answer to the first request; the server is well after it."""

    step: Reply | Silence
    state: str
    """Of the delivery, in the end."""
    code: str = ""
    """Of the first failed attempt; empty: there is none."""
    waits: bool = False
    """The lane waits for the destination, nobody is charged."""
    options: dict[str, Any] = field(default_factory=dict)
    body: bytes = b'{"number": 1}'
    receipt: str = "sent"


RECEIVED = {
    "200": Case(Reply(status=200, body=b"ok"), "sent"),
    "201": Case(Reply(status=201, headers={"Location": "/r/1", "ETag": '"e"'}), "sent"),
    "202": Case(Reply(status=202), "sent"),
    "204 without a body": Case(Reply(status=204), "sent"),
    "200 up to the end of the connection": Case(Reply(body=b"ok", length=-1, end="close"), "sent"),
    "200, then closed": Case(Reply(body=b"ok", end="close"), "sent"),
    "200, half closed": Case(Reply(body=b"ok", end="half"), "sent"),
    "200 with more than anybody reads": Case(Reply(body=b"x" * 2_000_000), "sent"),
    "200 slowly, but in time": Case(Reply(body=b"slow", drip=0.05), "sent"),
    "409 that means duplicate": Case(
        Reply(status=409), "sent", options={"duplicate_status": [409]}, receipt="duplicate"
    ),
    "big body": Case(Reply(status=201), "sent", body=BIG, options={"read_timeout": 30}),
    "big body, compressed": Case(Reply(status=201), "sent", body=BIG * 2, options={"gzip": True, "read_timeout": 30}),
}

REFUSED = {
    "400": Case(Reply(status=400, body=b"bad report"), "dead", "HTTP-400"),
    "404": Case(Reply(status=404), "dead", "HTTP-404"),
    "405": Case(Reply(status=405), "dead", "HTTP-405"),
    "409": Case(Reply(status=409), "dead", "HTTP-409"),
    "410": Case(Reply(status=410), "dead", "HTTP-410"),
    "413": Case(Reply(status=413), "dead", "HTTP-413"),
    "413 before the body is read": Case(Reply(status=413, early=True, end="close"), "dead", "HTTP-413", body=BIG),
    "415": Case(Reply(status=415), "dead", "HTTP-415"),
    "422, broken off": Case(Reply(status=422, body=b"ba", length=100, end="close"), "dead", "HTTP-422"),
    "403 that means never": Case(Reply(status=403), "dead", "HTTP-403", options={"reject_status": [403]}),
}

AGAIN = {
    "408": Case(Reply(status=408, end="close"), "sent", "HTTP-408"),
    "425": Case(Reply(status=425), "sent", "HTTP-425"),
    "429": Case(Reply(status=429), "sent", "HTTP-429"),
    "500": Case(Reply(status=500, body=b"<h1>oops</h1>"), "sent", "HTTP-500"),
    "502": Case(Reply(status=502), "sent", "HTTP-502"),
    "503": Case(Reply(status=503), "sent", "HTTP-503"),
    "504": Case(Reply(status=504), "sent", "HTTP-504"),
    "404 that means later": Case(Reply(status=404), "sent", "HTTP-404", options={"retry_status": [404]}),
    "200 where only 201 counts": Case(Reply(status=200), "sent", "HTTP-200", options={"success_status": [201]}),
    "closed without an answer": Case(Silence(end="close"), "sent", "HTTP-DISCONNECTED"),
    "reset without an answer": Case(Silence(end="reset"), "sent", "HTTP-BROKEN"),
    "reset before the body is read": Case(Silence(end="reset", early=True), "sent", "HTTP-BROKEN", body=BIG),
    "half closed without an answer": Case(Silence(end="half"), "sent", "HTTP-DISCONNECTED"),
    "silence before the headers": Case(Silence(end="hang"), "sent", "HTTP-TIMEOUT", options=IMPATIENT),
    "silence in the body": Case(
        Reply(body=b"ha", length=100, end="hang"), "sent", "HTTP-INCOMPLETE", options=IMPATIENT
    ),
    "reset in the body": Case(Reply(body=b"ha", length=100, end="reset"), "sent", "HTTP-INCOMPLETE"),
    "shorter than its length": Case(Reply(body=b"ha", length=100, end="close"), "sent", "HTTP-INCOMPLETE"),
    "an answer before the report was sent": Case(
        Reply(status=200, early=True, end="hang"), "sent", "HTTP-EARLY", body=BIG * 40
    ),
    "an answer before the report was sent, then closed": Case(
        Reply(status=200, early=True, end="close"), "sent", "HTTP-", body=BIG * 40
    ),
    "not HTTP": Case(Reply(raw=b"SSH-2.0-OpenSSH_9.2\r\n\r\n", end="close"), "sent", "HTTP-PROTOCOL"),
    "headers without an end": Case(
        Reply(raw=b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 100_000 + b"\r\n\r\n", end="close"), "sent", "HTTP-PROTOCOL"
    ),
    "a bad length": Case(
        Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", end="close"), "sent", "HTTP-PROTOCOL"
    ),
}

WAITED_FOR = {
    "401": Case(Reply(status=401), "sent", waits=True),
    "403": Case(Reply(status=403), "sent", waits=True),
    "407": Case(Reply(status=407), "sent", waits=True),
    "301": Case(Reply(status=301, headers={"Location": "/x"}), "sent", waits=True),
    "302 without an address": Case(Reply(status=302), "sent", waits=True),
    "307": Case(Reply(status=307, headers={"Location": "https://elsewhere.example/"}), "sent", waits=True),
}

CASES = {**RECEIVED, **REFUSED, **AGAIN, **WAITED_FOR}


@pytest.mark.parametrize("name", CASES)
async def test_each_answer_has_its_next_step(queue: Site, name: str) -> None:
    case = CASES[name]
    well = Reply(status=201)
    async with ScriptedServer(case.step, otherwise=well) as server:
        await queue.offer(1, body=case.body)
        lane = http_lane(queue, server.url, options=case.options, concurrency=2)
        async with queue.running(lane):
            await queue.until(lambda: queue.deliveries()["r00001"][0] == case.state)
            await queue.offer(2)
            await queue.until(lambda: queue.deliveries()["r00002"][0] == "sent", "the next report to get through")
            assert lane.status().state is LaneState.RUNNING
    tried = server.keys.count("r00001.1")
    history = queue.answers("r00001")
    if case.waits:
        assert queue.deliveries()["r00001"] == ("sent", 1), "waiting charges nobody"
        assert "waiting for destination" in queue.states()
        assert tried == 2
    elif case.code:
        assert history[0][1]["code"].startswith(case.code)
        assert tried == (1 if case.state == "dead" else 2)
        assert queue.deliveries()["r00001"] == (case.state, tried)
        assert "waiting for destination" not in queue.states()
    else:
        assert tried == 1 and history[-1][1]["outcome"] == case.receipt
    whole = [request for request in server.requests if request.target == "/r00001.1" and request.body]
    for request in whole:
        content = request.body
        if case.options.get("gzip"):
            import gzip

            content = gzip.decompress(content)
        assert content == case.body
        assert request.headers["content-type"] == "application/json"


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_retry_after_is_kept_in_both_its_forms(queue: Site, form: str) -> None:
    wish = "2" if form == "seconds" else formatdate(time.time() + 3, usegmt=True)
    async with ScriptedServer(Reply(status=429, headers={"Retry-After": wish})) as server:
        await queue.offer(1)
        async with queue.running(http_lane(queue, server.url)):
            await queue.until(lambda: len(queue.names("delivery.failed")) == 1)
            began = time.monotonic()
            assert 0.9 <= queue.due_in() <= 3.4
            await queue.until(lambda: queue.deliveries()["r00001"] == ("sent", 2))
            assert time.monotonic() - began >= 0.9
    assert len(server.requests) == 2
    assert queue.answers("r00001")[0][1]["details"]["Retry-After"] == wish


async def test_receipts_and_refusals_are_kept(queue: Site) -> None:
    async with ScriptedServer(
        Reply(status=201, headers={"ETag": '"7"', "Location": "/reports/7"}, body=b"stored"),
        Reply(status=422, body=b"serial is missing"),
    ) as server:
        await queue.offer(1, 2)
        async with queue.running(http_lane(queue, server.url, concurrency=1)):
            await queue.until(lambda: queue.names("delivery.dead") == ["r00002.1"])
    assert queue.answers("r00001") == [
        (
            "sent",
            {
                "outcome": "sent",
                "ref": "/reports/7",
                "details": {"status": 201, "ETag": '"7"', "Location": "/reports/7", "body": "stored"},
            },
        )
    ]
    ((_, refusal),) = queue.answers("r00002")
    assert refusal["details"] == {"status": 422, "body": "serial is missing"}


async def test_a_destination_that_drips_is_ended_by_the_time_limit(queue: Site) -> None:
    async with ScriptedServer(Reply(body=b"z" * 1000, drip=0.05)) as server:
        await queue.offer(1)
        lane = http_lane(queue, server.url, timeout=0.5)
        async with queue.running(lane):
            await queue.until(lambda: queue.deliveries()["r00001"] == ("sent", 2))
    assert queue.answers("r00001")[0][1]["code"] == "DM-D006"


async def test_a_destination_that_stops_reading_is_ended_by_the_time_limit(queue: Site) -> None:
    async with ScriptedServer(Silence(early=True)) as server:
        await queue.offer(1, body=b"x" * 30_000_000)
        lane = http_lane(queue, server.url, timeout=1.0)
        async with queue.running(lane):
            await queue.until(lambda: queue.deliveries()["r00001"] == ("sent", 2))
    assert queue.answers("r00001")[0][1]["code"] == "DM-D006"


async def test_a_total_time_limit_of_the_transport(queue: Site) -> None:
    async with ScriptedServer(Reply(body=b"z" * 1000, drip=0.02)) as server:
        await queue.offer(1)
        async with queue.running(http_lane(queue, server.url, options={"total_timeout": 0.3})):
            await queue.until(lambda: queue.deliveries()["r00001"] == ("sent", 2))
    assert queue.answers("r00001")[0][1]["code"] == "HTTP-INCOMPLETE"


async def test_put_is_not_repeated_behind_the_queues_back(queue: Site) -> None:
    """The client library would send a PUT a second time by itself when a kept connection breaks."""
    async with ScriptedServer(Reply(), Silence(end="close"), Reply()) as server:
        await queue.offer(1, 2)
        async with queue.running(http_lane(queue, server.url, concurrency=1, backoff=0.2)):
            await queue.until(lambda: queue.deliveries()["r00002"][0] == "sent")
    assert server.keys == ["r00001.1", "r00002.1", "r00002.1"]
    assert queue.deliveries()["r00002"] == ("sent", 2), "every request was counted"


async def test_a_refused_connection_and_its_return(queue: Site) -> None:
    server = ScriptedServer()
    await server.start()
    await server.stop()
    await queue.offer(*range(20))
    lane = http_lane(queue, server.url, probe_every=0.1)
    async with queue.running(lane):
        await queue.until(lambda: "waiting for destination" in queue.states())
        assert "Connection refused" in lane.status().reason or "onnect" in lane.status().reason
        await server.start()
        try:
            await queue.until(lambda: len(queue.names("delivery.sent")) == 20)
        finally:
            await server.stop()
    assert set(queue.deliveries().values()) == {("sent", 1)}


async def test_a_name_that_does_not_resolve(queue: Site) -> None:
    await queue.offer(1)
    lane = http_lane(queue, "http://no-such-host.invalid")
    async with queue.running(lane):
        await queue.until(lambda: "waiting for destination" in queue.states())
        assert "no-such-host.invalid does not resolve" in lane.status().reason
        lane.probe_now()
        async with asyncio.timeout(10):
            while lane.status().last_probe is None:
                await asyncio.sleep(0.01)
        probe = lane.status().last_probe
        assert probe is not None and "does not resolve" in probe.error
    assert queue.deliveries() == {"r00001": ("ready", 0)}


async def test_one_destination_in_trouble_delays_no_other(queue: Site) -> None:
    numbers = range(100)
    await queue.offer(*numbers, lanes=("hangs", "refuses", "well"))
    async with ScriptedServer(otherwise=Silence()) as hangs, ScriptedServer() as well:
        refuses = ScriptedServer()
        await refuses.start()
        await refuses.stop()
        lanes = [
            http_lane(queue, hangs.url, name="hangs", options={"read_timeout": 60.0}, timeout=60.0),
            http_lane(queue, refuses.url, name="refuses", probe_every=5.0),
            http_lane(queue, well.url, name="well"),
        ]
        tasks = [asyncio.create_task(lane.run(heart)) for lane, heart in ((lane, Heart()) for lane in lanes)]
        await queue.until(lambda: len(queue.names("delivery.sent")) == 100, timeout=10)
        assert set(queue.deliveries("well").values()) == {("sent", 1)}
        assert hangs.most_open <= 4 and len(hangs.requests) <= 4
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for name in ("hangs", "refuses"):
        assert set(queue.deliveries(name).values()) == {("ready", 0)}


async def test_no_storm_against_a_server_that_fails(queue: Site) -> None:
    """200 reports, a server that says 503: as many requests as the breaker lets through, each one counted."""
    await queue.offer(*range(200))
    async with ScriptedServer(otherwise=Reply(status=503)) as server:
        lane = http_lane(queue, server.url, concurrency=4, probe_every=0.5)
        async with queue.running(lane):
            await queue.until(lambda: "breaker open" in queue.states())
            await asyncio.sleep(2.0)
            storm = len(server.requests)
            server.otherwise = Reply(status=201)
            await queue.until(lambda: len(queue.names("delivery.sent")) == 200)
    assert storm <= 5 + 3 + 12, "threshold, what was in flight, and a trial now and then"
    charged = sum(attempts for _, attempts in queue.deliveries().values())
    assert charged == len(server.requests)
    assert not queue.names("delivery.dead")
