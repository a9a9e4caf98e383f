"""Tells plugins what happened: the one broadcast, after the fact.

`publish` never waits and never raises. Every listener has a thread and a bounded buffer of its own, so that one that hangs,
raises or is slow costs nobody else anything; what does not fit, or fails, is counted.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dropmill.api import AgentEvent
from dropmill.foundation.errors import Problem
from dropmill.foundation.guard import describe
from dropmill.plugins.registry import Listener

__all__ = ["BUFFER", "EventBroadcaster", "EventCounts"]

BUFFER = 1000
"""Events that may wait for one listener; the oldest go first."""

_RECOVERED = 10


@dataclass(frozen=True, kw_only=True)
class EventCounts:
    """What became of the events for one plugin."""

    delivered: int
    failed: int
    """The listener raised."""
    dropped: int
    """The listener was too slow."""
    waiting: int
    busy: float
    """Seconds that the call under way has taken so far; 0: there is none."""
    last_error: str


class EventBroadcaster:
    """Use: `start`, `publish` from any thread, `stop`.

    Args:
        listeners: The plugins that listen.
        report: Told, in the listener's thread, when a listener begins to fail and when it has recovered; must not raise.
        buffer: Events that may wait for one listener.
    """

    def __init__(
        self, listeners: Sequence[Listener], report: Callable[[Problem], None], *, buffer: int = BUFFER
    ) -> None:
        self._lines = [_Line(listener, report, buffer) for listener in listeners]

    def start(self) -> None:
        """Start the threads."""
        for line in self._lines:
            line.start()

    def publish(self, event: AgentEvent) -> None:
        """Hand an event to every listener's buffer. Cheap; never blocks."""
        for line in self._lines:
            line.put(event)

    def stop(self, timeout: float = 2.0) -> Sequence[str]:
        """Let listeners finish what waits, for `timeout` seconds in all; blocks that long at most.

        Returns the plugins that had not finished; their threads are left behind.
        """
        deadline = time.monotonic() + timeout
        for line in self._lines:
            line.close()
        return [line.plugin for line in self._lines if not line.join(deadline)]

    def counts(self) -> Mapping[str, EventCounts]:
        """By plugin."""
        return {line.plugin: line.counts() for line in self._lines}


class _Line:
    """One listener's buffer and thread."""

    def __init__(self, listener: Listener, report: Callable[[Problem], None], buffer: int) -> None:
        self.plugin = listener.plugin
        self._call = listener.call
        self._report = report
        self._buffer: deque[AgentEvent] = deque(maxlen=buffer)
        self._changed = threading.Condition()
        self._closed = False
        self._delivered = self._failed = self._dropped = 0
        self._failing = False
        self._well = 0
        self._since: float | None = None
        self._error = ""
        self._thread = threading.Thread(target=self._run, name=f"events for {self.plugin}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, event: AgentEvent) -> None:
        with self._changed:
            if self._closed:
                return
            if len(self._buffer) == self._buffer.maxlen:
                self._dropped += 1
            self._buffer.append(event)
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()

    def join(self, deadline: float) -> bool:
        if not self._thread.ident:
            return True
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if not self._thread.is_alive():
            return True
        with self._changed:  # the deadline has passed: nothing more is told, should the call under way ever return
            self._dropped += len(self._buffer)
            self._buffer.clear()
        return False

    def counts(self) -> EventCounts:
        with self._changed:
            return EventCounts(
                delivered=self._delivered,
                failed=self._failed,
                dropped=self._dropped,
                waiting=len(self._buffer),
                busy=0.0 if self._since is None else time.monotonic() - self._since,
                last_error=self._error,
            )

    def _run(self) -> None:
        while (event := self._next()) is not None:
            error = ""
            try:
                self._call(event)
            except BaseException as failure:  # noqa: BLE001 - a listener may end its own call, never this thread
                error = describe(failure)
            self._account(event, error)

    def _next(self) -> AgentEvent | None:
        with self._changed:
            self._since = None
            while not self._buffer and not self._closed:
                self._changed.wait()
            if not self._buffer:
                return None
            self._since = time.monotonic()
            return self._buffer.popleft()

    def _account(self, event: AgentEvent, error: str) -> None:
        with self._changed:
            was_failing = self._failing
            if error:
                self._failed += 1
                self._error = error
                self._failing, self._well = True, 0
            else:
                self._delivered += 1
                self._well += 1
                self._failing = was_failing and self._well < _RECOVERED
        if error and not was_failing:
            self._report(
                Problem(
                    code="DM-P050",
                    what=f"plugin {self.plugin!r} failed on the event {event.name}: {error}",
                    where=self.plugin,
                    todo="report it to the plugin's author; further failures are counted, not logged",
                )
            )
        elif was_failing and not self._failing:
            self._report(
                Problem(
                    code="DM-P051",
                    what=f"plugin {self.plugin!r} takes events again",
                    where=self.plugin,
                    todo="nothing; its counters tell how many it failed on",
                )
            )
