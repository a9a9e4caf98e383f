"""Puts the control API together: what the agent's composition calls, and the only place that knows all of this package."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

from dropmill.control import changing, reading
from dropmill.control.actions import Actions
from dropmill.control.agent_view import AgentView
from dropmill.control.api import application
from dropmill.control.limits import Limits
from dropmill.control.queries import Queries
from dropmill.control.server import ControlServer
from dropmill.foundation.clock import Clock

__all__ = ["control_server"]

P = ParamSpec("P")
T = TypeVar("T")

_THREADS = 4


def control_server(
    agent: AgentView, socket: Path, *, version: str, clock: Clock, limits: Limits | None = None
) -> ControlServer:
    """The server, ready to be run as a supervised child: `ChildSpec("control", server.run, stop="last", heartbeat=...)`.

    Call it on the event loop.
    """
    limits = limits or Limits()
    threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="control")

    def in_thread(function: Callable[P, T], /, *args: P.args, **named: P.kwargs) -> Awaitable[T]:
        return asyncio.get_running_loop().run_in_executor(threads, lambda: function(*args, **named))

    queries = Queries(agent.reader)
    actions = Actions(agent.store, queries, in_thread, clock)
    app = application(
        [*reading.routes(agent, queries, in_thread), *changing.routes(agent, actions)],
        version=version,
        stopping=lambda: agent.supervision()["state"] in ("stopping", "stopped"),
        body_limit=limits.body_bytes,
    )
    return ControlServer(app, socket, limits=limits, clock=clock)
