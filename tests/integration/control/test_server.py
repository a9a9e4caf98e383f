"""The server's life: its socket's file, its stop, its cancellation, its signals."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dropmill.control import sockets
from dropmill.control.errors import SocketTaken
from dropmill.control.server import ControlServer

from .conftest import TINY, Application, Beats


async def test_only_the_owner_may_use_the_socket(running: Any) -> None:
    assert stat.S_IMODE(running.path.stat().st_mode) == 0o600


async def test_the_sockets_file_goes_with_the_server(running: Any) -> None:
    running.heart.finish()
    await running.task
    assert not running.path.exists()
    assert list(running.path.parent.iterdir()) == []


async def test_signal_handlers_stay_the_agents(start: Any) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    running = await start(TINY)
    await running.alive()
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    running.heart.finish()
    await running.task
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


async def test_stop_answers_what_is_under_way(running: Any) -> None:
    client = await running.connect()
    await client.send(b"GET /wait HTTP/1.1\r\n\r\n")
    await asyncio.sleep(0.05)
    running.heart.finish()
    await asyncio.sleep(0.1)
    running.app.release.set()
    assert await client.answer() == (200, b"at last")
    async with asyncio.timeout(1):
        await running.task


@pytest.mark.parametrize(
    "opening",
    [
        b"",
        b"GET /ok HT",
        b"POST /echo HTTP/1.1\r\ncontent-length: 9\r\n\r\nx",
        b"GET /big HTTP/1.1\r\n\r\n",
        b"GET /hang HTTP/1.1\r\n\r\n",
    ],
    ids=["silent", "in its headers", "in its body", "not reading", "hung handler"],
)
async def test_stop_waits_for_no_client(start: Any, opening: bytes) -> None:
    running = await start(
        replace(TINY, head=60, body_stall=60, body_grace=60, write_stall=60, request=60, keep_alive=60)
    )
    client = await running.connect(limit=1024)
    client.writer.transport.pause_reading()
    await client.send(opening)
    await running.begins()
    await asyncio.sleep(0.1)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    running.heart.finish()
    await running.task
    assert loop.time() - begun < TINY.stop + 0.5
    assert not len(running.server.guard) and not running.server.guard.requests


async def test_stop_does_not_wait_for_a_handler_that_will_not_die(start: Any) -> None:
    running = await start(replace(TINY, request=60))
    client = await running.connect()
    await client.send(b"GET /stubborn HTTP/1.1\r\n\r\n")
    await asyncio.sleep(0.05)
    running.heart.finish()
    async with asyncio.timeout(TINY.stop + 2):
        await running.task
    running.app.release.set()
    await running.ends()


async def test_hung_request_is_told_that_the_agent_stops(start: Any) -> None:
    running = await start(replace(TINY, request=60))
    client = await running.connect()
    await client.send(b"GET /hang HTTP/1.1\r\n\r\n")
    await asyncio.sleep(0.05)
    running.heart.finish()
    await running.task
    assert running.app.events == ["cancelled"]


async def test_cancelling_the_child_cuts_everything_and_removes_the_socket(running: Any) -> None:
    client = await running.connect()
    await client.send(b"GET /hang HTTP/1.1\r\n\r\n")
    await asyncio.sleep(0.05)
    running.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running.task
    await running.ends()
    assert not running.path.exists()
    running.task = asyncio.ensure_future(asyncio.sleep(0))


async def test_the_servers_child_runs_again_after_it_ended(running: Any) -> None:
    """As a supervisor restarts it: same object, same path."""
    running.task.cancel()
    await asyncio.wait({running.task})
    running.task = asyncio.ensure_future(running.server.run(running.heart))
    await running.server.listening()
    await running.alive()


async def test_second_agent_is_refused_and_the_first_goes_on(running: Any) -> None:
    second = ControlServer(Application(), running.path, limits=TINY)
    with pytest.raises(SocketTaken, match="another process answers"):
        await second.run(Beats())
    await running.alive()


async def test_long_path(tmp_path: Path) -> None:
    folder = tmp_path / ("deep-" * 20) / ("deeper-" * 15)
    folder.mkdir(parents=True)
    path = folder / "agent.sock"
    assert len(os.fsencode(path)) > 200
    server = ControlServer(Application(), path, limits=TINY)
    heart = Beats()
    task = asyncio.ensure_future(server.run(heart))
    await server.listening()
    with await asyncio.to_thread(sockets.connect, path, 1.0) as client:
        client.sendall(b"GET /ok HTTP/1.1\r\n\r\n")
        assert (await asyncio.to_thread(client.recv, 100)).startswith(b"HTTP/1.1 200")
    heart.finish()
    await task
    assert not path.exists()
