"""How late the event loop runs what is due: a histogram of bounded size over the last minutes."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

__all__ = ["LagHistogram"]

_BOUNDS = tuple(0.0001 * 2 ** (step / 2) for step in range(40))
"""Upper bounds of the buckets: 0.1 ms to 74 s, each 1.41 times the one before."""


class LagHistogram:
    """Two windows that take turns, so that quantiles tell of the last one to two `window` seconds and nothing grows."""

    def __init__(self, window: float = 300.0) -> None:
        self._window = window
        self._turn: float | None = None
        self._now = [0] * (len(_BOUNDS) + 1)
        self._before = [0] * (len(_BOUNDS) + 1)
        self._worst_now = 0.0
        self._worst_before = 0.0
        self.worst_ever = 0.0

    def record(self, now: float, lag: float) -> None:
        """`lag` seconds were measured at `now` (monotonic)."""
        if self._turn is None:
            self._turn = now
        elif now - self._turn >= self._window:
            stale = now - self._turn >= 2 * self._window
            self._before = [0] * len(self._now) if stale else self._now
            self._worst_before = 0.0 if stale else self._worst_now
            self._now = [0] * len(self._before)
            self._worst_now = 0.0
            self._turn = now
        self._now[bisect_left(_BOUNDS, lag)] += 1
        self._worst_now = max(self._worst_now, lag)
        self.worst_ever = max(self.worst_ever, lag)

    @property
    def count(self) -> int:
        return sum(self._now) + sum(self._before)

    @property
    def worst(self) -> float:
        """The greatest lag of the two windows, exact."""
        return max(self._worst_now, self._worst_before)

    def quantile(self, share: float) -> float:
        """The upper bound of the bucket that holds the quantile (never above `worst`); 0 before the first measurement."""
        rank = share * self.count
        if rank == 0:
            return 0.0
        seen = 0
        for bound, now, before in zip(_BOUNDS, self._now, self._before, strict=False):
            seen += now + before
            if seen >= rank:
                return min(bound, self.worst)
        return self.worst

    def as_dict(self) -> dict[str, Any]:
        """Seconds: `{p50, p99, max, max_ever, samples}`."""
        return {
            "p50": self.quantile(0.5),
            "p99": self.quantile(0.99),
            "max": self.worst,
            "max_ever": self.worst_ever,
            "samples": self.count,
        }
