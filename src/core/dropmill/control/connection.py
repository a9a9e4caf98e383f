"""One connection of the control API: uvicorn's protocol, which also notes when something last moved, so that what stands still
can be ended.

Invariant: a connection that neither reads, nor writes, nor waits for a handler of ours within its limits is gone one sweep later.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import fcntl
import json
import socket
import struct
import termios
from collections.abc import Callable, MutableMapping
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from dropmill.control.limits import Limits
from dropmill.control.problems import MEDIA_TYPE, body_of
from dropmill.foundation.errors import Problem

__all__ = ["STREAM", "Connection", "Ended", "connection_of", "is_stream"]

STREAM = "stream"
"""Set in a request's state by a handler whose answer has no end: the limits on a request's time and a connection's age
do not apply to it, all others do."""

_EXTENSION = "dropmill.connection"


class Ended(enum.StrEnum):
    """Why the guard ended a connection or a request; counted in `Guard.ended`."""

    HEAD = "head"
    HEAD_BYTES = "head bytes"
    BODY_STALL = "body stall"
    BODY_RATE = "body rate"
    WRITE_STALL = "write stall"
    REQUEST = "request"
    AGE = "age"
    CONNECTIONS = "connections"


class _Phase(enum.Enum):
    REST = enum.auto()
    """Between requests, or in the headers of the next."""
    BODY = enum.auto()
    """The handler may be waiting for more of the body."""
    WORK = enum.auto()
    """The request is here, its answer is not, or not all of it."""
    REFUSE = enum.auto()
    """Answered, and the client is still sending its body."""


class Connection(HttpToolsProtocol):
    """Made by `Guard.protocol`; `limits`, `now`, and `made`, `lost` and `ended` to tell of what happens come from there."""

    def __init__(
        self,
        *args: Any,
        limits: Limits,
        now: Callable[[], float],
        made: Callable[[Connection], bool],
        lost: Callable[[Connection], None],
        ended: Callable[[Ended], None],
        **named: Any,
    ) -> None:
        super().__init__(*args, **named)
        self._limits = limits
        self._now = now
        self._made = made
        self._lost = lost
        self._ended = ended
        self._born = born = now()
        self._head_since: float | None = born
        self._head_bytes = 0
        """Received while the headers were not whole."""
        self._parsed_head_bytes = 0
        """Of the lines that are whole: one large read may bring them all."""
        self._head_too_large = False
        self._received_at = born
        self._body_since = born
        self._body_bytes = 0
        self._refused_since: float | None = None
        self._waiting = (0, 0)
        self._sent_at = born

    # --- what uvicorn, asyncio and httptools call ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._limits.send_buffer)
        if not self._made(self):
            self._ended(Ended.CONNECTIONS)
            self._answer(
                HTTPStatus.SERVICE_UNAVAILABLE,
                Problem(
                    code="DM-H006",
                    what=f"the control API already has {self._limits.connections} connections",
                    todo="close some, or come back in a moment",
                ),
            )

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        now = self._received_at = self._now()
        if self._phase() is _Phase.REST and self._head_since is None:
            self._head_since = now
            self._head_bytes = 0
        before = self._head_since
        super().data_received(data)
        if before is not None and self._head_since == before:  # the headers began before and are not whole yet
            self._head_bytes += len(data)
            if self._head_bytes > self._limits.head_bytes and not self.transport.is_closing():
                self._refuse_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {_EXTENSION: {"connection": self}}
        if self._head_since is None:
            self._head_since = self._now()
        self._parsed_head_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_head(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._head_since = None
        self._head_bytes = 0
        self._refused_since = None
        self._body_since = self._received_at
        self._body_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's signature
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.abort()  # an answer is half written: nothing sensible can follow it
        elif self._head_too_large:
            self._refuse_head()
        else:
            self._answer(
                HTTPStatus.BAD_REQUEST,
                Problem(code="DM-H002", what="what came is not HTTP", todo="speak HTTP/1.1 on this socket"),
            )

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """A client that says "that was all" still gets its answer; one that has gone shows when we write it."""
        if self._phase() is not _Phase.WORK or _streams(self.cycle):
            return None
        self.cycle.keep_alive = False
        return True

    def resume_writing(self) -> None:
        self._sent_at = self._now()
        super().resume_writing()

    # --- the sweep -------------------------------------------------------------------------------------------------------

    def sweep(self, now: float) -> Ended | None:
        """Look whether something is overdue, and end the connection if so; answers with the reason."""
        reason = self._overdue(now)
        if reason is not None:
            self.transport.abort()
        return reason

    def _overdue(self, now: float) -> Ended | None:
        limits = self._limits
        if self._stalled(now):
            return Ended.WRITE_STALL
        if self.transport.is_closing():
            return None
        if self._head_since is not None:
            if self.flow.read_paused:  # we do not listen: no fault of the client's
                self._head_since = now
            elif now - self._head_since > limits.head:
                return Ended.HEAD
        phase = self._phase()
        if phase is _Phase.BODY and not self.flow.read_paused:
            if now - max(self._received_at, self._body_since) > limits.body_stall:
                return Ended.BODY_STALL
            spent = now - self._body_since - limits.body_grace
            if spent > 0 and self._body_bytes < limits.body_rate * spent:
                return Ended.BODY_RATE
        if phase is _Phase.REFUSE:
            if self._refused_since is None:
                self._refused_since = now
            elif now - self._refused_since > limits.body_stall:
                return Ended.BODY_STALL
        return self._aged(now, phase)

    def _stalled(self, now: float) -> bool:
        """Whether the reader takes nothing of what waits for it.

        While bytes wait here, the kernel's buffer is full, and its fill changes only when the reader takes something: that shows
        progress long before the socket becomes writable again, so that an honest slow reader is told from a stuck one.
        """
        here = self.transport.get_write_buffer_size()
        kernel = 0
        if here:
            with contextlib.suppress(OSError):
                number = self.transport.get_extra_info("socket").fileno()
                (kernel,) = struct.unpack("i", fcntl.ioctl(number, termios.TIOCOUTQ, b"\0\0\0\0"))
        if not here or here < self._waiting[0] or kernel != self._waiting[1]:
            self._sent_at = now
        self._waiting = (here, kernel)
        return now - self._sent_at > self._limits.write_stall

    def _aged(self, now: float, phase: _Phase) -> Ended | None:
        over = now - self._born - self._limits.age
        if over <= 0 or _streams(self.cycle):
            return None
        if phase is _Phase.REST and self._head_since is None:
            self.transport.close()  # what is still unsent goes out, as long as it is taken
        elif over > self._limits.request:
            return Ended.AGE
        elif self.cycle is not None:
            self.cycle.keep_alive = False
        return None

    # --- helpers -----------------------------------------------------------------------------------------------------------

    def _phase(self) -> _Phase:
        cycle: Any = self.cycle
        if cycle is None:
            return _Phase.REST
        if cycle.response_complete:
            return _Phase.REFUSE if cycle.more_body else _Phase.REST
        return _Phase.BODY if cycle.more_body else _Phase.WORK

    def _count_head(self, size: int) -> None:
        self._parsed_head_bytes += size
        if self._parsed_head_bytes > self._limits.head_bytes:
            self._head_too_large = True
            raise ValueError("headers too large")  # ends the parse; uvicorn then calls send_400_response

    def _refuse_head(self) -> None:
        self._ended(Ended.HEAD_BYTES)
        self._answer(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            Problem(code="DM-H002", what=f"the headers are larger than {self._limits.head_bytes} bytes"),
        )

    def _answer(self, status: HTTPStatus, problem: Problem) -> None:
        """Answer outside of any request, and close."""
        body = json.dumps(body_of(problem, status)).encode()
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: {MEDIA_TYPE}\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


def is_stream(scope: MutableMapping[str, Any]) -> bool:
    """Whether the request's handler has said that its answer has no end."""
    return bool(scope.get("state", {}).get(STREAM))


def connection_of(scope: MutableMapping[str, Any]) -> Connection | None:
    """The connection that a request came on; None where a test calls the application without a server."""
    found = scope.get("extensions", {}).get(_EXTENSION, {}).get("connection")
    return found if isinstance(found, Connection) else None


def _streams(cycle: Any) -> bool:
    return cycle is not None and is_stream(cycle.scope)
