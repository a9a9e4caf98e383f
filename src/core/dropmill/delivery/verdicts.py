"""What an answer means: from what one `send` returned or raised to a verdict for each lease and a signal for the breaker.

Pure and total: whatever a transport returns or raises, every lease of the batch gets exactly one verdict. Only `Delivered` and
`Duplicate` count as sent; a wrong number or type of outcomes means that nothing can be believed, so all are tried again.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from dropmill.api import AuthRejected, Delivered, Duplicate, Outcome, Rejected, Retry, Unavailable
from dropmill.delivery.backoff import Backoff
from dropmill.delivery.breaker import Cause
from dropmill.delivery.scrub import Scrubber
from dropmill.foundation.errors import Problem
from dropmill.queue.records import Lease

__all__ = [
    "AUTH_REJECTED",
    "BREAKER_OPEN",
    "DAMAGED",
    "MISCOUNTED",
    "RAISED",
    "STUCK",
    "TIMED_OUT",
    "TOO_LARGE",
    "UNAVAILABLE",
    "Ending",
    "Failed",
    "Failing",
    "GivenBack",
    "Judge",
    "Refusing",
    "Sent",
    "TimedOut",
    "Verdict",
    "Working",
]

UNAVAILABLE = "DM-D001"
AUTH_REJECTED = "DM-D002"
BREAKER_OPEN = "DM-D003"
RAISED = "DM-D004"
MISCOUNTED = "DM-D005"
TIMED_OUT = "DM-D006"
TOO_LARGE = "DM-D007"
DAMAGED = "DM-D008"
STUCK = "DM-D009"

_TRACEBACK = 4_000


@dataclass(frozen=True)
class Sent:
    """The destination has it."""

    lease: Lease
    receipt: Mapping[str, Any]


@dataclass(frozen=True)
class Failed:
    """An attempt was spent: again after `delay` seconds, or never where `permanent`."""

    lease: Lease
    error: Mapping[str, Any]
    delay: float | None
    permanent: bool = False


@dataclass(frozen=True)
class GivenBack:
    """Not the item's fault, or never begun: no attempt is spent."""

    lease: Lease
    delay: float
    reason: str


Verdict = Sent | Failed | GivenBack


@dataclass(frozen=True)
class Working:
    """The destination answered for at least one item."""


@dataclass(frozen=True)
class Failing:
    """Nothing got through, and it may be the items' fault."""

    reason: str
    after: float | None = None


@dataclass(frozen=True)
class Refusing:
    """The destination as a whole is away or refuses us; the leases have no verdict yet, the lane decides."""

    cause: Cause
    problem: Problem
    after: float | None = None


class TimedOut(Exception):
    """One `send` took longer than the destination's time limit."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no answer within {seconds:g} s")


@dataclass(frozen=True)
class Ending:
    """How one `send` ended."""

    signal: Working | Failing | Refusing | None
    """None: nothing was learnt about the destination."""
    verdicts: Sequence[Verdict] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    fault: bool = False
    """The transport itself failed: it is opened anew before it is used again."""


class Judge:
    """Judges the sends of one lane."""

    def __init__(self, destination: str, transport: str, backoff: Backoff, random: Random, scrubber: Scrubber) -> None:
        self._destination = destination
        self._transport = transport
        self._backoff = backoff
        self._random = random
        self._scrub = scrubber

    def outcomes(self, batch: Sequence[Lease], answer: object) -> Ending:
        """What the transport returned."""
        problem = _misanswer(batch, answer)
        if problem is not None:
            error = self._problem(
                MISCOUNTED,
                f"the transport {self._transport} answered wrongly: {problem}",
                "report it to the transport's author; the items are sent again",
            )
            return self._fault(batch, error, {})
        assert isinstance(answer, Sequence)
        verdicts: list[Verdict] = []
        counts: dict[str, int] = {}
        reason, after, working = "", None, False
        for lease, outcome in zip(batch, answer, strict=True):
            kind, verdict = self._one(lease, outcome)
            verdicts.append(verdict)
            if not isinstance(verdict, GivenBack):  # counted when settled
                counts[kind] = counts.get(kind, 0) + 1
            if isinstance(outcome, Retry):
                reason = self._scrub.text(outcome.reason)
                after = max(after or 0.0, outcome.after) if outcome.after else after
            else:
                working = True
        return Ending(Working() if working else Failing(reason, after), verdicts, counts)

    def exception(self, batch: Sequence[Lease], error: BaseException) -> Ending:
        """What the transport raised instead."""
        refusing = self.refusal(error)
        if refusing is not None:
            return Ending(refusing)
        if isinstance(error, TimedOut):
            problem = self._problem(
                TIMED_OUT,
                f"the destination gave {error}",
                "see whether it is overloaded, or raise the destination's `timeout`",
            )
            verdicts = [self.again(lease, problem) for lease in batch]
            return Ending(Failing(problem.what), verdicts, {"timeout": len(batch)})
        problem = self._problem(
            RAISED,
            f"the transport {self._transport} raised {self.describe(error)}",
            "report it to the transport's author; the items are sent again",
        )
        return self._fault(batch, problem, {"traceback": self._traceback(error)})

    def refusal(self, error: BaseException) -> Refusing | None:
        """What `Unavailable` and `AuthRejected` say of the destination; None for any other exception."""
        if isinstance(error, Unavailable):
            problem = self._problem(
                UNAVAILABLE,
                f"the destination is not available: {self._scrub.text(str(error.reason))}",
                "nothing is lost: it is probed, and sending goes on by itself",
            )
            return Refusing(Cause.UNAVAILABLE, problem, error.after)
        if isinstance(error, AuthRejected):
            problem = self._problem(
                AUTH_REJECTED,
                f"the destination refuses the credentials: {self._scrub.text(str(error.reason))}",
                "correct the destination's credentials or their rights, then run `dropmill resume destination` for it",
            )
            return Refusing(Cause.AUTHENTICATION, problem)
        return None

    def unusable(self, error: BaseException) -> Refusing:
        """What any exception of `open` or `probe` says of the destination."""
        refusing = self.refusal(error)
        if refusing is not None:
            return refusing
        what = (
            f"the destination gave {error}"
            if isinstance(error, TimedOut)
            else f"the transport {self._transport} raised {self.describe(error)}"
        )
        return Refusing(
            Cause.UNAVAILABLE,
            self._problem(UNAVAILABLE, what, "see that the destination runs and its options are right"),
        )

    def damaged(self, batch: Sequence[Lease], damage: Sequence[BaseException | None], ending: Ending) -> Ending:
        """The queue could not read some of the payloads: neither the transport's fault nor the destination's."""
        judged = {verdict.lease.id: verdict for verdict in ending.verdicts}
        verdicts: list[Verdict] = []
        for lease, error in zip(batch, damage, strict=True):
            verdict = judged.get(lease.id)
            if isinstance(verdict, Sent):
                verdicts.append(verdict)
            elif error is not None:
                problem = self._problem(
                    DAMAGED,
                    f"the queue cannot read the payload: {self.describe(error)}",
                    "`dropmill explain` its file; convert the file again with `dropmill retry`",
                )
                verdicts.append(self.again(lease, problem))
            else:
                verdicts.append(GivenBack(lease, 0.0, "another item of the batch could not be read"))
        signal = ending.signal if isinstance(ending.signal, Working) else None
        return Ending(signal, verdicts, {"damaged": sum(error is not None for error in damage)})

    def too_large(self, lease: Lease, limit: int) -> Failed:
        """More than the transport takes in one call."""
        problem = self._problem(
            TOO_LARGE,
            f"the report has {lease.size} bytes, and the transport {self._transport} takes {limit} at most",
            "route such reports to another destination",
        )
        return Failed(lease, _error(problem), None, permanent=True)

    def describe(self, error: BaseException) -> str:
        """One line about an exception, without secrets."""
        return self._scrub.text(_line(error))

    def again(self, lease: Lease, problem: Problem, details: Mapping[str, Any] | None = None) -> Failed:
        """An attempt spent, with back-off."""
        delay = self._backoff.full(lease.attempt, self._random.random())
        return Failed(lease, _error(problem) | dict(details or {}), delay)

    def _fault(self, batch: Sequence[Lease], problem: Problem, details: Mapping[str, Any]) -> Ending:
        blame = {"fault": self._transport, **details}
        verdicts = [self.again(lease, problem, blame) for lease in batch]
        return Ending(Failing(problem.what), verdicts, {"fault": len(batch)}, fault=True)

    def _one(self, lease: Lease, outcome: Outcome) -> tuple[str, Verdict]:
        details = self._scrub.data(outcome.details)
        if isinstance(outcome, Delivered | Duplicate):
            kind = "duplicate" if isinstance(outcome, Duplicate) else "sent"
            receipt = {"outcome": kind, "ref": self._scrub.text(str(outcome.ref))}
            return kind, Sent(lease, receipt | ({"details": details} if details else {}))
        error: dict[str, Any] = {
            "code": self._scrub.text(str(outcome.code), 100),
            "reason": self._scrub.text(str(outcome.reason)),
        }
        if details:
            error["details"] = details
        if isinstance(outcome, Rejected):
            return "rejected", Failed(lease, error, None, permanent=True)
        if not outcome.charged:
            delay = self._backoff.full(1, self._random.random(), after=outcome.after)
            return "", GivenBack(lease, delay, error["reason"])
        if outcome.after:
            error["after"] = outcome.after
        delay = self._backoff.full(lease.attempt, self._random.random(), after=outcome.after)
        return "retry", Failed(lease, error, delay)

    def _problem(self, code: str, what: str, todo: str) -> Problem:
        return Problem(code=code, what=what, where=self._destination, todo=todo)

    def _traceback(self, error: BaseException) -> str:
        text = "".join(traceback.format_exception(error))
        return self._scrub.text(text[-_TRACEBACK:], _TRACEBACK)


def _misanswer(batch: Sequence[Lease], answer: Any) -> str | None:
    """What is wrong with an answer's shape; None: nothing."""
    if not isinstance(answer, Sequence) or isinstance(answer, str | bytes):
        return f"a {type(answer).__name__} instead of a sequence of outcomes"
    if len(answer) != len(batch):
        return f"{len(answer)} outcomes for {len(batch)} items"
    for outcome in answer:
        if not isinstance(outcome, Delivered | Duplicate | Retry | Rejected):
            return f"a {type(outcome).__name__} instead of an outcome"
        after: object = outcome.after if isinstance(outcome, Retry) else None
        if after is not None and not isinstance(after, int | float):
            return f"Retry with a {type(after).__name__} for its seconds"
    return None


def _error(problem: Problem) -> dict[str, Any]:
    return {"code": problem.code, "reason": problem.what, "todo": problem.todo}


def _line(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - a plugin's exception may do anything
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
