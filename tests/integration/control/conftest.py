"""A guarded server on a Unix socket with tiny limits and an application of scripted handlers, and raw clients for it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dropmill.control.connection import STREAM
from dropmill.control.limits import Limits
from dropmill.control.server import ControlServer

TINY = Limits(
    head=0.5,
    body_stall=0.5,
    body_rate=2_000,
    body_grace=0.5,
    write_stall=0.6,
    request=0.7,
    keep_alive=0.5,
    age=30.0,
    connections=8,
    sweep=0.05,
    stop=0.4,
)


class Beats:
    """A heart that counts, and can be told to finish."""

    def __init__(self) -> None:
        self.beats = 0
        self._finish = asyncio.Event()

    def beat(self) -> None:
        self.beats += 1

    def finish(self) -> None:
        self._finish.set()

    @property
    def quiescing(self) -> bool:
        return self._finish.is_set()

    async def wait_quiesce(self) -> None:
        await self._finish.wait()

    async def sleep(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._finish.wait()
        return not self.quiescing


@dataclass
class Application:
    """Scripted handlers, by path; `events` tells what became of them."""

    events: list[str] = field(default_factory=list)
    release: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        if path == "/ok":
            await _answer(send, b"fine")
        elif path == "/echo":
            body, more = b"", True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    self.events.append("disconnected")
                    return
                body += message.get("body", b"")
                more = message.get("more_body", False)
            await _answer(send, str(len(body)).encode())
        elif path == "/deaf":
            await _answer(send, b"no need for your body")
        elif path == "/big":
            await _answer(send, b"x" * int(scope["query_string"] or 8_000_000))
        elif path == "/hang":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.events.append("cancelled")
                raise
        elif path == "/stubborn":
            while not self.release.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await self.release.wait()
            self.events.append("released")
        elif path == "/half":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000")]})
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
            await asyncio.Event().wait()
        elif path == "/wait":
            await self.release.wait()
            await _answer(send, b"at last")
        elif path == "/stream":
            scope["state"][STREAM] = True
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while not self.release.is_set():
                await send({"type": "http.response.body", "body": b"tick\n", "more_body": True})
                await asyncio.sleep(0.1)
            await send({"type": "http.response.body", "body": b"end\n"})
        elif path == "/exit":
            raise SystemExit(3)
        else:
            raise ValueError("a handler's mistake")


async def _answer(send: Any, body: bytes) -> None:
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(body)).encode())]}
    )
    await send({"type": "http.response.body", "body": body})


class Client:
    """A raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def get(self, path: str, *, close: bool = False) -> tuple[int, bytes]:
        await self.send(
            f"GET {path} HTTP/1.1\r\nhost: x\r\n{'connection: close' if close else 'accept: */*'}\r\n\r\n".encode()
        )
        return await self.answer()

    async def answer(self) -> tuple[int, bytes]:
        head = await self.reader.readuntil(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        length = next(
            int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
        )
        return status, await self.reader.readexactly(length)

    async def problem(self) -> dict[str, Any]:
        status, body = await self.answer()
        problem = json.loads(body)
        assert problem["status"] == status
        return problem

    async def ended(self, within: float = 3.0) -> float:
        """Wait for the server to end the connection; how long that took."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        async with asyncio.timeout(within):
            with contextlib.suppress(ConnectionError):
                while await self.reader.read(65_536):
                    pass
        return loop.time() - start

    def close(self) -> None:
        self.writer.transport.abort()


@dataclass
class Running:
    server: ControlServer
    app: Application
    path: Path
    heart: Beats
    task: asyncio.Task[None]
    clients: list[Client] = field(default_factory=list)

    async def connect(self, *, limit: int = 65_536) -> Client:
        client = Client(*await asyncio.open_unix_connection(str(self.path), limit=limit))
        self.clients.append(client)
        return client

    async def alive(self) -> None:
        """A bystander is served, fast, whatever others do."""
        client = await self.connect()
        async with asyncio.timeout(1):
            assert await client.get("/ok", close=True) == (200, b"fine")

    async def begins(self) -> None:
        """Somebody has connected."""
        async with asyncio.timeout(1):
            while not len(self.server.guard):
                await asyncio.sleep(0.01)

    async def ends(self) -> None:
        """Nothing is left of any client."""
        async with asyncio.timeout(3):
            await self.server.guard.wait_empty()


Start = Callable[[Limits], Awaitable[Running]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    started: list[Running] = []

    async def begin(limits: Limits = TINY) -> Running:
        app, heart, path = Application(), Beats(), tmp_path / f"{len(started)}.sock"
        server = ControlServer(app, path, limits=limits)
        task = asyncio.ensure_future(server.run(heart))
        listening = asyncio.ensure_future(server.listening())
        await asyncio.wait({task, listening}, return_when=asyncio.FIRST_COMPLETED)
        running = Running(server, app, path, heart, task)
        started.append(running)
        return running

    yield begin
    for running in started:
        running.app.release.set()
        running.heart.finish()
        await running.task
        for client in running.clients:
            client.close()


@pytest.fixture
async def running(start: Start) -> Running:
    return await start(TINY)
