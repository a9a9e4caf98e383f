"""Bounds every client of the control API, in time, bytes and number: the sweep over its connections (`connection`), and the ASGI
wrapper that bounds the handlers.

No Python HTTP server enforces all of `limits.Limits` by itself. `Guard.sweep`, called every `Limits.sweep` seconds, ends what
stands still, and never waits on a client: what does not leave by itself is aborted.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, cast

import structlog

from dropmill.control.connection import Connection, Ended, connection_of, is_stream
from dropmill.control.errors import ControlError, Stopping, TimedOut
from dropmill.control.limits import Limits
from dropmill.control.problems import response_to
from dropmill.foundation.clock import Clock

__all__ = ["Guard"]

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[_Message, _Receive, _Send], Awaitable[None]]

_log = structlog.get_logger(__name__)


class Guard:
    """One server's connections and requests under way. All methods are called on the event loop."""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self.limits = limits
        self.clock = clock
        self.ended: Counter[Ended] = Counter()
        self._connections: set[Connection] = set()
        self._requests: set[_Request] = set()
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        """Connections open."""
        return len(self._connections)

    @property
    def requests(self) -> int:
        """Requests under way."""
        return len(self._requests)

    def protocol(self) -> type[asyncio.Protocol]:
        """What uvicorn's `Config(http=...)` takes: called as a class, once a connection."""

        def connection(*args: Any, **named: Any) -> Connection:
            return Connection(
                *args,
                limits=self.limits,
                now=self.clock.monotonic,
                made=self._made,
                lost=self._lost,
                ended=self.count,
                **named,
            )

        return cast("type[asyncio.Protocol]", connection)

    def wrap(self, app: _App) -> _App:
        """The application with the request limit, an answer to every exception, and no way for a handler to outlive its task."""

        async def bounded(scope: _Message, receive: _Receive, send: _Send) -> None:
            if scope["type"] == "http":
                await _Request(self, scope, send).run(app, receive)

        return bounded

    def sweep(self) -> None:
        """End what has stood still for too long."""
        now = self.clock.monotonic()
        for request in tuple(self._requests):
            request.sweep(now)
        for connection in tuple(self._connections):
            reason = connection.sweep(now)
            if reason is not None:
                self.count(reason)

    def count(self, reason: Ended) -> None:
        self.ended[reason] += 1
        _log.info("control client ended", reason=str(reason))

    async def wait_empty(self) -> None:
        """Return once no connection is open and no request under way."""
        await self._empty.wait()

    def close_idle(self) -> None:
        """Ask every connection to go once its request is answered; those without one go now."""
        for connection in tuple(self._connections):
            connection.shutdown()

    def abort(self) -> None:
        """Cut every connection and cancel every handler, now."""
        for connection in tuple(self._connections):
            connection.transport.abort()
        for request in tuple(self._requests):
            request.cancel()

    def _made(self, connection: Connection) -> bool:
        """Take note of a new connection; False: there is no room for it."""
        self._connections.add(connection)
        self._changed()
        return len(self._connections) <= self.limits.connections

    def _lost(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._changed()

    def _changed(self) -> None:
        if self._connections or self._requests:
            self._empty.clear()
        else:
            self._empty.set()


class _Request:
    """One request under way, from its whole headers to the end of its answer."""

    def __init__(self, guard: Guard, scope: _Message, send: _Send) -> None:
        self._guard = guard
        self._scope = scope
        self._send = send
        self._since = guard.clock.monotonic()
        self._task = asyncio.current_task()
        self._started = False
        self._expired_at: float | None = None

    async def run(self, app: _App, receive: _Receive) -> None:
        """Call the handler; whatever comes out of it, the client is answered and nothing is raised."""
        self._guard._requests.add(self)
        self._guard._changed()
        try:
            await app(self._scope, receive, self._forward)
        except asyncio.CancelledError:
            if self._expired_at is None:
                await self._refuse(Stopping("the agent is stopping", todo="try again once it runs"))
            else:
                await self._refuse(
                    TimedOut(
                        f"no answer within {self._guard.limits.request:g} s",
                        where=self._scope["path"],
                        todo="look at `dropmill status`, then try again",
                    )
                )
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is told
            _log.exception("control request failed", code=ControlError.default_code, path=self._scope["path"])
            await self._refuse(
                ControlError(
                    f"the agent failed to answer: {type(error).__name__}: {error}",
                    where=self._scope["path"],
                    todo="its log has the traceback; please report it",
                )
            )
        finally:
            self._guard._requests.discard(self)
            self._guard._changed()

    def sweep(self, now: float) -> None:
        """Cancel the handler once it is overdue. Should it swallow that, or should nobody take the answer that says so, cut the
        connection and cancel again at every sweep."""
        if is_stream(self._scope):
            return
        if self._expired_at is None:
            if now - self._since > self._guard.limits.request:
                self._expired_at = now
                self._guard.count(Ended.REQUEST)
                self.cancel()
        elif now - self._expired_at > self._guard.limits.stop:
            self._cut()
            self.cancel()

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _forward(self, message: _Message) -> None:
        self._started = True
        await self._send(message)

    async def _refuse(self, error: ControlError) -> None:
        if self._started:
            self._cut()  # half an answer cannot be taken back; the client must see that it is not whole
        else:
            response = response_to(error, close=True)
            await response(self._scope, _nothing_more, self._send)

    def _cut(self) -> None:
        connection = connection_of(self._scope)
        if connection is not None:
            connection.transport.abort()


async def _nothing_more() -> _Message:
    return {"type": "http.disconnect"}
