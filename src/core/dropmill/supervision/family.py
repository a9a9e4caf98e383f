"""The children and the rules by which they are started, restarted and given up: one for one, and rest for one along `depends`.

A machine of synchronous steps on the event loop: a child's end, a timer or a beat is one step, and between steps every child
is in exactly one state. There is no task that supervises, so there is none that could be cancelled or fail.
"""

from __future__ import annotations

import asyncio
import shlex
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from graphlib import CycleError, TopologicalSorter
from random import Random

from dropmill.foundation.clock import Clock
from dropmill.foundation.errors import Problem
from dropmill.supervision.child import Child, Ending
from dropmill.supervision.events import Failure, Teller, describe_error
from dropmill.supervision.restarts import RestartAfter
from dropmill.supervision.spec import ChildSpec, ChildState, SupervisionError
from dropmill.supervision.stacks import format_task

__all__ = ["Family", "in_order"]

UNDEAD_AFTER = 10.0
"""Seconds after which a child that was cancelled and has not ended is called undead."""
_RESUMABLE = {ChildState.BACKOFF, ChildState.OPEN, ChildState.FAILED, ChildState.FINISHED}


class Family:
    """All children of one supervisor.

    Args:
        half_open: Seconds after which a child whose breaker is open is tried again.
        trial: Seconds that it must then live for its breaker to close.
        on_change: Called after any step that may have changed how the agent is.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        random: Random,
        teller: Teller,
        half_open: float,
        trial: float,
        on_change: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._random = random
        self._teller = teller
        self._half_open = half_open
        self._trial = trial
        self._on_change = on_change
        self._children: dict[str, Child] = {}
        self._users: defaultdict[str, list[Child]] = defaultdict(list)
        """By name of a child, those that depend on it."""
        self.started = False
        self.stopping = False
        self.failed_in_stop: list[str] = []

    def __iter__(self) -> Iterator[Child]:
        return iter(tuple(self._children.values()))

    def __getitem__(self, name: str) -> Child:
        try:
            return self._children[name]
        except KeyError:
            raise SupervisionError(
                f"there is no child {name!r}", todo=f"the children are: {', '.join(sorted(self._children)) or 'none'}"
            ) from None

    def __contains__(self, name: object) -> bool:
        return name in self._children

    @property
    def settled(self) -> bool:
        """Whether every child has been up, has failed once, or waits for one that has failed."""
        return all(self._is_settled(child) for child in self)

    def _is_settled(self, child: Child) -> bool:
        if child.settled or child.state is not ChildState.WAITING:
            return child.settled
        return all(self._is_settled(self._children[name]) for name in child.spec.depends)

    # --- membership ------------------------------------------------------------------------------------------------------

    def add(self, spec: ChildSpec, *, at_once: bool = False) -> Child:
        """Take a child in; it starts now if the family was started (or `at_once`) and what it depends on is up."""
        if self.stopping:
            raise SupervisionError("the agent is stopping: no child is taken in any more", where=f"child {spec.name}")
        if spec.name in self._children:
            raise SupervisionError("the name is taken", where=f"child {spec.name}", todo="remove the other one first")
        if unknown := [name for name in spec.depends if name not in self._children]:
            raise SupervisionError(
                f"it depends on {', '.join(unknown)}, which does not exist", where=f"child {spec.name}"
            )
        child = self._children[spec.name] = Child(spec, self._clock)
        for name in spec.depends:
            self._users[name].append(child)
        if self.started or at_once:
            self._try_start(child)
        return child

    async def remove(self, name: str, *, grace: float) -> None:
        """Let a child finish (as at a stop), cancel it after `grace` seconds, and forget it."""
        child = self[name]
        if users := [other.name for other in self._dependents(child)]:
            raise SupervisionError(f"{', '.join(users)} depend on it", where=f"child {name}", todo="remove them first")
        if not child.alive:
            child.drop_timer()
            self.forget(name)
            self._on_change()
            return
        if child.removed is None:
            child.removed = asyncio.get_running_loop().create_future()
            child.drop_timer()
            self._dismiss(child, "it is being removed")
            child.timer = asyncio.get_running_loop().call_later(grace, self._cut, child, "it is being removed")
        await asyncio.shield(child.removed)

    def forget(self, name: str) -> None:
        """Drop the record of a child that has ended."""
        child = self._children.pop(name)
        assert not child.alive
        for dependency in child.spec.depends:
            self._users[dependency].remove(child)

    # --- life ------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start all children, each after those that it depends on."""
        self.started = True
        for child in self:
            self._try_start(child)

    def resume(self, name: str) -> bool:
        """Forgive a child its failures and start it now; False where it runs, or waits for another."""
        child = self[name]
        if child.state not in _RESUMABLE or self.stopping:
            return False
        child.log.forget()
        child.trial = False
        child.drop_timer()
        self._try_start(child)
        self._on_change()
        return True

    def check(self) -> None:
        """Once a second: end children that show no progress, and see that those that were cancelled do end."""
        now = self._clock.monotonic()
        for child in self:
            if child.cancelled_at is not None and child.alive:
                if now - child.cancelled_at >= UNDEAD_AFTER and not child.undead:
                    self._call_undead(child)
                child.cancel()
            elif child.late:
                self._call_stuck(child)

    def _try_start(self, child: Child) -> None:
        if self.stopping or child.alive:
            return
        if missing := [name for name in child.spec.depends if not self._children[name].up]:
            child.move(ChildState.WAITING, f"for {', '.join(missing)}")
            return
        task = child.launch(partial(self._beaten, child))
        task.add_done_callback(partial(self._ended, child))
        child.move(ChildState.RUNNING)
        if child.trial:
            child.timer = asyncio.get_running_loop().call_later(self._trial, self._trial_passed, child)
        self._teller.tell("child.started", child.name, starts=child.starts, trial=child.trial)
        if child.up:
            self._came_up(child)

    def _beaten(self, child: Child) -> None:
        if child.spec.up == "beat" and child.up:
            self._came_up(child)

    def _came_up(self, child: Child) -> None:
        child.settled = True
        for other in self._dependents(child):
            if other.state is ChildState.WAITING:
                self._try_start(other)
        self._on_change()

    def _trial_passed(self, child: Child) -> None:
        child.timer = None
        child.trial = False
        self._teller.tell("child.recovered", child.name)
        self._on_change()

    # --- endings ---------------------------------------------------------------------------------------------------------

    def _ended(self, child: Child, task: asyncio.Task[Ending]) -> None:
        ending = child.ending_of(task)
        child.task = None
        child.heart = None
        child.drop_timer()
        if self.stopping or child.removed is not None:
            self._ended_for_good(child, ending)
        elif child.stuck:
            self._fail(child, self._failure(child, "stuck", ending))
        elif child.cancelled_at is not None:
            if ending.kind == "raised":
                self._tell_failed(child, self._failure(child, "raised", ending), "it was being ended anyway", "warning")
            self._try_start(child)
        elif ending.kind == "raised" or child.spec.restart == "permanent":
            self._fail(child, self._failure(child, "raised" if ending.kind == "raised" else "returned", ending))
        else:
            child.move(ChildState.FINISHED)
            self._teller.tell("child.finished", child.name)
            self._came_up(child)
        self._on_change()

    def _ended_for_good(self, child: Child, ending: Ending) -> None:
        child.move(ChildState.ENDED)
        if ending.kind == "raised":
            failure = self._failure(child, "raised", ending)
            self._tell_failed(child, failure, "it was told to finish", "error" if self.stopping else "warning")
            if self.stopping:
                self.failed_in_stop.append(child.name)
        if child.removed is not None:
            self.forget(child.name)
            if not child.removed.done():
                child.removed.set_result(None)

    def _failure(self, child: Child, kind: str, ending: Ending) -> Failure:
        now, lived = self._clock.time(), self._clock.monotonic() - child.started_at
        if kind == "stuck":
            text = f"no progress for {child.spec.heartbeat:g} s"
            return Failure(kind="stuck", error=text, traceback=child.stuck_stack, time=now, lived=lived)
        if ending.error is None:
            text = "it returned, though it should run until the agent stops"
            return Failure(kind="returned", error=text, traceback="", time=now, lived=lived)
        text, lines = describe_error(ending.error)
        return Failure(kind="raised", error=text, traceback=lines, time=now, lived=lived)

    def _fail(self, child: Child, failure: Failure) -> None:
        child.settled = True
        if child.spec.restart == "temporary":
            child.move(ChildState.FAILED, failure.error)
            self._tell_failed(child, failure, "it is not started again", "error")
        else:
            now, trial = self._clock.monotonic(), child.trial
            verdict = child.log.record(now, failure.lived, chance=self._random.random(), trial=trial)
            child.trial = False
            if isinstance(verdict, RestartAfter):
                child.move(ChildState.BACKOFF, failure.error)
                self._schedule(child, verdict.delay, trial=False)
                self._tell_failed(child, failure, f"it starts again in {verdict.delay:.1f} s", "warning")
            else:
                child.move(ChildState.OPEN, f"{verdict.reason}; the last: {failure.error}")
                self._schedule(child, self._half_open, trial=True)
                self._tell_failed(child, failure, f"{verdict.reason}: it is given up for now", "warning")
                self._tell_open(child, verdict.reason)
        self._stop_dependents(child)

    def _schedule(self, child: Child, delay: float, *, trial: bool) -> None:
        child.next_try = self._clock.monotonic() + delay
        child.timer = asyncio.get_running_loop().call_later(delay, self._retry, child, trial)

    def _retry(self, child: Child, trial: bool) -> None:
        child.drop_timer()
        child.trial = trial
        self._try_start(child)
        self._on_change()

    def _stop_dependents(self, child: Child) -> None:
        for other in self._dependents(child):
            if other.alive and other.cancelled_at is None and other.removed is None:
                self._cut(other, f"{child.name}, which it depends on, has failed")
                self._stop_dependents(other)

    def _dependents(self, child: Child) -> Sequence[Child]:
        return tuple(self._users[child.name])

    def _cut(self, child: Child, reason: str) -> None:
        child.drop_timer()
        child.move(ChildState.ENDING, reason)
        child.cancel()

    def _dismiss(self, child: Child, reason: str) -> None:
        """Tell a child to finish."""
        if child.spec.stop == "cancel" or child.cancelled_at is not None:
            self._cut(child, reason)
            return
        child.reason = reason
        if child.heart is not None:
            child.heart.quiesce()
        if child.spec.quiesce is not None:
            self._teller.call(f"the quiesce callback of {child.name}", child.spec.quiesce)

    # --- what is told ------------------------------------------------------------------------------------------------------

    def _call_stuck(self, child: Child) -> None:
        assert child.task is not None
        child.stuck = True
        child.stuck_stack = format_task(child.task)
        problem = Problem(
            code="DM-S004",
            what=f"{child.name} has shown no progress for {child.beat_age or 0.0:.0f} s and is started anew",
            where=f"child {child.name}",
            todo="the stack in this event shows what it waits for",
        )
        self._teller.tell("child.stuck", child.name, "error", problem, traceback=child.stuck_stack)
        self._cut(child, f"no progress for {child.spec.heartbeat:g} s")
        self._on_change()

    def _call_undead(self, child: Child) -> None:
        assert child.task is not None
        child.undead = True
        problem = Problem(
            code="DM-S005",
            what=f"{child.name} was told to end {UNDEAD_AFTER:.0f} s ago and has not",
            where=f"child {child.name}",
            todo="restart the agent; the stack in this event shows what it does instead",
        )
        self._teller.tell("child.undead", child.name, "error", problem, traceback=format_task(child.task))
        if child.removed is not None and not child.removed.done():
            child.removed.set_exception(SupervisionError(problem.what, where=problem.where, code=problem.code))
            child.removed.exception()  # told above: it is no surprise to the loop if nobody waits any more
        self._on_change()

    def _tell_failed(self, child: Child, failure: Failure, then: str, level: str) -> None:
        child.failure = failure
        problem = Problem(
            code="DM-S002" if failure.kind == "returned" else "DM-S001",
            what=f"{child.name} failed after {failure.lived:.1f} s: {failure.error}; {then}",
            where=f"child {child.name}",
            todo="the traceback shows where",
        )
        self._teller.tell(
            "child.failed", child.name, "warning" if level == "warning" else "error", problem, **failure.as_dict()
        )

    def _tell_open(self, child: Child, reason: str) -> None:
        problem = Problem(
            code="DM-S003",
            what=f"{child.name} is given up for now: {reason}",
            where=f"child {child.name}",
            todo=f"remove the cause, then `dropmill resume task {shlex.quote(child.name)}`; "
            f"it is tried by itself every {self._half_open:.0f} s",
        )
        self._teller.tell("child.open", child.name, "error", problem, critical=child.spec.critical)

    # --- stopping --------------------------------------------------------------------------------------------------------

    def quiesce(self) -> None:
        """Tell all children at once to finish, except those that go last; from now on none is started."""
        self.stopping = True
        for child in self:
            if not child.alive:
                child.drop_timer()
                child.move(ChildState.ENDED, child.reason)
            elif child.spec.stop != "last" or child.cancelled_at is not None:
                child.drop_timer()
                self._dismiss(child, "the agent stops")

    def dismiss_last(self) -> None:
        """Tell those that go last to finish."""
        for child in self.lingering():
            self._dismiss(child, "the agent stops")

    def working(self) -> list[Child]:
        """The children that a stop waits for."""
        return [child for child in self if child.alive and child.spec.stop != "last"]

    def lingering(self) -> list[Child]:
        """Those that go last and have not ended."""
        return [child for child in self if child.alive and child.spec.stop == "last"]

    def cancel(self, children: Iterable[Child], reason: str) -> None:
        """Cancel, again and again if need be."""
        for child in children:
            self._cut(child, reason)


def in_order(specs: Iterable[ChildSpec]) -> Sequence[ChildSpec]:
    """The specs, each after those that it depends on.

    Raises:
        SupervisionError: two have one name, or they depend on one another in a circle.
    """
    by_name: dict[str, ChildSpec] = {}
    for spec in specs:
        if spec.name in by_name:
            raise SupervisionError("two children have this name", where=f"child {spec.name}")
        by_name[spec.name] = spec
    sorter = TopologicalSorter({spec.name: spec.depends for spec in by_name.values()})
    try:
        return [by_name[name] for name in sorter.static_order() if name in by_name]
    except CycleError as error:
        circle = " -> ".join(error.args[1])
        raise SupervisionError(f"the children depend on one another in a circle: {circle}") from None
