"""The supervisor: runs the agent's children from start to stop, knows how the agent is, and answers with an exit code.

It puts the parts together: the family of children, the pulse on the loop, the sentinel beside it, the service manager, the
three-phase stop. It never lets an exception of a child or a callback end the loop, and it never ends without the stop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from random import Random
from typing import Any, Literal

from dropmill.foundation.clock import Clock, utc_iso
from dropmill.foundation.errors import Problem
from dropmill.supervision.bell import Bell
from dropmill.supervision.events import Level, Listener, Teller, describe_error
from dropmill.supervision.exits import ExitCode
from dropmill.supervision.family import Family, in_order
from dropmill.supervision.health import Condition, assess
from dropmill.supervision.lag import LagHistogram
from dropmill.supervision.notify import Notifier
from dropmill.supervision.shutdown import Shutdown, StopPlan, StopReport
from dropmill.supervision.signals import StopSignals
from dropmill.supervision.spec import ChildSpec, Heart, State
from dropmill.supervision.vigil import Vigil, Vigilance

__all__ = ["Supervisor", "Vigilance"]

PREPARE = "start"
"""Name of the child that `prepare` runs as."""

_EXTEND_EVERY = 5.0
_EXTEND_BY = 15.0


class Supervisor:
    """Runs children until it is told to stop.

    Args:
        specs: The first children, in any order; `add` takes more.
        on_event: Told of everything that happens; it logs and passes on.
        on_error: What becomes of an agent in ERROR: it stays (control is up, it tries again), or exits with 70.
    """

    def __init__(
        self,
        specs: Iterable[ChildSpec] = (),
        *,
        clock: Clock,
        random: Random,
        on_event: Listener,
        notify: Notifier | None = None,
        plan: StopPlan | None = None,
        vigilance: Vigilance | None = None,
        on_error: Literal["stay", "exit"] = "stay",
    ) -> None:
        self.notify = Notifier(None) if notify is None else notify
        self.lag = LagHistogram()
        self._clock = clock
        self._plan = StopPlan() if plan is None else plan
        self._vigilance = Vigilance() if vigilance is None else vigilance
        self._on_error = on_error
        self._teller = Teller(on_event, clock)
        self._family = Family(
            clock=clock,
            random=random,
            teller=self._teller,
            half_open=self._vigilance.half_open,
            trial=self._vigilance.trial,
            on_change=self._changed,
        )
        for spec in in_order(specs):
            self._family.add(spec)
        self._conditions: dict[str, Condition] = {}
        self._bell = Bell()
        self._signals: StopSignals | None = None
        self._stop_reason = ""
        self._stop_at: float | None = None
        self._by_error = False
        self._hastened = 0
        self._shutdown: Shutdown | None = None
        self._vigil: Vigil | None = None
        self._next_extend = 0.0
        self._ready_by: float | None = None
        self._review_due = False
        self._start_error: BaseException | None = None
        self._outcome: ExitCode | None = None
        self.report: StopReport | None = None
        """Of the stop, once it is over."""
        self.state = State.STARTING
        self.reason = ""
        self.since = clock.time()
        """Seconds since the epoch."""

    # --- children --------------------------------------------------------------------------------------------------------

    def add(self, spec: ChildSpec) -> None:
        """Take a child in; it starts at once where the agent runs and what it depends on is up.

        Raises:
            SupervisionError: the name is taken, a dependency unknown, or the agent is stopping.
        """
        self._family.add(spec)
        self._review()

    async def remove(self, name: str, *, grace: float = 60.0) -> None:
        """Let a child finish as at a stop, cancel it after `grace` seconds, and forget it. Goes on where the caller is cancelled.

        Raises:
            SupervisionError: there is no such child, others depend on it, or it will not end (DM-S005).
        """
        await self._family.remove(name, grace=grace)

    def resume(self, name: str) -> bool:
        """Forgive a child its failures and start it now; False where it runs already, or waits for another.

        Raises:
            SupervisionError: there is no such child.
        """
        resumed = self._family.resume(name)
        self._review()
        return resumed

    def __contains__(self, name: object) -> bool:
        return name in self._family

    # --- state -----------------------------------------------------------------------------------------------------------

    def set_condition(self, name: str, reason: str, *, state: State = State.DEGRADED) -> None:
        """Something outside supervision is wrong (a full disk, a plugin in quarantine): the agent is DEGRADED, or in ERROR."""
        self._conditions[name] = Condition(reason, state)
        self._review()

    def clear_condition(self, name: str) -> None:
        """It is all right again."""
        self._conditions.pop(name, None)
        self._review()

    def status(self) -> dict[str, Any]:
        """How everything is, JSON-able: `{state, reason, since, children, conditions, loop, stop}`."""
        stop: dict[str, Any] | None = None
        if self.report is not None:
            stop = self.report.as_dict()
        elif self._shutdown is not None:
            stop = self._shutdown.progress().as_dict()
        return {
            "state": str(self.state),
            "reason": self.reason,
            "since": utc_iso(self.since),
            "children": [child.status() for child in self._family],
            "conditions": {
                name: {"reason": condition.reason, "state": str(condition.state)}
                for name, condition in self._conditions.items()
            },
            "loop": {"lag": self.lag.as_dict()},
            "stop": stop,
        }

    # --- stopping --------------------------------------------------------------------------------------------------------

    def request_stop(self, reason: str) -> None:
        """Begin the three-phase stop, as a first signal does; later calls change nothing. On the event loop only."""
        if self._stop_at is None:
            self._stop_at = self._clock.monotonic()
            self._stop_reason = reason
            self._bell.ring()

    def hasten(self) -> None:
        """As one more signal during a stop: cancel what is in flight; called again, go straight to the verification."""
        self._hastened += 1
        self._bell.ring()

    def disarm(self) -> None:
        """The process goes on after this agent: nothing ends it any more."""
        if self._vigil is not None:
            self._vigil.disarm()

    @property
    def stopping(self) -> bool:
        """Whether a stop was asked for."""
        return self._stop_at is not None

    # --- running ---------------------------------------------------------------------------------------------------------

    async def run(
        self, *, signals: StopSignals | None = None, prepare: Callable[[], Awaitable[None]] | None = None
    ) -> ExitCode:
        """Run `prepare` (recovery; it may `add` children), then all children, until a stop; take it through its three phases.

        Cancelling the caller is a request to stop, and cancelling it again hastens the stop; the CancelledError comes out
        when it is over. With `Vigilance.hard_deadline` the deadline stays armed after the return, so that nothing that hangs
        on the way out gets round it (a connection that will not close, a thread): end the process, or call `disarm`.

        Raises:
            BaseException: what `prepare` raised; no child was started, and nothing was verified.
        """
        loop = asyncio.get_running_loop()
        vigil = self._open(loop, signals)
        keeper = loop.create_task(self._keep(prepare, vigil), name="supervisor")
        cancelled: asyncio.CancelledError | None = None
        try:
            while not keeper.done():
                try:
                    await asyncio.wait({keeper})
                except asyncio.CancelledError as error:
                    if cancelled is None:
                        self.request_stop("the caller was cancelled")
                    else:
                        self.hasten()
                    cancelled = error
                if keeper.done() and keeper.cancelled():  # before its first step: nothing else can
                    self.request_stop("the supervisor's task was cancelled")
                    keeper = loop.create_task(self._keep(prepare, vigil), name="supervisor")
            keeper.result()
        finally:
            self._close(vigil)
        if cancelled is not None:
            raise cancelled
        if self._start_error is not None:
            raise self._start_error
        assert self._outcome is not None
        return self._outcome

    def _open(self, loop: asyncio.AbstractEventLoop, signals: StopSignals | None) -> Vigil:
        self._signals = signals
        vigil = self._vigil = Vigil(
            self._vigilance,
            notify=self.notify,
            teller=self._teller,
            lag=self.lag,
            deadline=self._plan.hard_deadline,
            signals=self._signal_times,
            each_second=self._each_second,
            fresh=self._fresh,
        )
        vigil.begin()
        if signals is not None:
            signals.listen(lambda: loop.call_soon_threadsafe(self._heed_signals))
            self._heed_signals()
        return vigil

    def _close(self, vigil: Vigil) -> None:
        if self._signals is not None:
            self._signals.listen(None)
        vigil.end(armed=self._stop_at is not None)  # where `prepare` failed there is nothing to end by force
        self.notify.close()

    async def _keep(self, prepare: Callable[[], Awaitable[None]] | None, vigil: Vigil) -> None:
        """From start to stop; a task of its own that no cancellation ends."""
        if prepare is not None and not self.stopping:
            await self._prepare(prepare)
            if self._start_error is not None and not self.stopping:
                self._set_state(State.STOPPED, f"the start failed: {describe_error(self._start_error)[0]}")
                return
        if not self.stopping:
            self._family.start()
            self._ready_by = self._clock.monotonic() + self._vigilance.ready_within
            self._review()
        while not self.stopping:
            await self._bell.wait()
            self._heed_interruption()
        await self._stop(vigil)

    async def _prepare(self, prepare: Callable[[], Awaitable[None]]) -> None:
        async def run(heart: Heart) -> None:  # noqa: ARG001
            try:
                await prepare()
            except BaseException as error:
                if self.stopping:
                    raise
                self._start_error = error  # raised again by `run`, where it may end the program

        child = self._family.add(ChildSpec(name=PREPARE, run=run, restart="temporary", stop="cancel"), at_once=True)
        while child.alive and not self.stopping:
            await self._bell.wait()
            self._heed_interruption()
        if not child.alive:
            self._family.forget(PREPARE)

    def _heed_interruption(self) -> None:
        if self._bell.interruptions:
            self.request_stop("the supervisor's task was cancelled")

    async def _stop(self, vigil: Vigil) -> None:
        def verify(report: StopReport) -> Iterable[Problem]:
            vigil.expect_stillness(self._plan.reserve)
            return self._plan.verify(report)

        began = self._began()
        vigil.expect_end(self._plan.hard_deadline([began]) - self._clock.monotonic(), self._plan.reserve)
        self._set_state(State.STOPPING, self._stop_reason)
        self._shutdown = Shutdown(
            self._family,
            replace(self._plan, verify=verify),
            clock=self._clock,
            notify=self.notify,
            teller=self._teller,
            bell=self._bell,
            began=began,
            level=self._level,
            reason=self._stop_reason,
            by_error=self._by_error,
        )
        self.report = await self._shutdown.run()
        self._outcome = self.report.code
        self._set_state(State.STOPPED, self._stop_reason)

    # --- signals ---------------------------------------------------------------------------------------------------------

    def _signal_times(self) -> Sequence[float]:
        return () if self._signals is None else tuple(self._signals.times)

    def _heed_signals(self) -> None:
        assert self._signals is not None
        if self._signals.count:
            self.request_stop(self._signals.names[0])
            self._bell.ring()

    def _began(self) -> float:
        """T0, monotonic: the signal's own time, even where it came long before the loop ran."""
        assert self._stop_at is not None
        first = None if self._signals is None else self._signals.first_at
        return self._stop_at if first is None else min(first, self._stop_at)

    def _level(self) -> int:
        signals = 0 if self._signals is None else self._signals.count
        return max(1, signals) + self._hastened

    # --- watching --------------------------------------------------------------------------------------------------------

    def _each_second(self) -> None:
        if not self._family.stopping:
            self._family.check()
        if self.state is State.STARTING:
            now = self._clock.monotonic()
            if now >= self._next_extend:
                self._next_extend = now + _EXTEND_EVERY
                self.notify.extend(_EXTEND_BY)
            self._review()

    def _fresh(self) -> bool:
        """Whether the service manager may be told that all is well: not while a critical child is stuck and will not end.

        One in back-off, or given up, counts as fresh: control has to stay up so that somebody can look.
        """
        return self._family.stopping or not any(
            child.spec.critical and child.alive and (child.late or child.stuck) for child in self._family
        )

    def _changed(self) -> None:
        """Of many changes in one turn of the loop one review is made."""
        self._bell.ring()
        if not self._review_due:
            self._review_due = True
            asyncio.get_running_loop().call_soon(self._review)

    def _review(self) -> None:
        """See how the agent is."""
        self._review_due = False
        if self.stopping or self._ready_by is None:
            return
        if self.state is State.STARTING:
            if not self._family.settled and self._clock.monotonic() < self._ready_by:
                return
            self.notify.ready()
            self._teller.tell("agent.ready", "agent")
        health = assess(self._family, self._conditions)
        self._set_state(health.state, health.reason)
        if health.state is State.ERROR and self._on_error == "exit":
            self._by_error = True
            self.request_stop(f"error: {health.reason}")

    def _set_state(self, state: State, reason: str) -> None:
        if (state, reason) == (self.state, self.reason):
            return
        if state is not self.state:
            self.since = self._clock.time()
        before, self.state, self.reason = self.state, state, reason
        self.notify.status(f"{state}: {reason}" if reason else str(state))
        level: Level = "warning" if state is State.DEGRADED else "error" if state is State.ERROR else "info"
        self._teller.tell("agent.state", "agent", level, state=str(state), before=str(before), reason=reason)
