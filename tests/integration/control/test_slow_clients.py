"""Real clients that are slow, silent, stuck or greedy: each is ended in time, for its reason, and hurts nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import replace
from typing import Any

import pytest

from dropmill.control.connection import Ended

from .conftest import TINY


async def test_silent_connection_ends_after_the_head_limit(running: Any) -> None:
    client = await running.connect()
    took = await client.ended()
    assert TINY.head * 0.8 < took < TINY.head + 0.5
    assert running.server.guard.ended[Ended.HEAD] == 1
    await running.alive()


async def test_dripped_headers_end_however_regular_they_come(running: Any) -> None:
    client = await running.connect()
    await client.send(b"GET /ok HTTP/1.1\r\n")

    async def drip() -> None:
        for number in range(100):
            await client.send(f"x-{number}: y\r\n".encode())
            await asyncio.sleep(0.05)

    with pytest.raises(ConnectionError):
        await drip()
    assert running.server.guard.ended[Ended.HEAD] == 1
    await running.alive()


async def test_dripped_blank_lines_end_too(running: Any) -> None:
    client = await running.connect()
    assert (await client.get("/ok"))[0] == 200
    with pytest.raises(ConnectionError):
        for _ in range(100):
            await client.send(b"\r\n")
            await asyncio.sleep(0.05)
    assert running.server.guard.ended[Ended.HEAD] == 1


async def test_the_second_requests_headers_have_their_own_time(running: Any) -> None:
    client = await running.connect()
    for _ in range(4):  # longer in all than the limit for one
        assert (await client.get("/ok"))[0] == 200
        await asyncio.sleep(0.2)
    await client.send(b"GET /ok HT")
    await client.ended()
    assert running.server.guard.ended == {Ended.HEAD: 1}


@pytest.mark.parametrize("pieces", [1, 50], ids=["in one read", "in many"])
@pytest.mark.parametrize(
    "head",
    [
        b"GET /ok HTTP/1.1\r\nx: " + b"y" * 40_000,
        b"GET /ok HTTP/1.1\r\n" + b"".join(b"x-%d: %s\r\n" % (i, b"y" * 100) for i in range(400)) + b"\r\n",
        b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n\r\n",
        b"\r\n" * 20_000,
    ],
    ids=["one endless header", "many headers", "long target", "blank lines"],
)
async def test_too_large_headers_are_refused(running: Any, head: bytes, pieces: int) -> None:
    client = await running.connect()
    size = len(head) // pieces + 1
    try:
        for start in range(0, len(head), size):
            await client.send(head[start : start + size])
    except ConnectionError:
        pass  # refused before all was sent
    problem = await client.problem()
    assert (problem["status"], problem["code"]) == (431, "DM-H002")
    await client.ended()
    assert running.server.guard.ended == {Ended.HEAD_BYTES: 1}
    await running.alive()


async def test_large_but_permitted_headers_are_read(running: Any) -> None:
    client = await running.connect()
    await client.send(b"GET /ok HTTP/1.1\r\n" + b"x: " + b"y" * 30_000 + b"\r\n\r\n")
    assert (await client.answer())[0] == 200


async def test_garbage_is_answered_and_ended(running: Any) -> None:
    client = await running.connect()
    await client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 is not HTTP\r\n\r\n")
    problem = await client.problem()
    assert (problem["status"], problem["code"]) == (400, "DM-H002")
    await client.ended()


async def test_stalled_body_ends(running: Any) -> None:
    client = await running.connect()
    await client.send(b"POST /echo HTTP/1.1\r\ncontent-length: 100\r\n\r\nhalf of it")
    await client.ended()
    assert running.server.guard.ended == {Ended.BODY_STALL: 1}
    await running.ends()
    assert running.app.events == ["disconnected"]
    await running.alive()


async def test_dripping_body_ends_by_its_rate(start: Any) -> None:
    running = await start(replace(TINY, request=20.0))
    client = await running.connect()
    await client.send(b"POST /echo HTTP/1.1\r\ncontent-length: 100000\r\n\r\n")
    with pytest.raises(ConnectionError):
        for _ in range(100):
            await client.send(b"xxxxx")
            await asyncio.sleep(0.05)
    assert running.server.guard.ended == {Ended.BODY_RATE: 1}


async def test_dripping_chunk_extensions_count_for_nothing(start: Any) -> None:
    running = await start(replace(TINY, request=20.0))
    client = await running.connect()
    await client.send(b"POST /echo HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1;")
    with pytest.raises(ConnectionError):
        for _ in range(100):
            await client.send(b"ext" * 100)
            await asyncio.sleep(0.05)
    assert running.server.guard.ended == {Ended.BODY_RATE: 1}


async def test_steady_slow_body_is_taken(start: Any) -> None:
    running = await start(replace(TINY, request=20.0))
    client = await running.connect()
    await client.send(b"POST /echo HTTP/1.1\r\ncontent-length: 6000\r\n\r\n")
    for _ in range(30):  # 1.5 s at twice the minimum rate
        await client.send(b"x" * 200)
        await asyncio.sleep(0.05)
    assert await client.answer() == (200, b"6000")


async def test_body_that_nobody_wanted_is_not_listened_to_for_ever(running: Any) -> None:
    client = await running.connect()
    await client.send(b"POST /deaf HTTP/1.1\r\ncontent-length: 10000000\r\n\r\n")
    assert (await client.answer())[0] == 200
    with pytest.raises(ConnectionError):
        for _ in range(100):
            await client.send(b"x" * 2000)
            await asyncio.sleep(0.05)
    assert running.server.guard.ended == {Ended.BODY_STALL: 1}


async def test_client_that_waits_for_100_continue_is_told_to_go_on(running: Any) -> None:
    client = await running.connect()
    await client.send(b"POST /echo HTTP/1.1\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n")
    assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    await client.send(b"body")
    assert await client.answer() == (200, b"4")


async def test_reader_that_never_reads_ends(running: Any) -> None:
    client = await running.connect(limit=1024)
    client.writer.transport.pause_reading()
    await client.send(b"GET /big HTTP/1.1\r\n\r\n")
    await running.begins()
    await running.ends()
    assert running.server.guard.ended == {Ended.WRITE_STALL: 1}
    await running.alive()


async def test_reader_that_stops_in_the_middle_ends_after_keep_alive_asked_it_to_go(start: Any) -> None:
    """The keep-alive timer closes politely, which would wait for unsent bytes for ever."""
    running = await start(replace(TINY, keep_alive=0.2, write_stall=1.0))
    client = await running.connect(limit=1024)
    await client.send(b"GET /big HTTP/1.1\r\n\r\n")
    await client.reader.read(100)
    client.writer.transport.pause_reading()
    await running.ends()
    assert running.server.guard.ended == {Ended.WRITE_STALL: 1}


async def test_honest_slow_reader_gets_everything(running: Any) -> None:
    """It takes far longer than the write limit in all, and never stands still for that long."""
    size = 400_000
    loop = asyncio.get_running_loop()
    with socket.socket(
        socket.AF_UNIX
    ) as reader:  # a stream of asyncio's would drink the kernel's whole buffer in one go
        reader.setblocking(False)
        await loop.sock_connect(reader, str(running.path))
        await loop.sock_sendall(reader, f"GET /big?{size} HTTP/1.1\r\nconnection: close\r\n\r\n".encode())
        start, got, rest = loop.time(), b"", b"-"
        while rest:
            rest = await loop.sock_recv(reader, 4096)
            got += rest
            await asyncio.sleep(0.02)
    assert got.startswith(b"HTTP/1.1 200") and got.count(b"x") == size
    assert loop.time() - start > 2 * TINY.write_stall
    assert not running.server.guard.ended


async def test_hung_handler_is_cancelled_and_answered_504(running: Any) -> None:
    client = await running.connect()
    await client.send(b"GET /hang HTTP/1.1\r\n\r\n")
    problem = await client.problem()
    assert (problem["status"], problem["code"]) == (504, "DM-H005")
    assert running.app.events == ["cancelled"]
    assert running.server.guard.requests == 0
    await client.ended()
    assert running.server.guard.ended == {Ended.REQUEST: 1}


async def test_handler_that_swallows_its_cancellation_loses_its_client(running: Any) -> None:
    client = await running.connect()
    await client.send(b"GET /stubborn HTTP/1.1\r\n\r\n")
    took = await client.ended()
    assert TINY.request < took < TINY.request + TINY.stop + 1
    await running.alive()
    assert running.server.guard.requests == 1  # it is still there, and known
    running.app.release.set()
    await running.ends()
    assert running.app.events == ["released"]


async def test_half_an_answer_is_cut_rather_than_completed(running: Any) -> None:
    client = await running.connect()
    await client.send(b"GET /half HTTP/1.1\r\n\r\n")
    await client.reader.readuntil(b"half")
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await client.reader.readexactly(996)
    assert running.server.guard.ended == {Ended.REQUEST: 1}


async def test_garbage_behind_half_an_answer_cuts_it_off(start: Any) -> None:
    running = await start(replace(TINY, request=20.0))
    client = await running.connect()
    await client.send(b"GET /half HTTP/1.1\r\n\r\n")
    await client.reader.readuntil(b"half")
    await client.send(b"\x00\x01 garbage\r\n\r\n")
    with contextlib.suppress(ConnectionError):
        assert await client.reader.read() == b""  # no second answer within the first
    assert await client.ended() < 1
    assert not running.server.guard.ended  # it did not have to wait for a limit


async def test_stream_outlives_the_request_limit_and_age_but_not_a_stuck_reader(start: Any) -> None:
    running = await start(replace(TINY, age=0.3))
    client = await running.connect()
    await client.send(b"GET /stream HTTP/1.1\r\n\r\n")
    loop = asyncio.get_running_loop()
    begun = loop.time()
    while loop.time() - begun < 2 * TINY.request:
        async with asyncio.timeout(1):
            await client.reader.readuntil(b"tick\n")
    running.app.release.set()
    await client.reader.readuntil(b"end\n")


async def test_idle_connection_ends_after_keep_alive(running: Any) -> None:
    client = await running.connect()
    assert (await client.get("/ok"))[0] == 200
    took = await client.ended()
    assert TINY.keep_alive * 0.8 < took < TINY.keep_alive + 0.5
    assert not running.server.guard.ended  # it was asked to go and went


async def test_old_connection_ends_after_its_request(start: Any) -> None:
    running = await start(replace(TINY, age=0.3, keep_alive=10.0))
    idle = await running.connect()
    assert (await idle.get("/ok"))[0] == 200
    busy = await running.connect()
    await busy.send(b"GET /wait HTTP/1.1\r\n\r\n")
    assert await idle.ended() < 1
    await asyncio.sleep(0.1)
    running.app.release.set()
    head = await busy.reader.readuntil(b"\r\n\r\n")
    assert b"connection: close" in head.lower()
    assert await busy.ended() < 0.5


async def test_connection_that_is_busy_for_ever_ends_by_its_age(start: Any) -> None:
    running = await start(replace(TINY, age=0.3, request=0.3, head=30.0, head_bytes=1_000_000))
    client = await running.connect()
    with pytest.raises(ConnectionError):
        for number in range(200):
            await client.send(b"GET /ok HTTP/1.1\r\n" if not number else b"x: y\r\n")
            await asyncio.sleep(0.02)
    assert running.server.guard.ended == {Ended.AGE: 1}


async def test_one_connection_too_many_is_told_so(running: Any) -> None:
    kept = [await running.connect() for _ in range(TINY.connections)]
    for client in kept:
        assert (await client.get("/ok"))[0] == 200
    surplus = await running.connect()
    problem = await surplus.problem()
    assert (problem["status"], problem["code"]) == (503, "DM-H006")
    await surplus.ended()
    kept[0].close()
    async with asyncio.timeout(1):
        while len(running.server.guard) >= TINY.connections:
            await asyncio.sleep(0.01)
    await running.alive()


async def test_client_that_closes_its_half_still_gets_its_answer(running: Any) -> None:
    client = await running.connect()
    await client.send(b"GET /wait HTTP/1.1\r\n\r\n")
    client.writer.write_eof()
    await asyncio.sleep(0.1)
    running.app.release.set()
    assert await client.answer() == (200, b"at last")
    assert await client.ended() < 0.5


async def test_half_open_client_in_its_headers_ends_at_once(running: Any) -> None:
    client = await running.connect()
    await client.send(b"GET /ok HT")
    client.writer.write_eof()
    assert await client.ended() < 0.3


async def test_client_that_vanishes_in_mid_request_leaves_nothing(running: Any) -> None:
    client = await running.connect()
    await client.send(b"GET /hang HTTP/1.1\r\n\r\n")
    await asyncio.sleep(0.05)
    client.close()
    await running.ends()
    assert running.app.events == ["cancelled"]


async def test_pipelined_requests_are_answered_in_order(running: Any) -> None:
    client = await running.connect()
    await client.send(b"GET /ok HTTP/1.1\r\n\r\n" * 3 + b"GET /deaf HTTP/1.1\r\n\r\n")
    for _ in range(3):
        assert await client.answer() == (200, b"fine")
    assert (await client.answer())[1].startswith(b"no need")


async def test_failing_handler_is_a_problem_with_its_reason_and_the_server_lives(running: Any) -> None:
    client = await running.connect()
    await client.send(b"GET /unknown HTTP/1.1\r\n\r\n")
    problem = await client.problem()
    assert (problem["status"], problem["code"]) == (500, "DM-H000")
    assert "ValueError: a handler's mistake" in problem["what"]
    await running.alive()


async def test_handler_that_exits_ends_nothing_but_itself(running: Any) -> None:
    client = await running.connect()
    await client.send(b"GET /exit HTTP/1.1\r\n\r\n")
    status, _ = await client.answer()
    assert status == 500
    await running.alive()


async def test_everybody_at_once(start: Any) -> None:
    """A crowd of all kinds: each ends, the honest ones are served in between."""
    running = await start(replace(TINY, connections=200))
    openings = [
        b"",
        b"GET /ok HTTP/1.1\r\n",
        b"POST /echo HTTP/1.1\r\ncontent-length: 9\r\n\r\nx",
        b"GET /big HTTP/1.1\r\n\r\n",
        b"GET /hang HTTP/1.1\r\n\r\n",
    ]
    for opening in openings * 20:
        client = await running.connect(limit=1024)
        client.writer.transport.pause_reading()
        if opening:
            await client.send(opening)
    for _ in range(5):
        await running.alive()
    async with asyncio.timeout(6):
        await running.server.guard.wait_empty()
    assert sum(running.server.guard.ended.values()) >= 100
    assert running.heart.beats > 5
