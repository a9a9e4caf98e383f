"""What people see of a lane: its state with the reason and since when, what is in flight, what was answered last, counts."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["LaneState", "LaneStatus", "ProbeResult"]


class LaneState(enum.StrEnum):
    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    """By an operator."""
    WAITING = "waiting for destination"
    """It cannot be reached or refuses our credentials; probed until it answers. No attempt is spent."""
    BREAKER_OPEN = "breaker open"
    """Items failed one after another; one is tried alone when the wait is over."""
    STUCK = "stuck"
    """A send goes on although its time was up and it was cancelled: the transport does not let go, and holds a place."""


@dataclass(frozen=True)
class ProbeResult:
    """How the last probe ended."""

    at: float
    """Seconds since the epoch."""
    seconds: float
    error: str
    """Empty: the destination would take an item."""


@dataclass(frozen=True, kw_only=True)
class LaneStatus:
    """A snapshot. Times are seconds since the epoch."""

    name: str
    transport: str
    state: LaneState
    reason: str
    """Why it is in this state; empty while all is well."""
    since: float
    in_flight: int
    """Items being sent."""
    oldest_send: float | None
    """When the oldest `send` under way began."""
    leased: int
    """Items leased: in flight, about to be sent, and answered but not settled yet."""
    next_probe: float | None
    """When the destination is asked again, while the lane waits."""
    failures: int
    """Sends that failed in a row."""
    last_receipt: Mapping[str, Any] | None
    """`{key, at, ...}` of the last delivery."""
    last_error: Mapping[str, Any] | None
    """`{key, at, code, reason, ...}` of the last failure."""
    last_probe: ProbeResult | None
    trouble: str
    """What keeps the lane from the queue; empty: nothing."""
    counts: Mapping[str, int]
    """Since the start: `sent`, `duplicate`, `retry`, `rejected`, `fault`, `timeout`, `damaged`, `given_back`, `dead`, `stale`."""

    def as_dict(self) -> dict[str, Any]:
        """The JSON shape."""
        probe = self.last_probe
        return {
            "name": self.name,
            "transport": self.transport,
            "state": str(self.state),
            "reason": self.reason,
            "since": self.since,
            "inFlight": self.in_flight,
            "oldestSend": self.oldest_send,
            "leased": self.leased,
            "nextProbe": self.next_probe,
            "failures": self.failures,
            "lastReceipt": None if self.last_receipt is None else dict(self.last_receipt),
            "lastError": None if self.last_error is None else dict(self.last_error),
            "lastProbe": None if probe is None else {"at": probe.at, "seconds": probe.seconds, "error": probe.error},
            "trouble": self.trouble,
            "counts": dict(self.counts),
        }
