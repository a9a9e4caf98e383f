"""When a lane may send, learnt from how its sends ended: the breaker, fed, and an eye on single items that bring everybody down.

It sends nothing and knows nothing of the queue; it turns an ending into verdicts where the ending left that open.

A destination that is away must not cost attempts, so such sends are given back. But an item that by itself makes the destination
refuse (a forbidden path, say) would then hold up all others again and again. One that was refused `_PROOF` times, while others
got through in between each time, is charged one attempt like any failed item; so it backs off, and ends as a dead letter.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence
from random import Random

from dropmill.delivery.breaker import Breaker, Cause, Circuit
from dropmill.delivery.verdicts import Ending, Failing, GivenBack, Judge, Refusing, Sent, Verdict, Working
from dropmill.foundation.clock import Clock
from dropmill.queue.records import Lease

__all__ = ["Gate"]

_MAX_SUSPECTS = 1_000
_PROOF = 5
"""A disk that is nearly full, say, also refuses some and takes others: once is no proof."""


class Gate:
    """The breaker of one lane and what feeds it."""

    def __init__(self, breaker: Breaker, judge: Judge, clock: Clock, random: Random, *, ordered: bool) -> None:
        self.breaker = breaker
        self._judge = judge
        self._clock = clock
        self._random = random
        self._ordered = ordered
        self._successes = 0
        self._suspects: OrderedDict[int, tuple[int, int]] = OrderedDict()
        """Items that were refused: how often with others getting through in between, and how many sends had succeeded then."""

    @property
    def open(self) -> bool:
        return self.breaker.circuit is Circuit.OPEN

    @property
    def trial(self) -> bool:
        return self.breaker.circuit is Circuit.TRIAL

    def due(self) -> bool:
        """Open, and time to ask again."""
        return self.breaker.due(self._clock.monotonic())

    def wait(self) -> float:
        """Seconds until the destination is asked again."""
        return max(0.0, self.breaker.until - self._clock.monotonic())

    def hurry(self) -> None:
        """Ask again at once."""
        self.breaker = self.breaker.hurried(self._clock.monotonic())

    def probed(self) -> None:
        """The destination says it would take an item, or needs no asking."""
        self.breaker = self.breaker.probed()

    def refuse(self, signal: Refusing, *, late: bool) -> None:
        """The destination as a whole is away; `late`: said by what began before that was known, so the wait stays as it is."""
        if late and self.open:
            self.breaker = self.breaker.late_refusal(signal.cause, signal.problem.what)
        else:
            self.breaker = self.breaker.refused(
                self._clock.monotonic(),
                signal.cause,
                signal.problem.what,
                fraction=self._random.random(),
                after=signal.after,
            )

    def conclude(self, batch: Sequence[Lease], ending: Ending) -> Sequence[Verdict]:
        """Learn from an ending; the verdicts for its leases."""
        signal = ending.signal
        if isinstance(signal, Refusing):
            return self._refused(batch, signal)
        if isinstance(signal, Working):
            self._successes += 1
            for verdict in ending.verdicts:
                if isinstance(verdict, Sent):
                    self._suspects.pop(verdict.lease.id, None)
            self.breaker = self.breaker.succeeded()
        elif isinstance(signal, Failing):
            self._fail(signal.reason, signal.after)
        return ending.verdicts

    def suspects(self) -> Collection[int]:
        """Items that were refused since anything got through: the trial is better made with another one."""
        if self._ordered:
            return ()
        return {number for number, (_, mark) in self._suspects.items() if mark == self._successes}

    def needs_asking(self) -> bool:
        """Whether a probe comes before the trial."""
        return self.breaker.cause is not Cause.FAILURES

    def _refused(self, batch: Sequence[Lease], signal: Refusing) -> Sequence[Verdict]:
        if not self._ordered:
            refused = [self._count(lease.id) for lease in batch]
            if min(refused) >= _PROOF:
                for lease in batch:
                    del self._suspects[lease.id]
                self._fail(signal.problem.what, None)
                return [self._judge.again(lease, signal.problem) for lease in batch]
        self.refuse(signal, late=True)
        return [GivenBack(lease, 0.0, signal.problem.what) for lease in batch]

    def _count(self, item: int) -> int:
        """Note that an item was refused; how often that happened with others getting through in between."""
        times, mark = self._suspects.pop(item, (0, -1))
        times += mark < self._successes
        self._suspects[item] = (times, self._successes)
        if len(self._suspects) > _MAX_SUSPECTS:
            self._suspects.popitem(last=False)
        return times

    def _fail(self, reason: str, after: float | None) -> None:
        self.breaker = self.breaker.failed(self._clock.monotonic(), reason, fraction=self._random.random(), after=after)
