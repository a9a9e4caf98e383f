"""The worker processes together: which of them does which call, when another is started, and when one must go.

Calls of one distribution go to workers bound to it. At most `running` workers have calls at a time; at most two more processes
stand idle, one of them a warm spare that takes over within milliseconds. Short calls are sent a few ahead, so that a worker need
not wait for the agent; those that wait behind a long one are taken back. Invariant: a ticket is with one worker, or pending, or
its future is done.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from dropmill.conversion.errors import PoolClosed, WorkersUnavailable
from dropmill.conversion.handle import WorkerHandle
from dropmill.conversion.launch import Launched
from dropmill.conversion.patience import Patience
from dropmill.conversion.ticket import Answer, Death, Ticket
from dropmill.conversion.worker.page import WINDOW
from dropmill.foundation.clock import Clock

__all__ = ["Fleet"]

_TICK = 0.1
_SLOW_TICK = 10.0
_EXTRA = 2
"""Idle processes that may stand beside the running ones."""
_AHEAD = 0.02
"""Seconds of work that a worker may have before it; more is better done by another."""
_LONG = 0.1
"""Seconds of work on one call after which those behind it are taken back."""
_TURN = 0.25
"""Seconds that a distribution waits at most before another's worker is run empty for it."""
_GRACE = 1.0
"""Seconds that a cancelled call has to end by itself."""
_HELLO = 30.0
_STALL = 10.0
"""Seconds in which a worker must begin a call that it has."""
_IDLE = 60.0
_MOST_PROCESSES = 64
"""Of one worker: a fork bomb has more."""
_MOST_RETURNS = 3
_FAILED_STARTS = 3
_START_CAP = 30.0
_WEIGHT = 0.2


class Fleet:
    """Everything here is called on the event loop; nothing blocks but for the millisecond of a fork.

    Args:
        running: Workers that may have calls at a time.
        recycle_after: Calls after which a worker is replaced.
        memory: Bytes of resident memory, above what it began with, that a worker may take.
        start: Starts a process.
        greeted: Told of a worker that is ready.
        reaped: Told of one whose process is gone.
        spare: Whether to keep one process ready.
    """

    def __init__(
        self,
        *,
        running: int,
        recycle_after: int,
        memory: int,
        start: Callable[[], Launched],
        greeted: Callable[[WorkerHandle], None],
        reaped: Callable[[WorkerHandle], None],
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        spare: bool = True,
    ) -> None:
        self._running = running
        self._recycle_after = recycle_after
        self._memory = memory
        self._start = start
        self._greeted = greeted
        self._reaped = reaped
        self._clock = clock
        self._loop = loop
        self._keep_spare = spare
        self._workers: dict[int, WorkerHandle] = {}
        self._spare: WorkerHandle | None = None
        self._pending: dict[str, deque[Ticket]] = {}
        self._seconds: dict[str, float] = {}
        """What a call of a group takes, on average."""
        self._turns: dict[str, float] = {}
        """When a call of a group was last given to a worker."""
        self._timer: asyncio.TimerHandle | None = None
        self._spawn_soon: asyncio.Handle | None = None
        self._failed_starts = 0
        self._start_error = ""
        self._not_before = 0.0
        self._closing = False
        self._empty: asyncio.Future[None] | None = None

    @property
    def workers(self) -> Sequence[WorkerHandle]:
        """All processes, those that are ending included."""
        return list(self._workers.values())

    @property
    def pending(self) -> int:
        """Calls that no worker has."""
        return sum(len(queue) for queue in self._pending.values())

    @property
    def busy(self) -> bool:
        """Whether any call is pending or under way."""
        return bool(self._pending) or any(worker.calls for worker in self._workers.values())

    def warm_up(self) -> None:
        """Have the spare ready before the first call comes."""
        self._want_spare()

    def submit(self, ticket: Ticket) -> None:
        """Have a call done; its future tells how it ended."""
        if self._closing or self._cannot_start:
            self._refuse(ticket)
            return
        self._pending.setdefault(ticket.group, deque()).append(ticket)
        self._pump()

    def cancel(self, ticket: Ticket) -> None:
        """Nobody waits for this call any more: leave it out, or have it ended within a second."""
        ticket.future.cancel()
        queue = self._pending.get(ticket.group)
        if queue is not None and ticket in queue:
            queue.remove(ticket)
            return
        ticket.cancelled_at = self._clock.monotonic()
        for worker in self._workers.values():
            worker.cancel(ticket)

    async def close(self, grace: float) -> None:
        """End all workers: at once where they are idle, after `grace` seconds where they are not; return when none is left."""
        self._closing = True
        if self._spawn_soon is not None:
            self._spawn_soon.cancel()
        for queue in self._pending.values():
            for ticket in queue:
                self._refuse(ticket)
        self._pending.clear()
        for worker in self.workers:
            worker.retire()
        deadline = self._loop.call_later(grace, self._kill_all)
        try:
            while self._workers:
                self._empty = self._loop.create_future()
                await self._empty
        finally:
            deadline.cancel()
            if self._timer is not None:
                self._timer.cancel()

    def _kill_all(self) -> None:
        for worker in self.workers:
            worker.end("cancelled", "the agent stopped")

    # --- who does what -------------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        now = self._clock.monotonic()
        served = {worker.group for worker in self._workers.values() if worker.calls and not worker.dying}
        # Those without a worker come first, and of those the one whose last turn is the longest ago.
        for group in sorted(self._pending, key=lambda group: (group in served, self._turns.get(group, 0.0))):
            queue = self._pending[group]
            while queue:
                worker = self._worker_for(group)
                if worker is None:
                    waiting = now - max(queue[0].submitted, self._turns.get(group, 0.0))
                    if group not in served and waiting > _TURN:
                        self._make_way(group)
                    break
                worker.send(queue.popleft())
                self._turns[group] = now
            if not queue:
                del self._pending[group]
        self._schedule()

    def _worker_for(self, group: str) -> WorkerHandle | None:
        window = self._window(group)
        mine = [worker for worker in self._workers.values() if worker.group == group and worker.accepts(window)]
        busy = sum(1 for worker in self._workers.values() if worker.calls)
        best = min(mine, key=lambda worker: len(worker.calls), default=None)
        if best is not None and (best.calls or busy < self._running):
            return best
        return self._fresh(group) if busy < self._running else None

    def _window(self, group: str) -> int:
        seconds = self._seconds.get(group)
        return 1 if seconds is None else max(1, min(WINDOW, int(_AHEAD / max(seconds, 1e-4))))

    def _fresh(self, group: str) -> WorkerHandle | None:
        """A worker newly bound to a group: the spare, or a new process."""
        worker, self._spare = self._spare, None
        if worker is None or worker.dying:
            if len(self._workers) >= self._running + _EXTRA and not self._retire_idle():
                return None
            worker = self._spawn()
        if worker is not None:
            worker.group = group
        self._want_spare()
        return worker

    def _retire_idle(self) -> bool:
        """Let the worker go that has been idle the longest."""
        idle = [worker for worker in self._workers.values() if not worker.calls and worker.group and not worker.dying]
        idle = [worker for worker in idle if worker.worn is None]
        if not idle:
            return False
        min(idle, key=lambda worker: worker.idle_since).retire()
        return True

    def _make_way(self, group: str) -> None:
        """No worker is free for a group that has waited its time: let one of another's run empty."""
        if any(worker.yielding and not worker.dying for worker in self._workers.values()):
            return
        others = [w for w in self._workers.values() if w.calls and w.started and w.group != group]
        if others:
            chosen = min(others, key=lambda worker: len(worker.calls))
            chosen.yielding = True
            self._requeue(chosen.take_back())

    # --- processes -----------------------------------------------------------------------------------------------------

    def _spawn(self) -> WorkerHandle | None:
        if self._closing or self._clock.monotonic() < self._not_before:
            return None
        try:
            launched = self._start()
        except OSError as error:
            self._start_failed(f"{error.strerror} ({error.filename})" if error.filename else str(error.strerror))
            return None
        worker = self._workers[launched.number] = WorkerHandle(launched, self, self._loop, self._clock)
        return worker

    def _want_spare(self) -> None:
        """Start a spare once what is at hand is done."""
        if self._keep_spare and self._spare is None and self._spawn_soon is None and not self._closing:
            self._spawn_soon = self._loop.call_soon(self._spawn_spare)

    def _spawn_spare(self) -> None:
        self._spawn_soon = None
        if self._spare is None and len(self._workers) < self._running + _EXTRA:
            self._spare = self._spawn()
            self._schedule()

    def _start_failed(self, why: str) -> None:
        """Back off, and tell those that wait once it looks lasting."""
        self._failed_starts += 1
        self._start_error = why
        self._not_before = self._clock.monotonic() + min(_START_CAP, 0.1 * 2**self._failed_starts)
        if self._cannot_start:
            for queue in self._pending.values():
                for ticket in queue:
                    self._refuse(ticket)
            self._pending.clear()

    @property
    def _cannot_start(self) -> bool:
        """Whether waiting for a worker is in vain for now."""
        waiting = self._clock.monotonic() < self._not_before
        return self._failed_starts >= _FAILED_STARTS and waiting and not any(w.started for w in self._workers.values())

    # --- what handles tell ---------------------------------------------------------------------------------------------

    def ready(self, worker: WorkerHandle) -> None:
        """A worker said hello."""
        self._failed_starts = 0
        self._greeted(worker)
        self._pump()

    def answered(self, worker: WorkerHandle, ticket: Ticket, answer: Answer) -> None:
        """A call has ended."""
        wall = answer.header.get("wall")
        if isinstance(wall, float):
            known = self._seconds.get(ticket.group)
            self._seconds[ticket.group] = wall if known is None else known + _WEIGHT * (wall - known)
        worker.engaged = False
        if not ticket.future.done():
            ticket.future.set_result(answer)
        if worker.worn is None and worker.finished >= self._recycle_after:
            worker.worn = f"{worker.finished} conversions"
        if worker.worn is not None:
            self._requeue(worker.take_back())
            if not worker.calls:
                worker.retire()
        if not worker.calls:
            worker.yielding = False
        if self._pending:
            self._pump()

    def ended(self, worker: WorkerHandle, victim: tuple[Ticket, Death] | None, returned: Sequence[Ticket]) -> None:
        """A worker does no more."""
        if self._spare is worker:
            self._spare = None
        if victim is not None:
            ticket, death = victim
            if not ticket.future.done():
                ticket.future.set_result(death)
        if worker.started and victim is None:
            for ticket in returned:
                ticket.returned += 1
        self._requeue([ticket for ticket in returned if not self._given_up(worker, ticket)])
        if not worker.started and not self._closing:
            self._start_failed(worker.tail().strip()[-500:] or "it ended without a word")
        self._want_spare()
        self._pump()

    def reaped(self, worker: WorkerHandle) -> None:
        """A worker's process is gone."""
        self._workers.pop(worker.number, None)
        self._reaped(worker)
        if not self._workers and self._empty is not None and not self._empty.done():
            self._empty.set_result(None)
        if not self._closing:
            self._want_spare()
            self._pump()

    def _given_up(self, worker: WorkerHandle, ticket: Ticket) -> bool:
        """Whether workers keep ending before they begin this call: it may well be its converter's doing."""
        if ticket.returned < _MOST_RETURNS or ticket.future.done():
            return ticket.future.done()
        message = f"{ticket.returned} worker processes ended before they began this file"
        ticket.future.set_result(Death(kind="crash", message=message, candidate=0, output=worker.tail()))
        return True

    def _requeue(self, tickets: Sequence[Ticket]) -> None:
        """Put calls back to the front of their queues."""
        for ticket in reversed(tickets):
            if ticket.future.done():
                continue
            if self._closing:
                self._refuse(ticket)
            else:
                self._pending.setdefault(ticket.group, deque()).appendleft(ticket)

    def _refuse(self, ticket: Ticket) -> None:
        if ticket.future.done():
            return
        if self._closing:
            ticket.future.set_exception(PoolClosed("the agent stops; the file goes back as it was"))
            return
        what = f"{self._failed_starts} worker processes in a row did not start; the last one said: {self._start_error}"
        todo = "check memory, process limits, and that the interpreter and the installed packages are whole"
        ticket.future.set_exception(WorkersUnavailable(what, todo=todo))

    # --- watching ------------------------------------------------------------------------------------------------------

    def _schedule(self) -> None:
        """Tick while there is anything to watch, and seldom where that is only how long a worker has been idle."""
        workers = self._workers.values()
        if self._pending or any(worker.calls or not worker.started or worker.worn for worker in workers):
            delay = _TICK
        elif any(worker.group is not None for worker in workers):
            delay = _SLOW_TICK
        else:
            return
        when = self._loop.time() + delay
        if self._timer is not None:
            if self._timer.when() <= when:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self._clock.monotonic()
        for worker in self.workers:
            if worker.dying:
                continue
            worker.tick()
            if not worker.started:
                if now - worker.started_at > _HELLO:
                    worker.end("crash", f"it was not ready {_HELLO:g} s after its start")
            elif worker.calls:
                self._watch(worker, now)
            elif worker.worn is not None:
                if now - worker.idle_since > _GRACE:
                    worker.end("crash", "it did not exit when told to")
            elif worker.group is not None and now - worker.idle_since > _IDLE:
                worker.retire()
        self._pump()

    def _watch(self, worker: WorkerHandle, now: float) -> None:
        ticket = worker.current
        if ticket is None:
            if now - worker.idle_since > _STALL:
                worker.expire("crash", f"it did not begin the next file within {_STALL:g} s")
            return
        worker.idle_since = now
        if ticket.patience is None:
            ticket.patience = Patience(ticket.candidates[0].binding.spec.timeout, now)
        patience = ticket.patience
        page = worker.page
        index = min(page.candidate_index, len(ticket.candidates) - 1)
        patience.limit(ticket.candidates[index].binding.spec.timeout)
        if ticket.cancelled_at is not None and now - ticket.cancelled_at > _GRACE:
            worker.expire("cancelled", f"it did not end within {_GRACE:g} s after it was cancelled")
        elif (why := patience.exhausted(now, page.read + page.work)) is not None:
            worker.expire("timeout", why)
        elif worker.memory() - worker.resident > self._memory:
            worker.expire("oom", f"it took more than {self._memory} bytes of memory")
        elif len(worker.children()) > _MOST_PROCESSES:
            worker.end("limit", f"it started more than {_MOST_PROCESSES} processes")
        elif now - patience.began > _LONG:
            worker.engaged = True
            self._requeue(worker.take_back())
