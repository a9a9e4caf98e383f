"""Whether a child that failed is started again, and when: pure arithmetic, no timers.

Two rules open the breaker. *Intensity*: more than `intensity` failures within `period` seconds (a crash loop). *Slow
crashes*: `max_failures` failures with no `reset` crash-free seconds between them, which catches a child that lives just long
enough for the first rule never to bite.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from dropmill.supervision.spec import ChildSpec

__all__ = ["FailureLog", "OpenBreaker", "RestartAfter", "Verdict"]

JITTER = 0.2


@dataclass(frozen=True)
class RestartAfter:
    """Start it again after `delay` seconds."""

    delay: float


@dataclass(frozen=True)
class OpenBreaker:
    """Give it up for now."""

    reason: str


Verdict = RestartAfter | OpenBreaker


class FailureLog:
    """The failures of one child that still count."""

    def __init__(self, spec: ChildSpec) -> None:
        self._spec = spec
        self._recent: deque[float] = deque(maxlen=spec.intensity + 1)
        self.failures = 0
        """Without `reset` crash-free seconds between them."""

    def record(self, now: float, lived: float, *, chance: float, trial: bool = False) -> Verdict:
        """The child failed at `now` (monotonic) after having run for `lived` seconds.

        `chance`, in [0, 1), draws the jitter. A child on `trial` (half-open) is given up again at once.
        """
        spec = self._spec
        if lived >= spec.reset:
            self.forget()
        self.failures += 1
        self._recent.append(now)
        if trial:
            return OpenBreaker("it failed again when it was tried")
        if len(self._recent) > spec.intensity and now - self._recent[0] <= spec.period:
            return OpenBreaker(f"{len(self._recent)} failures in {now - self._recent[0]:.0f} s")
        if self.failures >= spec.max_failures:
            return OpenBreaker(f"{self.failures} failures without {spec.reset:.0f} s free of them in between")
        delay = min(spec.backoff_cap, spec.backoff * 2.0 ** min(self.failures - 1, 60))
        return RestartAfter(min(spec.backoff_cap, delay * (1 + JITTER * (2 * chance - 1))))

    def forget(self) -> None:
        """All is forgiven."""
        self._recent.clear()
        self.failures = 0
