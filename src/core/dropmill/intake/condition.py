"""What is the matter with one folder, and since when: several things can be, the worst is shown.

Plain bookkeeping in memory. Whoever finds something out sets it here; the folder's state follows from all of it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from dropmill.config.settings import FolderSettings
from dropmill.foundation.clock import Clock
from dropmill.foundation.errors import Problem
from dropmill.intake.rounds import Round
from dropmill.intake.status import FolderState, FolderStatus
from dropmill.intake.tracker import Why

__all__ = ["Condition", "Trouble"]

_log = structlog.get_logger(__name__)

_RETRY = (0.25, 10.0)


@dataclass(frozen=True)
class Trouble:
    """Something that makes claiming pause."""

    problem: Problem
    until: float
    pause: float


class Condition:
    """Of one folder. Every attribute may be set by the folder's child; `note_change` then says what has come of it."""

    def __init__(self, settings: FolderSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self.paused = False
        """An operator has stopped claiming."""
        self.ready = False
        """The root is attached and recovered."""
        self.offline: Problem | None = None
        self.hung: Problem | None = None
        """A call to the file system does not come back."""
        self.trouble: Trouble | None = None
        self.move_problem: Problem | None = None
        """Set by whoever moves files out of work/."""
        self.found: Sequence[Problem] = ()
        """What the last recovery could not put right."""
        self.holding = ""
        """Why nothing is claimed although the folder is in order."""
        self._turn: Round | None = None
        self._stuck: deque[Problem] = deque(maxlen=20)
        self._claimed = 0
        self._last_scan: float | None = None
        self._last_claim: float | None = None
        self._shown: tuple[FolderState, str] = (FolderState.STARTING, "")
        self._since = clock.time()
        self.known = asyncio.Event()
        """Set once it is known whether the folder works."""

    @property
    def available(self) -> bool:
        """Whether files in it can be reached and moved."""
        return self.ready and self.hung is None

    @property
    def waits(self) -> float:
        """Seconds that claiming still pauses for trouble."""
        return 0.0 if self.trouble is None else max(0.0, self.trouble.until - self._clock.monotonic())

    def took(self, turn: Round) -> None:
        """Take over what a round brought."""
        self._turn = turn
        if turn.problem is not None:
            pause = _RETRY[0] if self.trouble is None else min(2 * self.trouble.pause, _RETRY[1])
            self.trouble = Trouble(turn.problem, self._clock.monotonic() + pause, pause)
        elif turn.claimed or (not self.waits and Why.BLOCKED.value not in turn.outlook.reasons):
            self.trouble = None
        if turn.claimed:
            self._claimed += turn.claimed
            self._last_claim = self._clock.time()
        if turn.outlook.scanned:
            self._last_scan = self._clock.time()
        self._stuck.extend(turn.outlook.reports)

    def current(self) -> tuple[FolderState, Problem | None]:
        """The state, and what makes it so."""
        offline = self.hung or self.offline
        if offline is not None:
            return FolderState.OFFLINE, offline
        problem = self._problem()
        if self.paused:
            return FolderState.PAUSED, problem
        if not self.ready:
            return FolderState.STARTING, None
        return (FolderState.DEGRADED, problem) if problem is not None else (FolderState.ONLINE, None)

    def _problem(self) -> Problem | None:
        if self.trouble is not None:
            return self.trouble.problem
        if self.move_problem is not None:
            return self.move_problem
        if self._turn is not None and self._turn.outlook.problem is not None:
            return self._turn.outlook.problem
        return self.found[0] if self.found else None

    def status(self) -> FolderStatus:
        """The folder as it is now."""
        state, problem = self.current()
        outlook = self._turn.outlook if self._turn is not None else None
        reason = "paused by an operator" if state is FolderState.PAUSED else problem.what if problem is not None else ""
        return FolderStatus(
            name=self._settings.name,
            path=self._settings.path,
            state=state,
            reason=reason,
            since=self._since,
            watching=outlook.watching if outlook is not None else "polling",
            waiting=outlook.waiting if outlook is not None else 0,
            reasons=outlook.reasons if outlook is not None else {},
            holding=self.holding,
            claimed=self._claimed,
            last_scan=self._last_scan,
            last_claim=self._last_claim,
            problem=problem,
            stuck=tuple(self._stuck),
        )

    def note_change(self) -> bool:
        """Log a change of state; whether there was one."""
        state, problem = self.current()
        code = problem.code if problem is not None else ""
        if (state, code) == self._shown:
            return False
        before = self._shown[0]
        self._shown = (state, code)
        self._since = self._clock.time()
        if state is not FolderState.STARTING:
            self.known.set()
        words = {"folder": self._settings.name, "before": before.value, "state": state.value}
        if problem is None:
            _log.info("a folder changed its state", **words)
        else:
            _log.warning("a folder changed its state", **words, code=code, problem=str(problem))
        return True
