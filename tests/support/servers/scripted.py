"""An HTTP/1.1 server on raw asyncio streams that does as it is told, good and bad: short, slow, broken and silent answers."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self

End = Literal["keep", "close", "reset", "hang", "half"]
"""After an answer: keep the connection, close it, reset it, say nothing more, or close only our direction."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer, and what is wrong with it."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    length: int | None = None
    """The Content-Length to claim, where it is not the body's; -1: none, the body ends with the connection."""
    drip: float = 0.0
    """Seconds between single bytes of the body."""
    early: bool = False
    """Answer as soon as the request's headers are there, without reading its body."""
    wait: float = 0.0
    """Seconds before the answer."""
    end: End = "keep"
    raw: bytes | None = None
    """Send this in place of an answer."""


@dataclass(frozen=True, kw_only=True)
class Silence:
    """No answer: hang, close or reset, after the request's body or (`early`) right after its headers."""

    end: End = "hang"
    early: bool = False


@dataclass(frozen=True, kw_only=True)
class Request:
    method: str
    target: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    connection: int


class ScriptedServer:
    """`async with ScriptedServer(Reply(status=503), Reply()) as server:` each request takes the next step, then `otherwise`."""

    def __init__(
        self,
        *script: Reply | Silence,
        otherwise: Reply | Silence | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.script = deque(script)
        self.otherwise = otherwise or Reply()
        self.requests: list[Request] = []
        self.connections = 0
        self.open = 0
        """Requests begun and not answered yet."""
        self.most_open = 0
        self.port = 0
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def keys(self) -> list[str]:
        """The idempotency keys in the order in which they came."""
        return [request.headers.get("idempotency-key", "") for request in self.requests]

    async def wait_for(self, count: int, timeout: float = 10) -> None:
        """Until so many requests have come in."""
        async with asyncio.timeout(timeout):
            while len(self.requests) < count:
                self._changed.clear()
                await self._changed.wait()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and break every connection."""
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            while await self._one(number, reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._writers.discard(writer)
            self._tasks.discard(task)
            writer.transport.abort()

    async def _one(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return False
        line, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        method, target, _ = line.split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)}
        step = self.script.popleft() if self.script else self.otherwise
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            body = b"" if step.early else await _body(reader, headers)
            self.requests.append(Request(method=method, target=target, headers=headers, body=body, connection=number))
            self._changed.set()
            if isinstance(step, Reply):
                await _answer(step, method, writer)
        finally:
            self.open -= 1
        match step.end:
            case "hang":
                await asyncio.sleep(3600)
            case "reset":
                connection = writer.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            case "half":
                writer.write_eof()
                await asyncio.sleep(3600)
        return step.end == "keep"


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if headers.get("transfer-encoding") == "chunked":
        pieces = []
        while size := int(await reader.readline(), 16):
            pieces.append(await reader.readexactly(size))
            await reader.readexactly(2)
        await reader.readexactly(2)
        return b"".join(pieces)
    return await reader.readexactly(int(headers.get("content-length", "0")))


async def _answer(step: Reply, method: str, writer: asyncio.StreamWriter) -> None:
    if step.wait:
        await asyncio.sleep(step.wait)
    if step.raw is not None:
        writer.write(step.raw)
        await writer.drain()
        return
    headers = dict(step.headers)
    if step.length != -1 and step.status != 204 and step.status >= 200:
        headers.setdefault("Content-Length", str(len(step.body) if step.length is None else step.length))
    lines = [f"HTTP/1.1 {step.status} Scripted", *(f"{name}: {value}" for name, value in headers.items())]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    body = b"" if method == "HEAD" else step.body
    if step.drip:
        for index in range(len(body)):
            writer.write(body[index : index + 1])
            await writer.drain()
            await asyncio.sleep(step.drip)
    else:
        writer.write(body)
    await writer.drain()
