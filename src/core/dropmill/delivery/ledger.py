"""Every lease of one lane, from the claim to its settlement: the only part of delivery that talks to the queue.

Sends never wait for the disk: they leave a verdict, and one job settles what has gathered in as few commits as possible. A lease
leaves the books only when the queue has said that its settlement is committed; while the queue cannot be written, verdicts wait
and are tried again, so an answer of the destination is never forgotten while the agent lives.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from dropmill.delivery.verdicts import Failed, GivenBack, Sent, Verdict
from dropmill.foundation.clock import Clock
from dropmill.queue.errors import QueueError
from dropmill.queue.records import Lease
from dropmill.queue.store import QueueStore
from dropmill.queue.wakeups import Wakeups
from dropmill.supervision.crew import Crew

__all__ = ["Ledger"]

_GROUP = 256
"""Most settlements in one call."""
_TOGETHER = 32
"""Failures settled at the same time: the queue groups them into one commit."""
_PATIENCE = (0.5, 5.0)
"""Seconds before the queue is tried again, first and at most."""


class Ledger:
    """The books of a lane.

    Args:
        changed: Called whenever the lane should look again.
        settled: Called with each verdict after its commit, and whether it counted (False: the lease had been lost).
    """

    def __init__(
        self,
        lane: str,
        store: QueueStore,
        clock: Clock,
        *,
        changed: Callable[[], None],
        settled: Callable[[Verdict, bool], None],
    ) -> None:
        self._lane = lane
        self._topic = f"lane:{lane}"
        self._store = store
        self._clock = clock
        self._changed = changed
        self._settled = settled
        self._signals = Wakeups()
        self._held: dict[tuple[int, int], Lease] = {}
        self._buffer: deque[Lease] = deque()
        self._verdicts: deque[Verdict] = deque()
        self._events: deque[tuple[str, Mapping[str, Any]]] = deque(maxlen=_GROUP)
        self._settling = 0
        self._closing = False
        self.keeping = False
        """Whether `keep` runs; if it does not, nothing gets settled."""
        self._claiming = False
        self._empty_at: int | None = None
        """The topic's count when the queue last had nothing more; another count means that there may be more."""
        self._next_at: float | None = None
        self._not_before = 0.0
        self.trouble = ""
        """Why the queue cannot be reached; empty: it can."""

    # --- what the lane asks ----------------------------------------------------------------------------------------------

    @property
    def leased(self) -> int:
        """Leases in the books."""
        return len(self._held)

    @property
    def buffered(self) -> int:
        """Leases that wait to be sent."""
        return len(self._buffer)

    @property
    def unsettled(self) -> int:
        """Verdicts that are not committed yet."""
        return len(self._verdicts) + self._settling

    @property
    def claiming(self) -> bool:
        return self._claiming

    def worth_claiming(self) -> bool:
        """Whether the queue may have something for us, as far as is known without asking it."""
        if self._claiming or self._clock.monotonic() < self._not_before:
            return False
        if self._store.wakeups.count(self._topic) != self._empty_at:
            return True
        return self._next_at is not None and self._next_at <= self._clock.time()

    def wait_for_more(self) -> float | None:
        """Seconds until asking the queue may be worth it without any wake-up; None: for ever."""
        pause = self._not_before - self._clock.monotonic()
        if pause > 0:
            return pause
        return None if self._next_at is None else max(self._next_at - self._clock.time(), 0.0)

    def take(self, count: int, max_bytes: int | None) -> list[Lease]:
        """The next leases to send, in order: at most `count`, and `max_bytes` together (the first one always)."""
        batch: list[Lease] = []
        total = 0
        while self._buffer and len(batch) < count:
            total += self._buffer[0].size
            if batch and max_bytes is not None and total > max_bytes:
                break
            batch.append(self._buffer.popleft())
        return batch

    def take_one(self, shunned: Collection[int]) -> list[Lease]:
        """One lease to send, if any waits: the first one whose item is not shunned, else the first."""
        for index, lease in enumerate(self._buffer):
            if lease.id not in shunned:
                del self._buffer[index]
                return [lease]
        return [self._buffer.popleft()] if self._buffer else []

    # --- what the lane tells -----------------------------------------------------------------------------------------------

    def settle(self, verdicts: Sequence[Verdict]) -> None:
        """Leave verdicts to be committed."""
        if verdicts:
            self._verdicts.extend(verdicts)
            self._signals.notify("work")

    def record(self, name: str, data: Mapping[str, Any]) -> None:
        """Leave an event about the destination to be recorded; of too many the oldest go."""
        self._events.append((name, data))
        self._signals.notify("work")

    def return_buffer(self, reason: str) -> None:
        """Give back what was leased and not begun."""
        if self._buffer:
            self.settle([GivenBack(lease, 0.0, reason) for lease in self._buffer])
            self._buffer.clear()

    def return_lost(self, reason: str) -> None:
        """Give back every lease that has no verdict; only while nothing is sent or settled."""
        known = {(verdict.lease.id, verdict.lease.fence) for verdict in self._verdicts}
        self._buffer.clear()
        self.settle([GivenBack(lease, 0.0, reason) for key, lease in self._held.items() if key not in known])

    # --- jobs, run in a crew ---------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """A new run of the lane."""
        self._closing = self._claiming = False
        self.keeping = True
        self._settling = 0
        self._empty_at = None

    def finish(self) -> None:
        """Let `keep` end once everything is settled."""
        self._closing = True
        self._signals.notify("work")

    async def finished(self) -> None:
        """Wait until nothing is claimed or settled any more."""
        while self.keeping and (self._claiming or self.unsettled):
            seen = self._signals.count("idle")
            await self._signals.wait("idle", seen, 1.0)

    def start_claim(self) -> None:
        """Mark a claim as under way; `claim` must follow."""
        self._claiming = True

    async def claim(self, limit: int, *, ordered: bool) -> None:
        """Lease up to `limit` items into the buffer."""
        seen, asked_at = self._store.wakeups.count(self._topic), self._clock.time()
        try:
            claimed = await self._store.claim(self._lane, limit, ordered=ordered)
        except QueueError as error:
            self._suffer(error)
            self._not_before = self._clock.monotonic() + _PATIENCE[0]
            return
        else:
            self._relieve()
            for lease in claimed.leases:
                self._held[lease.id, lease.fence] = lease
                self._buffer.append(lease)
            self._next_at = claimed.next_at
            if len(claimed.leases) >= limit:
                self._empty_at = None
            else:
                self._empty_at = seen
                # An item that is due and not handed out must not make us ask in a circle.
                if claimed.next_at is not None and claimed.next_at <= asked_at:
                    self._not_before = self._clock.monotonic() + 0.05
        finally:
            self._claiming = False
            self._changed()
            self._signals.notify("idle")

    async def keep(self) -> None:
        """Commit verdicts and events as they come, until `finish` was called and all is done."""
        try:
            patience = _PATIENCE[0]
            while True:
                seen = self._signals.count("work")
                if not self._verdicts and not self._events:
                    if self._closing and not self._claiming:
                        return
                    await self._signals.wait("work", seen, 1.0 if self._closing else None)
                    continue
                try:
                    await self._settle_group()
                    await self._record_events()
                except QueueError as error:
                    self._suffer(error)
                    await self._signals.wait("work", self._signals.count("work"), patience)
                    patience = min(patience * 2, _PATIENCE[1])
                else:
                    patience = _PATIENCE[0]
                    self._relieve()
                self._changed()
                if not self.unsettled:
                    self._signals.notify("idle")
        finally:
            self.keeping = False
            self._changed()
            self._signals.notify("idle")

    async def _settle_group(self) -> None:
        group = [self._verdicts.popleft() for _ in range(min(len(self._verdicts), _GROUP))]
        self._settling = len(group)
        left = {(verdict.lease.id, verdict.lease.fence): verdict for verdict in group}
        try:
            await self._acknowledge([verdict for verdict in group if isinstance(verdict, Sent)], left)
            await self._fail([verdict for verdict in group if isinstance(verdict, Failed)], left)
            await self._give_back([verdict for verdict in group if isinstance(verdict, GivenBack)], left)
        finally:
            self._verdicts.extendleft(reversed(left.values()))
            self._settling = 0

    async def _acknowledge(self, sent: Sequence[Sent], left: dict[tuple[int, int], Verdict]) -> None:
        if not sent:
            return
        answers = await self._store.acknowledge([one.lease for one in sent], [one.receipt for one in sent])
        for verdict, answer in zip(sent, answers, strict=True):
            self._close(verdict, answer.counted, left)

    async def _fail(self, failed: Sequence[Failed], left: dict[tuple[int, int], Verdict]) -> None:
        if not failed:
            return
        async with Crew(f"lane {self._lane} failures", _TOGETHER) as crew:
            for verdict in failed:
                await crew.start(self._fail_one(verdict, left))

    async def _fail_one(self, verdict: Failed, left: dict[tuple[int, int], Verdict]) -> None:
        answer = await self._store.fail(
            verdict.lease, error=verdict.error, delay=verdict.delay, permanent=verdict.permanent
        )
        self._close(verdict, answer.counted, left)

    async def _give_back(self, given: Sequence[GivenBack], left: dict[tuple[int, int], Verdict]) -> None:
        alike: dict[tuple[float, str], list[GivenBack]] = {}
        for verdict in given:
            alike.setdefault((verdict.delay, verdict.reason), []).append(verdict)
        for (delay, reason), verdicts in alike.items():
            await self._store.snooze([verdict.lease for verdict in verdicts], delay=delay, reason=reason)
            for verdict in verdicts:
                self._close(verdict, True, left)

    def _close(self, verdict: Verdict, counted: bool, left: dict[tuple[int, int], Verdict]) -> None:
        key = (verdict.lease.id, verdict.lease.fence)
        self._held.pop(key, None)
        del left[key]
        self._settled(verdict, counted)

    async def _record_events(self) -> None:
        while self._events:
            name, data = self._events[0]
            await self._store.record_event(self._lane, name, data)
            if self._events and self._events[0] == (name, data):
                self._events.popleft()

    def _suffer(self, error: QueueError) -> None:
        self.trouble = str(error)

    def _relieve(self) -> None:
        self.trouble = ""
