"""A destination's sender: leases items, keeps a bounded number of sends in flight and leaves a verdict for each lease.

It never sends while paused or while the breaker is open, and knows nothing of other lanes: a slow or broken destination holds up
only itself. Whatever ends it (a stop, a cancellation, a fault), no lease stays behind: what was answered is settled, what was not
begun or not finished goes back without an attempt being charged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random

from dropmill.api import AgentEvent, Transport, TransportSpec
from dropmill.config.settings import DestinationSettings
from dropmill.delivery.backoff import Backoff
from dropmill.delivery.board import Board
from dropmill.delivery.breaker import Breaker, Cause, Circuit
from dropmill.delivery.courier import Courier
from dropmill.delivery.gate import Gate
from dropmill.delivery.ledger import Ledger
from dropmill.delivery.outgoing import OpenContext
from dropmill.delivery.scrub import Scrubber
from dropmill.delivery.status import LaneState, LaneStatus
from dropmill.delivery.verdicts import GivenBack, Judge, Refusing, Sent
from dropmill.foundation.clock import Clock
from dropmill.queue.records import Lease
from dropmill.queue.store import QueueStore
from dropmill.queue.wakeups import Wakeups
from dropmill.supervision.crew import Crew
from dropmill.supervision.spec import ChildSpec, Heart

__all__ = ["HEARTBEAT", "Lane"]

HEARTBEAT = 120.0
"""Seconds without a beat after which the lane counts as stuck."""

_BEAT = 10.0
_GRACE = 10.0
"""Seconds that a send may need to end after its time was up."""
_PREFETCH = 8
"""Batches leased ahead for each send that may be in flight, so that one claim serves many sends."""
_MAX_PREFETCH = 256
_BATCH_BYTES = 33_554_432
"""A batch has a time limit as a whole: so much together, or one item alone."""
_MAX_UNSETTLED = 512
"""Answers that the queue has not committed yet; above it nothing new is sent."""
_FIRST_TRIAL = 1.0
"""Seconds before a destination is first asked again, at most; doubles up to `probe_every`."""
_AUTHENTICATION_PATIENCE = 10.0
"""`probe_every` times this is the longest wait while credentials are refused."""


@dataclass(frozen=True)
class _Send:
    """A send under way."""

    at: float
    """When it began, for people."""
    began: float
    """The same, monotonic."""
    items: int


class Lane:
    """The lane of one destination. `run` is a supervised child's; the rest may be called at any time, on the event loop."""

    def __init__(
        self,
        destination: DestinationSettings,
        transport: Transport,
        spec: TransportSpec,
        store: QueueStore,
        *,
        clock: Clock,
        random: Random,
        base: str = ".",
        secrets: Sequence[str] = (),
        threshold: int = 5,
        paused: str = "",
        on_event: Callable[[AgentEvent], None] | None = None,
    ) -> None:
        """
        Args:
            base: Folder that relative paths in the transport's options stand below.
            secrets: What must not appear in receipts, errors and logs (`scrub.secrets_of`).
            threshold: Failed sends in a row that open the breaker.
            paused: Start paused by an operator, with this reason.
            on_event: Told of deliveries and of the lane's states, after the fact.
        """
        caps, every = spec.caps, destination.probe_every
        self.name = destination.name
        self._settings = destination
        self._spec = spec
        self._store = store
        self._clock = clock
        self._ordered = caps.ordered
        self._limit = caps.max_bytes
        self._max_bytes = min(_BATCH_BYTES, caps.max_bytes or _BATCH_BYTES)
        self._max_batch = max(1, caps.max_batch)
        self._width = 1 if caps.ordered else min(destination.concurrency, caps.max_in_flight or destination.concurrency)
        ahead = 1 if caps.ordered else self._width * _PREFETCH
        self._prefetch = max(self._max_batch, min(self._max_batch * ahead, _MAX_PREFETCH))
        backoff = Backoff(destination.backoff, destination.backoff_cap)
        self._scrubber = Scrubber(secrets)
        self._judge = Judge(self.name, spec.id, backoff, random, self._scrubber)
        breaker = Breaker(
            pace=Backoff(min(_FIRST_TRIAL, every), every),
            pace_authentication=Backoff(every, every * _AUTHENTICATION_PATIENCE),
            threshold=threshold,
        )
        self._gate = Gate(breaker, self._judge, clock, random, ordered=caps.ordered)
        context = OpenContext(self.name, base, destination.timeout)
        self._courier = Courier(transport, context, store, self._judge)
        self._ledger = Ledger(
            self.name,
            store,
            clock,
            changed=self.wake,
            settled=lambda verdict, counted: self._board.settled(verdict, counted),
        )
        self._board = Board(self.name, clock, record=self._ledger.record, on_event=on_event)
        self._signals = Wakeups()
        self._running = False
        self._probing = False
        self._probe_wanted = False
        self._sends: dict[int, _Send] = {}
        self._send_number = 0
        self._paused = paused

    # --- what others see and ask -----------------------------------------------------------------------------------------

    def child(self) -> ChildSpec:
        """The lane as the supervisor runs it."""
        return ChildSpec(name=f"lane {self.name}", run=self.run, heartbeat=HEARTBEAT, quiesce=self.wake)

    def status(self) -> LaneStatus:
        """What people see."""
        board = self._board
        state, reason = self._state()
        waiting = state in (LaneState.WAITING, LaneState.BREAKER_OPEN)
        return LaneStatus(
            name=self.name,
            transport=self._spec.id,
            state=state,
            reason=reason,
            since=board.since if state is board.state else self._clock.time(),
            in_flight=sum(send.items for send in self._sends.values()),
            oldest_send=min((send.at for send in self._sends.values()), default=None),
            leased=self._ledger.leased,
            next_probe=self._clock.time() + self._gate.wait() if waiting else None,
            failures=self._gate.breaker.failures,
            last_receipt=board.last_receipt,
            last_error=board.last_error,
            last_probe=board.last_probe,
            trouble=self._ledger.trouble,
            counts=dict(board.counts),
        )

    def pause(self, reason: str = "") -> None:
        """Begin no further send; those in flight finish, the rest goes back to the queue."""
        self._paused = reason or "paused by an operator"
        self.wake()

    def resume(self) -> None:
        """End a `pause`; a destination that is waited for is asked at once."""
        self._paused = ""
        self._gate.hurry()
        self.wake()

    def probe_now(self) -> None:
        """Ask the destination whether it would take an item, as soon as nothing is in flight; `status().last_probe` tells."""
        self._probe_wanted = True
        self.wake()

    def hide(self, secrets: Iterable[str]) -> None:
        """Let these, too, not appear in receipts, errors and logs (a secret that was replaced while the lane runs)."""
        self._scrubber.learn(secrets)

    def wake(self) -> None:
        """Look again at clock, queue and flags."""
        self._signals.notify("lane")

    # --- the supervised run ----------------------------------------------------------------------------------------------

    async def run(self, heart: Heart) -> None:
        """Send until the agent stops."""
        self._running, self._probing = True, False
        self._sends.clear()
        self._ledger.begin()
        self._ledger.return_lost("the lane was restarted")
        try:
            async with Crew(f"lane {self.name} books", 6) as books:
                await books.start(self._ledger.keep())
                await books.start(self._relay_queue())
                await books.start(self._relay_stop(heart))
                await self._store.set_lane(self.name, max_attempts=self._settings.retries + 1)
                if not self._ledger.leased:
                    await self._store.release_lane(self.name, reason="the lane was restarted")
                try:
                    # More places than sends: one that has just ended is given free a moment after its successor may start.
                    async with Crew(f"lane {self.name}", 2 * self._width + 2) as sends:
                        await self._drive(heart, sends, books)
                finally:
                    await self._clear_books()
        finally:
            self._running = False
            await self._courier.close()

    async def _clear_books(self) -> None:
        """Wait until every lease is settled or given back."""
        self._running = False
        self._board.show(*self._state())
        self._ledger.return_buffer("the lane stops")
        await self._ledger.finished()
        self._ledger.return_lost("the lane stops")  # what a claim under way has brought, or a fault of ours left behind
        self._ledger.finish()
        await self._ledger.finished()
        self._store.wakeups.notify(f"lane:{self.name}")

    async def _drive(self, heart: Heart, sends: Crew, books: Crew) -> None:
        while True:
            heart.beat()
            seen = self._signals.count("lane")
            patience = _BEAT
            if not self._ledger.keeping:
                await books.wait_free()
                raise RuntimeError(f"the books of lane {self.name} are no longer kept")
            if heart.quiescing:
                self._ledger.return_buffer("the agent stops")
                if not self._sends and not self._probing:
                    return
            else:
                patience = min(patience, await self._advance(sends, books))
            self._board.show(*self._state())
            await self._signals.wait("lane", seen, max(patience, 0.001))

    async def _advance(self, sends: Crew, books: Crew) -> float:
        """One look: ask the destination, send, lease, or give back. Answers in how many seconds to look again at the latest."""
        busy = self._live() > 0 or self._probing
        if self._must_prepare(busy):
            if not busy:
                self._probing = True
                await sends.start(self._prepare())
            return _BEAT
        if self._paused or self._gate.open:
            self._ledger.return_buffer(self._paused or self._gate.breaker.reason)
            return _BEAT if self._paused or self._gate.due() else self._gate.wait()
        if self._probing:
            return _BEAT
        if self._gate.trial:
            return await self._try_one(sends, books)
        await self._begin_sends(sends)
        if self._ordered and (self._sends or self._ledger.leased):
            return _BEAT  # nothing more before what is out has been settled
        if self._ledger.buffered > self._prefetch // 2:
            return _BEAT
        return await self._claim(books, self._prefetch - self._ledger.buffered)

    async def _begin_sends(self, sends: Crew) -> None:
        while len(self._sends) < self._width and self._ledger.unsettled <= _MAX_UNSETTLED:
            batch = self._fitting(self._ledger.take(self._max_batch, self._max_bytes))
            if not batch:
                return
            await self._begin(sends, batch)

    async def _try_one(self, sends: Crew, books: Crew) -> float:
        """On trial: one item alone, and if possible none of those that were refused just before."""
        overdue = self._overdue()
        if self._live() or len(overdue) >= self._width:
            return _BEAT
        suspects = self._gate.suspects()
        batch = self._fitting(self._ledger.take_one(suspects))
        if batch:
            await self._begin(sends, batch)
        elif self._ledger.leased <= sum(send.items for send in overdue):
            # Not before all others are settled: what was given back must be there to be handed out again.
            return await self._claim(books, min(len(suspects) + 1, _MAX_PREFETCH))
        return _BEAT

    async def _begin(self, sends: Crew, batch: Sequence[Lease]) -> None:
        self._send_number += 1
        self._sends[self._send_number] = _Send(self._clock.time(), self._clock.monotonic(), len(batch))
        await sends.start(self._send(self._send_number, batch))

    async def _claim(self, books: Crew, count: int) -> float:
        ledger = self._ledger
        if ledger.claiming:
            return _BEAT
        if ledger.worth_claiming():
            ledger.start_claim()
            await books.start(ledger.claim(count, ordered=self._ordered))
            return _BEAT
        wait = ledger.wait_for_more()
        return _BEAT if wait is None else wait

    def _fitting(self, batch: Sequence[Lease]) -> Sequence[Lease]:
        """The batch, unless it is a single item that the transport cannot take."""
        limit = self._limit
        if limit is None or not batch or batch[0].size <= limit:
            return batch
        self._board.counts["rejected"] += 1
        self._ledger.settle([self._judge.too_large(batch[0], limit)])
        self.wake()
        return ()

    def _must_prepare(self, busy: bool) -> bool:
        """Whether the transport must be opened or asked before anything is sent."""
        if self._probe_wanted:
            return True
        if self._paused:
            return False
        if not self._gate.open:
            return not self._courier.ready
        if busy or not self._gate.due():
            return False
        if self._gate.needs_asking() or not self._courier.ready:
            return True
        self._gate.probed()
        return False

    # --- jobs ------------------------------------------------------------------------------------------------------------

    async def _send(self, number: int, batch: Sequence[Lease]) -> None:
        try:
            ending = await self._courier.send(batch)
            verdicts = self._gate.conclude(batch, ending)
            if isinstance(ending.signal, Refusing):
                self._board.refused(ending.signal.problem)
            self._board.counts.update(ending.counts)
            self._ledger.settle(verdicts)
            if self._ordered and not all(isinstance(verdict, Sent) for verdict in verdicts):
                self._ledger.return_buffer("an item before it was not delivered")
        except asyncio.CancelledError:
            self._ledger.settle([GivenBack(lease, 0.0, "the send was cancelled") for lease in batch])
            raise
        finally:
            del self._sends[number]
            self.wake()

    async def _prepare(self) -> None:
        """Open the transport if need be; ask it, unless the lane has only just started."""
        began = self._clock.monotonic()
        wanted = self._probe_wanted
        ask = wanted or self._gate.open
        early = self._gate.open and not self._gate.due()
        # Refused credentials are read anew with the transport: a secret that was replaced is taken up without anybody's help.
        anew = self._gate.breaker.cause is Cause.AUTHENTICATION
        try:
            refusing = await self._courier.prepare(ask=ask, anew=anew)
        finally:
            self._probing = False
            self.wake()
        if refusing is None:
            self._gate.probed()
        else:
            self._gate.refuse(refusing, late=early)
            self._board.refused(refusing.problem)
        if ask or refusing is not None:
            self._board.probed(began, "" if refusing is None else refusing.problem.what)
        if wanted:
            self._probe_wanted = False

    async def _relay_queue(self) -> None:
        """The queue's wake-ups are the lane's."""
        topic = f"lane:{self.name}"
        while self._running:
            seen = self._store.wakeups.count(topic)
            self.wake()
            await self._store.wakeups.wait(topic, seen, None)

    async def _relay_stop(self, heart: Heart) -> None:
        await heart.wait_quiesce()
        self.wake()

    def _overdue(self) -> list[_Send]:
        """Sends that were cancelled a while ago and go on."""
        before = self._clock.monotonic() - self._settings.timeout - _GRACE
        return [send for send in self._sends.values() if send.began < before]

    def _live(self) -> int:
        """Sends of which an end can be expected."""
        return len(self._sends) - len(self._overdue())

    def _state(self) -> tuple[LaneState, str]:
        if not self._running:
            return LaneState.STOPPED, ""
        if self._paused:
            return LaneState.PAUSED, self._paused
        if overdue := self._overdue():
            return LaneState.STUCK, f"{len(overdue)} of {len(self._sends)} sends do not end although their time is up"
        breaker = self._gate.breaker
        if breaker.circuit is Circuit.CLOSED:
            return (LaneState.RUNNING if self._courier.ready else LaneState.STARTING), ""
        idle = not self._ledger.leased and not self._ledger.claiming
        if breaker.circuit is Circuit.TRIAL and (idle or self._board.state is LaneState.RUNNING):
            return LaneState.RUNNING, ""  # it answered the probe, and there is nothing to try it with
        return (LaneState.BREAKER_OPEN if breaker.cause is Cause.FAILURES else LaneState.WAITING), breaker.reason
