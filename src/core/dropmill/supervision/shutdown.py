"""The three-phase stop: finish, cancel, verify, all on one absolute clock that began with the signal.

Budgets never add up: every deadline is reckoned from the first signal, for all children together. The coroutine swallows
whatever cancellation is aimed at it; what ends it is the clock, and a third signal.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dropmill.foundation.clock import Clock, utc_iso
from dropmill.foundation.errors import Problem
from dropmill.supervision.bell import Bell
from dropmill.supervision.child import Child
from dropmill.supervision.events import Teller
from dropmill.supervision.exits import ExitCode
from dropmill.supervision.family import Family
from dropmill.supervision.notify import Notifier
from dropmill.supervision.stacks import format_task

__all__ = ["Phase", "Shutdown", "StopPlan", "StopProgress", "StopReport"]

_RECANCEL = 1.0
_LAST_GRACE = 2.0
"""Seconds for the children that go last, within whatever budget is left."""
_PARTING = 0.1
"""Seconds between the only cancellation and the verification, where a third signal leaves time for no more."""
_TURN = 0.001
"""Least pause: a difference of two clock readings may be too small to make a timer wait at all."""
_EXTEND_EVERY = 5.0
_EXTEND_BY = 15.0


class Phase(enum.StrEnum):
    GRACEFUL = "graceful"
    """Work in flight may finish; nothing new is begun."""
    FORCE = "force"
    """What is left is cancelled, again every second."""
    VERIFY = "verify"
    """What is on disk is made exact, and checked."""
    DONE = "done"


@dataclass(frozen=True, kw_only=True)
class StopProgress:
    """How far a stop is."""

    phase: Phase
    elapsed: float
    """Seconds since the first signal."""
    left: float
    """Seconds until this phase ends at the latest."""
    waiting_for: Sequence[str]
    """Children that have not ended."""
    in_flight: Mapping[str, Any]
    """What the agent says is under way."""

    def as_dict(self) -> dict[str, Any]:
        return {
            "phase": str(self.phase),
            "elapsed": round(self.elapsed, 3),
            "left": round(self.left, 3),
            "waiting_for": list(self.waiting_for),
            "in_flight": dict(self.in_flight),
        }

    def __str__(self) -> str:
        what = [f"{count} {name}" for name, count in self.in_flight.items() if count]
        if self.waiting_for and not what:
            what = [", ".join(self.waiting_for[:5]) + ("" if len(self.waiting_for) <= 5 else ", ...")]
        return f"stopping ({self.phase}): {', '.join(what) or 'nothing left'}; {self.left:.0f} s at most"


@dataclass(frozen=True, kw_only=True)
class StopReport:
    """How a stop went."""

    reason: str
    code: ExitCode
    began: float
    """Seconds since the epoch."""
    graceful: float = 0.0
    """Seconds that the graceful phase took."""
    force: float = 0.0
    verify: float = 0.0
    cancelled: Sequence[str] = ()
    """Children whose work was cancelled."""
    failed: Sequence[str] = ()
    """Children that failed while they finished."""
    undead: Sequence[str] = ()
    """Children that did not end."""
    problems: Sequence[Problem] = ()
    """What the verification found."""

    @property
    def seconds(self) -> float:
        return self.graceful + self.force + self.verify

    def as_dict(self) -> dict[str, Any]:
        return {
            "reason": self.reason,
            "exit_code": int(self.code),
            "began": utc_iso(self.began),
            "graceful": round(self.graceful, 3),
            "force": round(self.force, 3),
            "verify": round(self.verify, 3),
            "cancelled": list(self.cancelled),
            "failed": list(self.failed),
            "undead": list(self.undead),
            "problems": [problem.as_dict() for problem in self.problems],
        }


def _nothing_in_flight() -> Mapping[str, Any]:
    return {}


def _nothing_to_kill() -> None: ...


def _nothing_to_verify(report: StopReport) -> Iterable[Problem]:  # noqa: ARG001
    return ()


def _nobody_watches(progress: StopProgress) -> None: ...


@dataclass(frozen=True, kw_only=True)
class StopPlan:
    """Deadlines, in seconds from the first signal, and what the agent does at each step. Callbacks run on the event loop."""

    graceful: float = 60.0
    force: float = 120.0
    second: float = 10.0
    """After a second signal, work is cancelled at once and this is what is left of the force phase."""
    reserve: float = 5.0
    """For the verification; after `force` and this the process is ended, whatever hangs."""
    in_flight: Callable[[], Mapping[str, Any]] = field(default=_nothing_in_flight)
    """Counts of what is under way, by name, for people: `{"conversions": 2, "uploads": 5}`."""
    kill: Callable[[], None] = field(default=_nothing_to_kill)
    """Kill the worker processes' groups; called at the start of the force phase and again every second."""
    verify: Callable[[StopReport], Iterable[Problem]] = field(default=_nothing_to_verify)
    """Synchronous, within `reserve`: give back what is held, sync, check, mark the end as clean where the report allows it.
    Answers what is not as it should be."""
    progress: Callable[[StopProgress], None] = field(default=_nobody_watches)
    """Told at each change of phase, and every second."""

    def __post_init__(self) -> None:
        if not 0 <= self.graceful <= self.force < math.inf or self.second <= 0 or self.reserve <= 0:
            raise ValueError(
                f"a stop needs 0 <= graceful <= force and positive reserves, not {self.graceful:g}, {self.force:g}, "
                f"{self.second:g}, {self.reserve:g}"
            )

    def hard_deadline(self, signals: Sequence[float]) -> float:
        """When the process is ended at the latest, for the times at which stop signals came."""
        deadline = signals[0] + self.force
        if len(signals) > 1:
            deadline = min(deadline, signals[1] + self.second)
        if len(signals) > 2:
            deadline = min(deadline, signals[2] + _PARTING)
        return deadline + self.reserve


class Shutdown:
    """One stop of one family.

    Args:
        began: Monotonic time of the first signal.
        level: How many stop signals there were by now (1, 2, 3 or more).
        bell: Rung by whoever adds a signal, and here by each child's end.
    """

    def __init__(
        self,
        family: Family,
        plan: StopPlan,
        *,
        clock: Clock,
        notify: Notifier,
        teller: Teller,
        bell: Bell,
        began: float,
        level: Callable[[], int],
        reason: str,
        by_error: bool = False,
    ) -> None:
        self._family = family
        self._plan = plan
        self._clock = clock
        self._notify = notify
        self._teller = teller
        self._bell = bell
        self._began = began
        self._level = level
        self._reason = reason
        self._by_error = by_error
        self._phase = Phase.GRACEFUL
        self._force_end = began + plan.force
        self._hastened = False
        self._last_dismissed: float | None = None
        self._next_cancel = -math.inf
        self._next_extend = -math.inf
        self._cancelled: dict[str, None] = {}

    async def run(self) -> StopReport:
        """Take the family through the phases; never raises."""
        self._notify.stopping()
        self._family.quiesce()
        self._enter(Phase.GRACEFUL)
        started = self._clock.monotonic()
        forced: float | None = None
        while self._family.working() or self._family.lingering():
            now = self._clock.monotonic()
            self._heed_signals(now)
            if self._phase is Phase.GRACEFUL and (now >= self._began + self._plan.graceful or self._level() >= 2):
                forced = now
                self._enter(Phase.FORCE)
            if now >= self._force_end or self._level() >= 3:
                break
            self._step(now)
            await self._bell.wait(self._pause(now))
        if self._family.working() or self._family.lingering():
            await self._part()
        return self._verify(started, forced)

    # --- steps -----------------------------------------------------------------------------------------------------------

    def _heed_signals(self, now: float) -> None:
        if self._level() >= 2 and not self._hastened:
            self._hastened = True
            self._force_end = min(self._force_end, now + self._plan.second)

    def _step(self, now: float) -> None:
        working = self._family.working()
        if now >= self._next_cancel:
            self._next_cancel = now + _RECANCEL
            if self._phase is Phase.FORCE:
                self._force(working)
            else:
                self._family.cancel([child for child in working if child.cancelled_at is not None], "the agent stops")
            if self._last_dismissed is not None and now >= self._last_dismissed + _LAST_GRACE:
                self._family.cancel(self._family.lingering(), "the agent stops")
            self._show()
        if self._last_dismissed is None and (not working or now >= self._force_end - _LAST_GRACE):
            self._last_dismissed = now
            self._family.dismiss_last()

    def _force(self, children: Sequence[Child]) -> None:
        self._cancelled |= {child.name: None for child in children if child.spec.stop == "drain"}
        self._teller.call("the kill callback of the stop", self._plan.kill)
        self._family.cancel(children, "the agent stops")

    async def _part(self) -> None:
        """Time is up: ask once more, look away for a moment, name what is still there."""
        self._force(self._family.working())
        self._family.cancel(self._family.lingering(), "the agent stops")
        until = self._clock.monotonic() + _PARTING
        while (self._family.working() or self._family.lingering()) and self._clock.monotonic() < until:
            await self._bell.wait(until - self._clock.monotonic())

    def _pause(self, now: float) -> float:
        ends = [self._next_cancel, self._force_end]
        if self._phase is Phase.GRACEFUL:
            ends.append(self._began + self._plan.graceful)
        if self._last_dismissed is None:
            ends.append(self._force_end - _LAST_GRACE)
        return max(_TURN, min((end for end in ends if end > now), default=now) - now)

    def _verify(self, started: float, forced: float | None) -> StopReport:
        verifying = self._clock.monotonic()
        left = self._family.working() + self._family.lingering()
        for child in left:
            self._name_undead(child)
        self._enter(Phase.VERIFY)
        report = StopReport(
            reason=self._reason,
            code=ExitCode.CLEAN,
            began=self._clock.time() - (verifying - self._began),
            graceful=(verifying if forced is None else forced) - started,
            force=0.0 if forced is None else verifying - forced,
            cancelled=tuple(self._cancelled),
            failed=tuple(self._family.failed_in_stop),
            undead=tuple(child.name for child in left),
        )
        report = replace(report, code=self._code(report))
        problems = self._teller.call("the verification of the stop", lambda: tuple(self._plan.verify(report)))
        if problems is None:
            problems = (Problem(code="DM-S010", what="the state on disk could not be verified", todo="see the log"),)
        report = replace(report, problems=problems, verify=self._clock.monotonic() - verifying)
        report = replace(report, code=self._code(report))
        self._enter(Phase.DONE)
        self._tell_end(report)
        return report

    def _code(self, report: StopReport) -> ExitCode:
        if self._by_error:
            return ExitCode.ERROR
        if report.undead or report.problems:
            return ExitCode.UNDEAD
        if report.cancelled or report.failed:
            return ExitCode.CANCELLED
        return ExitCode.CLEAN

    # --- telling ---------------------------------------------------------------------------------------------------------

    def progress(self) -> StopProgress:
        """How far it is."""
        now = self._clock.monotonic()
        ends = {
            Phase.GRACEFUL: self._began + self._plan.graceful,
            Phase.FORCE: self._force_end,
            Phase.VERIFY: now + self._plan.reserve,
            Phase.DONE: now,
        }
        in_flight = self._teller.call("the in_flight callback of the stop", self._plan.in_flight)
        return StopProgress(
            phase=self._phase,
            elapsed=now - self._began,
            left=max(0.0, ends[self._phase] - now),
            waiting_for=[child.name for child in self._family.working() + self._family.lingering()],
            in_flight=in_flight or {},
        )

    def _enter(self, phase: Phase) -> None:
        self._phase = phase
        self._next_cancel = -math.inf
        self._teller.tell("stop.phase", "agent", **self._show().as_dict())

    def _show(self) -> StopProgress:
        now = self._clock.monotonic()
        progress = self.progress()
        self._notify.status(str(progress))
        if now >= self._next_extend:
            self._next_extend = now + _EXTEND_EVERY
            self._notify.extend(_EXTEND_BY)
        self._teller.call("the progress callback of the stop", self._plan.progress, progress)
        return progress

    def _name_undead(self, child: Child) -> None:
        assert child.task is not None
        problem = Problem(
            code="DM-S005",
            what=f"{child.name} has not ended, though it was cancelled",
            where=f"child {child.name}",
            todo="report it with the stack in this event; what it held is given back",
        )
        self._teller.tell("stop.undead", child.name, "error", problem, traceback=format_task(child.task))

    def _tell_end(self, report: StopReport) -> None:
        problem = None
        if report.code is not ExitCode.CLEAN:
            details = [
                f"{label} {', '.join(names)}"
                for label, names in (
                    ("cancelled", report.cancelled),
                    ("failed while finishing", report.failed),
                    ("did not end", report.undead),
                    ("not as it should be", [str(problem) for problem in report.problems]),
                )
                if names
            ]
            problem = Problem(
                code="DM-S009",
                what=f"the stop was not clean (exit code {int(report.code)}): {'; '.join(details) or report.reason}",
                todo="nothing is lost: what was under way was given back and is done again at the next start",
            )
        self._teller.tell(
            "stop.finished", "agent", "info" if problem is None else "warning", problem, **report.as_dict()
        )
