"""The control API's server as a supervised child: uvicorn inside the agent's loop, on one Unix socket.

It takes no signal, makes no task of its own, and never waits on a client: when it is told to finish it answers what is under
way within `Limits.stop` seconds, then cuts the rest. Its socket's file is there exactly as long as it listens.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, cast

import structlog
import uvicorn

from dropmill.control import sockets
from dropmill.control.guard import Guard
from dropmill.control.limits import Limits
from dropmill.foundation.clock import Clock, SystemClock
from dropmill.supervision.spec import Heart

__all__ = ["ControlServer"]

_log = structlog.get_logger(__name__)


class ControlServer:
    """Serves one ASGI application on one Unix socket."""

    def __init__(
        self,
        app: Callable[..., Awaitable[None]],
        path: Path,
        *,
        limits: Limits | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.guard = Guard(limits or Limits(), clock or SystemClock())
        self._app = self.guard.wrap(app)
        self._path = path
        self._listening = asyncio.Event()

    async def listening(self) -> None:
        """Return once clients can connect."""
        await self._listening.wait()

    async def run(self, heart: Heart) -> None:
        """Serve until the heart says to finish, or until cancelled.

        Its `ChildSpec` has `stop="last"`, so that a stop's progress can be asked for to its end.

        Raises:
            SocketTaken: the socket cannot be had.
        """
        bound = await asyncio.to_thread(sockets.bind, self._path)
        try:
            limits = self.guard.limits
            config = uvicorn.Config(
                cast("Any", self._app),
                http=self.guard.protocol(),
                ws="none",
                lifespan="off",
                loop="none",
                interface="asgi3",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=cast("int", limits.keep_alive),
            )
            server = _Server(config, self.guard, heart)
            self._listening.set()
            try:
                await server.serve([bound.socket])
            finally:
                server.end()
        finally:
            self._listening.clear()
            await asyncio.to_thread(bound.close)


class _Server(uvicorn.Server):
    """uvicorn's server without its signals and its waiting."""

    def __init__(self, config: uvicorn.Config, guard: Guard, heart: Heart) -> None:
        super().__init__(config)
        self._guard = guard
        self._heart = heart

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # signals are the agent's

    async def main_loop(self) -> None:
        going = True
        while going:
            await self.on_tick(0)  # renews the Date header
            self._guard.sweep()
            self._heart.beat()
            going = await self._heart.sleep(self._guard.limits.sweep)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 - uvicorn's signature
        for server in self.servers:
            server.close()
        guard = self._guard
        guard.close_idle()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(guard.limits.stop):
                await guard.wait_empty()
        guard.abort()
        with contextlib.suppress(
            TimeoutError
        ):  # lets cancelled handlers see it; one that will not die is the supervisor's
            async with asyncio.timeout(1.0):
                await guard.wait_empty()

    def end(self) -> None:
        """Stop listening and cut what is left, without waiting; nothing is left to do after a `shutdown`."""
        for server in getattr(self, "servers", ()):
            server.close()
        self._guard.abort()
