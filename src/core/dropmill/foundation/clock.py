"""Time as an argument: components take a `Clock`, so that tests can drive it.

Deadlines use `monotonic()`; only what is shown to people or must survive a restart uses `time()`.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

__all__ = ["Clock", "ManualClock", "SystemClock", "utc_iso"]


class Clock(Protocol):
    """Two clocks: wall (seconds since the epoch, UTC) and monotonic (seconds, arbitrary origin)."""

    def time(self) -> float: ...

    def monotonic(self) -> float: ...


class SystemClock:
    """The machine's clocks."""

    def time(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


class ManualClock:
    """A clock for tests: stands still until `advance`d; `step` moves the wall clock alone, as NTP does."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._wall = start
        self._monotonic = 1000.0

    def time(self) -> float:
        return self._wall

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let time pass on both clocks."""
        self._wall += seconds
        self._monotonic += seconds

    def step(self, seconds: float) -> None:
        """Set the wall clock forward or back; monotonic time does not notice."""
        self._wall += seconds


def utc_iso(seconds: float) -> str:
    """`2026-11-24T13:02:56.123Z` for seconds since the epoch."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
