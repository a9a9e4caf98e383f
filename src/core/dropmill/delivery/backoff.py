"""How long to wait after a failure: exponential growth up to a cap, spread by jitter, and what a destination asked for.

Pure: the random fraction comes in as an argument. It never answers less than the destination asked for (up to `MAX_RETRY_AFTER`)
and never more than the larger of that (with its tenth of spread) and the cap.
Full jitter spreads what failed together evenly over the whole interval (M. Brooker, "Exponential Backoff and Jitter", 2015).
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MAX_RETRY_AFTER", "Backoff"]

MAX_RETRY_AFTER = 3600.0
"""Seconds: the longest wait that a destination's own wish (Retry-After) can impose."""

_MAX_DOUBLINGS = 60
_SPREAD = 0.1


@dataclass(frozen=True)
class Backoff:
    """`base` seconds at most before the first retry, doubled for each further failure, never above `cap`."""

    base: float
    cap: float

    def ceiling(self, failures: int) -> float:
        """The interval after `failures` failures in a row (1 or more)."""
        return min(self.cap, self.base * 2.0 ** min(max(failures - 1, 0), _MAX_DOUBLINGS))

    def full(self, failures: int, fraction: float, *, after: float | None = None) -> float:
        """Seconds until an item is tried again: anywhere in the interval (`fraction` is 0 to 1), or `after` and a little more."""
        return _honour(self.ceiling(failures) * fraction, fraction, after)

    def spaced(self, failures: int, fraction: float, *, after: float | None = None) -> float:
        """Seconds until a destination is asked again: in the interval's second half, so that no two follow at once."""
        return _honour(self.ceiling(failures) * (0.5 + fraction / 2), fraction, after)


def _honour(delay: float, fraction: float, after: float | None) -> float:
    if after is None or not after > 0:
        return delay
    return max(delay, min(after, MAX_RETRY_AFTER) * (1 + _SPREAD * fraction))
