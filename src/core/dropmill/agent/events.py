"""Carries what happens to the log and to the plugins that listen. Never waits and never raises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog

from dropmill.api import AgentEvent
from dropmill.foundation.clock import Clock
from dropmill.foundation.errors import Problem
from dropmill.plugins import EventBroadcaster, Listener
from dropmill.supervision.events import SupervisionEvent

__all__ = ["Herald"]

_log = structlog.get_logger("dropmill")

_LEVELS = {
    "file.failed": "warning",
    "file.parked": "warning",
    "delivery.dead": "warning",
    "delivery.evicted": "warning",
}
"""How loud what happens to files and deliveries is; the rest is on record in the queue and worth no line by default."""

_ROUTINE = frozenset({"child.started", "child.finished"})
"""Not worth a line while nothing has gone wrong."""
_TOLD_OTHERWISE = frozenset({"stop.phase"})
"""A stop's progress has a line of its own."""


class Herald:
    """The one path from any event to log and plugins."""

    def __init__(self, clock: Clock, listeners: tuple[Listener, ...]) -> None:
        self._clock = clock
        self._heard = bool(listeners)
        self._broadcaster = EventBroadcaster(listeners, self.tell_problem)

    def start(self) -> None:
        self._broadcaster.start()

    def stop(self) -> None:
        """Let listeners finish what waits, for a short while; blocks that long at most."""
        for plugin in self._broadcaster.stop():
            _log.warning("a plugin has not finished with its events", code="DM-P052", plugin=plugin)

    def tell(self, name: str, subject: str, data: Mapping[str, Any]) -> None:
        """From the queue, after the commit."""
        level = _LEVELS.get(name)
        if level is not None:
            brief = {key: value for key, value in data.items() if not isinstance(value, Mapping | list)}
            getattr(_log, level)(name, subject=subject, **_plain(brief))
        if self._heard:
            self._broadcaster.publish(AgentEvent(name=name, time=self._clock.time(), subject=subject, data=data))

    def tell_event(self, event: AgentEvent) -> None:
        """From a lane."""
        self._broadcaster.publish(event)

    def tell_supervision(self, event: SupervisionEvent) -> None:
        """From the supervisor."""
        if event.name in _TOLD_OTHERWISE:
            return
        level = "debug" if event.name in _ROUTINE and event.data.get("starts", 1) == 1 else event.level
        fields = _plain(event.data)
        if event.problem is not None:
            fields |= {"code": event.problem.code, "what": event.problem.what, "todo": event.problem.todo}
        getattr(_log, level)(event.name, subject=event.subject, **fields)
        self._broadcaster.publish(AgentEvent(name=event.name, time=event.time, subject=event.subject, data=event.data))

    def tell_problem(self, problem: Problem) -> None:
        """Something is wrong that a person should know of."""
        _log.error(problem.what, code=problem.code, where=problem.where, todo=problem.todo)


def _plain(data: Mapping[str, Any]) -> dict[str, Any]:
    """Names that structlog uses itself are not overwritten."""
    return {
        f"{key}_" if key in ("event", "level", "timestamp", "subject") else key: value for key, value in data.items()
    }
