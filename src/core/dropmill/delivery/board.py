"""What a lane shows: its state, since when, the last answers, counts. Changes are told to log, queue and listeners.

It decides nothing. Every text that reaches it has gone through the scrubber.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from dropmill.api import AgentEvent
from dropmill.delivery.status import LaneState, ProbeResult
from dropmill.delivery.verdicts import BREAKER_OPEN, STUCK, Failed, GivenBack, Sent, Verdict
from dropmill.foundation.clock import Clock
from dropmill.foundation.errors import Problem

__all__ = ["Board"]


_CODES = {LaneState.BREAKER_OPEN: BREAKER_OPEN, LaneState.STUCK: STUCK}
_BAD = (LaneState.WAITING, LaneState.BREAKER_OPEN, LaneState.STUCK)


class Board:
    """The notice board of one lane.

    Args:
        record: Keeps an event about the destination in the queue.
        on_event: Told after the fact; None: nobody listens.
    """

    def __init__(
        self,
        lane: str,
        clock: Clock,
        *,
        record: Callable[[str, Mapping[str, Any]], None],
        on_event: Callable[[AgentEvent], None] | None,
    ) -> None:
        self._lane = lane
        self._clock = clock
        self._record = record
        self._on_event = on_event
        self._log = structlog.get_logger().bind(destination=lane)
        self.state = LaneState.STOPPED
        self.since = clock.time()
        self.counts: Counter[str] = Counter()
        self.last_receipt: Mapping[str, Any] | None = None
        self.last_error: Mapping[str, Any] | None = None
        self.last_probe: ProbeResult | None = None

    def show(self, state: LaneState, reason: str) -> None:
        """Tell of a change of state; a repeated state is not news."""
        if state is self.state:
            return
        told = {"from": str(self.state), "to": str(state), "reason": reason}
        if state in _CODES:
            told["code"] = _CODES[state]
        self.state = state
        self.since = self._clock.time()
        log = self._log.warning if state in _BAD else self._log.info
        log(f"lane {state}", **{key: value for key, value in told.items() if value})
        self._record("lane.state", told)
        self._tell("lane.state", self._lane, told)

    def refused(self, problem: Problem) -> None:
        """The destination as a whole is away."""
        self.last_error = {"at": self._clock.time(), "code": problem.code, "reason": problem.what, "todo": problem.todo}

    def probed(self, began: float, error: str) -> None:
        """A probe has ended; `began` is monotonic, an empty error means that the destination would take an item."""
        self.last_probe = ProbeResult(self._clock.time(), self._clock.monotonic() - began, error)

    def settled(self, verdict: Verdict, counted: bool) -> None:
        """A verdict is committed."""
        lease, now = verdict.lease, self._clock.time()
        if not counted:
            self.counts["stale"] += 1
        about = {"key": lease.key, "reportId": lease.report_id, "attempt": lease.attempt, "at": now}
        match verdict:
            case Sent(_, receipt):
                self.last_receipt = {**about, **receipt}
                self._tell("delivery.sent", lease.key, {**about, "seconds": now - lease.created_at})
            case Failed(_, error, _, permanent):
                self.last_error = {**about, **error}
                brief = {"code": error.get("code", ""), "reason": error.get("reason", "")}
                if permanent or lease.attempts_left <= 0:
                    self.counts["dead"] += 1
                    self._log.error("a delivery is dead", key=lease.key, **brief)
                    self._tell("delivery.dead", lease.key, {**about, **brief})
                else:
                    self._tell("delivery.failed", lease.key, {**about, **brief})
            case GivenBack():
                self.counts["given_back"] += 1

    def _tell(self, name: str, subject: str, data: Mapping[str, Any]) -> None:
        if self._on_event is None:
            return
        told = {"destination": self._lane, **data}
        try:
            self._on_event(AgentEvent(name=name, time=self._clock.time(), subject=subject, data=told))
        except Exception:  # noqa: BLE001 - listeners hear after the fact; nothing of theirs may touch a delivery
            self._log.exception("a listener to the lane's events failed")
