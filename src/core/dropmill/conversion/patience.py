"""When a call has had its time: `soft` seconds after it last made progress, `hard` seconds after it began, whatever it does."""

from __future__ import annotations

__all__ = ["HARD", "Patience"]

HARD = 10.0
"""The hard limit is this many times the soft one."""


class Patience:
    """With one call. Fed from outside with the time and a figure that grows while work goes on."""

    def __init__(self, soft: float, now: float) -> None:
        self.soft = soft
        self.hard = soft * HARD
        self.began = now
        self._moved = now
        self._progress = 0

    def limit(self, soft: float) -> None:
        """Another candidate's code runs now, with a limit of its own."""
        if soft != self.soft:
            self.soft, self.hard = soft, soft * HARD

    def exhausted(self, now: float, progress: int) -> str | None:
        """Why the call's time is up, or None."""
        if progress != self._progress:
            self._progress = progress
            self._moved = now
        if now - self.began >= self.hard:
            return f"it was still at work after {self.hard:g} s, the most that a file may take"
        if now - self._moved >= self.soft:
            return f"it made no progress for {self.soft:g} s"
        return None
