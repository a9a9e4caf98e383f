"""The queue's door: what happens when an offer does not fit, and whether drop folders may take files in.

The limits themselves are the store's, exact and inside its transactions; this asks the policy what to do about them and keeps
to what no policy can break. A policy that fails is put into quarantine, and pausing, which loses nothing, takes its place.
Intake stops at the high-water marks and goes on below the low ones, except where the policy says that it need not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from dropmill.api import Evict, Offer, Pause, QueuePolicy, QueueView, Reject
from dropmill.config.settings import QueueSettings
from dropmill.foundation.errors import Problem
from dropmill.queue.capacity import Marks
from dropmill.queue.errors import QueueFull, StoreUnavailable
from dropmill.queue.judging import Judge, PolicyFault
from dropmill.queue.records import NewReport, Published
from dropmill.queue.store import QueueStore

__all__ = ["Admission"]

T = TypeVar("T")

_CALM = 0.1
"""Seconds between two looks at whether intake is open, however much is being delivered."""
_ROUNDS = 3
"""Times that a policy may make room for one offer: others may take it away in between."""


class _Pausing:
    """What takes the place of a policy in quarantine."""

    stops_intake = True

    def __init__(self, options: Mapping[str, Any]) -> None: ...

    def on_full(self, offer: Offer, view: QueueView) -> Pause:  # noqa: ARG002
        return Pause()


class Admission:
    """Use its `publish` and `offer` in place of the store's, and `intake_open` before a file is claimed."""

    def __init__(
        self,
        store: QueueStore,
        policy: QueuePolicy,
        settings: QueueSettings,
        *,
        policy_id: str,
        on_problem: Callable[[Problem], None] | None = None,
        limit: float = 0.05,
    ) -> None:
        self._store = store
        self._marks = Marks.of(settings)
        self._policy_id = policy_id
        self._on_problem = on_problem
        self._judge = Judge(policy, limit=limit)
        self._stops_intake = bool(getattr(policy, "stops_intake", True))
        self.quarantined: Problem | None = None
        """Why the configured policy was put out of work; None: it decides."""
        self._waits_below: int | None = None
        """Intake waits until the queue has drained to this many items; None: it does not wait."""
        self._shown: str | None = None

    # --- intake ----------------------------------------------------------------------------------------------------------

    @property
    def intake_open(self) -> bool:
        """Whether files may be claimed now. When not, wait for `store.wakeups`' topic `capacity` and ask again."""
        return not self.intake_reason

    @property
    def intake_reason(self) -> str:
        """Why no file may be claimed now, for people; empty: files may."""
        marks, gauges = self._marks, self._store.gauges
        if not gauges.writable:
            return "the queue cannot be written"
        if gauges.free_disk < marks.min_free_disk:
            return f"the disk is short of space: {gauges.free_disk} bytes are free"
        if gauges.claimed + gauges.converting >= marks.max_claimed:
            return f"{gauges.claimed + gauges.converting} files wait for conversion, {marks.max_claimed} are allowed"
        if not self._stops_intake:
            return ""
        if gauges.dead >= marks.max_dead:
            return f"{gauges.dead} dead letters are kept, {marks.max_dead} are allowed"
        if self._waits_below is None:
            if gauges.items >= marks.high_items or gauges.bytes >= marks.high_bytes or gauges.full:
                self._waits_below = marks.low_items
        elif gauges.items <= self._waits_below and gauges.bytes <= marks.low_bytes:
            self._waits_below = None
        if self._waits_below is None:
            return ""
        return f"the queue is full: {gauges.items} items wait, intake goes on at {self._waits_below}"

    async def watch(self) -> None:
        """Keep the flag `intake` and the events of its changes; runs for ever, as a supervised child."""
        wakeups = self._store.wakeups
        while True:
            seen = wakeups.count("capacity")
            await self.show()
            await wakeups.wait("capacity", seen, 1.0)
            await asyncio.sleep(_CALM)

    async def show(self) -> None:
        """Put on record whether intake is open, where that has changed."""
        reason = self.intake_reason
        closed = bool(reason)
        if self._shown is None or closed != bool(self._shown):
            try:
                await self._store.set_flag("intake", {"reason": reason} if closed else None)
            except StoreUnavailable:
                return
        self._shown = reason

    # --- offers ----------------------------------------------------------------------------------------------------------

    async def publish(
        self,
        file_id: str,
        reports: Sequence[NewReport],
        *,
        converter: str,
        warnings: Sequence[Mapping[str, Any]] = (),
        folder: str | None = None,
    ) -> Published:
        """`QueueStore.publish`, with the policy's help where there is no room.

        Raises:
            QueueFull: there is none now; give the file back with the reason `queue full`, it comes again at low water.
            TooLarge: there never will be.
            StoreUnavailable: the disk refuses.
        """

        async def attempt(evict: Evict | None) -> Published:
            return await self._store.publish(file_id, reports, converter=converter, warnings=warnings, evict=evict)

        return await self._admit(attempt, reports, folder)

    async def offer(self, reports: Sequence[NewReport], *, folder: str | None = None) -> Sequence[str]:
        """`QueueStore.offer`, with the policy's help where there is no room.

        While intake waits for the queue to drain, offers from outside wait too: what is left is for conversions under way.

        Raises:
            QueueFull, TooLarge, StoreUnavailable: as for `publish`.
        """
        if reason := self.intake_reason:
            raise QueueFull(reason, await self._store.view())

        async def attempt(evict: Evict | None) -> Sequence[str]:
            return await self._store.offer(reports, evict=evict)

        return await self._admit(attempt, reports, folder)

    async def _admit(
        self, attempt: Callable[[Evict | None], Awaitable[T]], reports: Sequence[NewReport], folder: str | None
    ) -> T:
        items = sum(len(report.lanes) for report in reports)
        size = sum(len(report.lanes) * report.size for report in reports)
        evict: Evict | None = None
        for turn in range(_ROUNDS + 1):
            try:
                return await attempt(evict)
            except QueueFull as full:
                if turn == _ROUNDS:
                    raise
                decision = await self._decide(Offer(items, size, folder), full.view)
                if isinstance(decision, Evict):
                    evict = decision
                    continue
                if isinstance(decision, Pause):
                    below = self._marks.low_items if decision.resume_below is None else decision.resume_below
                    self._waits_below = min(below, self._marks.max_items)
                    raise
                raise _rejected(full, decision) from full
        raise AssertionError("unreachable")

    async def _decide(self, offer: Offer, view: QueueView) -> Reject | Evict | Pause:
        try:
            return await self._judge.decide(offer, view)
        except PolicyFault as fault:
            await self._quarantine(fault)
            return Pause()

    async def _quarantine(self, fault: PolicyFault) -> None:
        if self.quarantined is not None:
            return
        self.quarantined = problem = Problem(
            code="DM-Q009",
            what=f"the queue-full policy {self._policy_id} was put out of work, pausing takes its place: {fault.what}",
            where=f"queue.when_full = {self._policy_id}",
            todo="correct or replace the policy, then restart",
        )
        self._judge.close()
        self._judge = Judge(_Pausing({}), limit=1.0)
        self._stops_intake = True
        if self._on_problem is not None:
            self._on_problem(problem)
        try:
            await self._store.record_event(
                "queue", "policy.quarantined", {**problem.as_dict(), "policy": self._policy_id, "detail": fault.detail}
            )
        except StoreUnavailable:
            pass  # told through `on_problem` already

    def close(self) -> None:
        """End the policy's thread."""
        self._judge.close()


def _rejected(full: QueueFull, decision: Reject) -> QueueFull:
    what = full.problem.what if not decision.reason else f"{full.problem.what} ({decision.reason})"
    return QueueFull(what, full.view, retry_after=full.retry_after)
