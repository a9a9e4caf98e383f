"""Whether a lane may send: a circuit breaker as a frozen value whose transitions answer the next value.

    CLOSED --failures in a row, or the destination as a whole--> OPEN --due (after a probe where one is needed)--> TRIAL
    TRIAL --one item got through--> CLOSED        TRIAL --it did not--> OPEN, for longer

It sends nothing, knows no clock and draws no random number. `opened` counts openings without a success between, so a destination
that answers probes but takes nothing is asked at the same slow pace as one that is down.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from dropmill.delivery.backoff import Backoff

__all__ = ["Breaker", "Cause", "Circuit"]


class Circuit(enum.Enum):
    CLOSED = "closed"
    OPEN = "open"
    """Nothing is sent until `until`."""
    TRIAL = "trial"
    """One item alone is sent; the rest waits for how it ends."""


class Cause(enum.Enum):
    """Why a breaker is open."""

    FAILURES = "failures"
    """Items failed one after another: the next trial is an item."""
    UNAVAILABLE = "unavailable"
    """The destination cannot be reached: a probe comes before the trial."""
    AUTHENTICATION = "authentication"
    """It refuses our credentials: as `UNAVAILABLE`, asked more seldom so that no account gets locked."""


@dataclass(frozen=True, kw_only=True)
class Breaker:
    """The state of one lane's breaker. `now` and `until` are monotonic seconds; `fraction` is a random number from 0 to 1."""

    pace: Backoff
    """Between trials."""
    pace_authentication: Backoff
    """Between trials while credentials are refused."""
    threshold: int = 5
    """Failed sends in a row that open it."""
    circuit: Circuit = Circuit.CLOSED
    cause: Cause | None = None
    reason: str = ""
    failures: int = 0
    """Failed sends in a row."""
    opened: int = 0
    """Openings in a row."""
    until: float = 0.0

    def succeeded(self) -> Breaker:
        """The destination answered for an item: it works."""
        if self.circuit is Circuit.CLOSED and not self.failures:
            return self
        return replace(self, circuit=Circuit.CLOSED, cause=None, reason="", failures=0, opened=0, until=0.0)

    def failed(self, now: float, reason: str, *, fraction: float, after: float | None = None) -> Breaker:
        """A send failed by what may be one item's own fault."""
        counted = replace(self, failures=self.failures + 1)
        if self.circuit is Circuit.OPEN:
            return counted
        if self.circuit is Circuit.CLOSED and counted.failures < self.threshold:
            return counted
        return counted._open(now, Cause.FAILURES, reason, fraction=fraction, after=after)

    def refused(self, now: float, cause: Cause, reason: str, *, fraction: float, after: float | None = None) -> Breaker:
        """The destination as a whole is away, or refuses us: said by a send or by a probe."""
        return self._open(now, cause, reason, fraction=fraction, after=after)

    def late_refusal(self, cause: Cause, reason: str) -> Breaker:
        """As `refused`, from a send that was under way when the breaker opened: it must not lengthen the wait."""
        if self.circuit is not Circuit.OPEN:
            raise ValueError("a refusal is late only while the breaker is open")
        return replace(self, cause=cause, reason=reason)

    def probed(self) -> Breaker:
        """A probe succeeded, or the wait is over and none is needed: one item is tried."""
        return replace(self, circuit=Circuit.TRIAL) if self.circuit is Circuit.OPEN else self

    def hurried(self, now: float) -> Breaker:
        """Somebody asked to try at once."""
        return replace(self, until=now) if self.circuit is Circuit.OPEN else self

    def due(self, now: float) -> bool:
        """Open, and the wait is over."""
        return self.circuit is Circuit.OPEN and now >= self.until

    def _open(self, now: float, cause: Cause, reason: str, *, fraction: float, after: float | None) -> Breaker:
        opened = self.opened + 1
        pace = self.pace_authentication if cause is Cause.AUTHENTICATION else self.pace
        return replace(
            self,
            circuit=Circuit.OPEN,
            cause=cause,
            reason=reason,
            opened=opened,
            until=now + pace.spaced(opened, fraction, after=after),
        )
