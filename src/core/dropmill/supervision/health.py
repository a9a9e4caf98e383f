"""How the agent is, from how its children are and what else is known to be wrong: a pure function."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dropmill.supervision.child import Child
from dropmill.supervision.spec import ChildState, State

__all__ = ["Condition", "Health", "assess"]

_NAMED = 5


@dataclass(frozen=True)
class Condition:
    """Something outside supervision that is wrong: a full disk, a plugin in quarantine."""

    reason: str
    state: State = State.DEGRADED
    """DEGRADED or ERROR."""


@dataclass(frozen=True)
class Health:
    """The state of an agent that is neither starting nor stopping."""

    state: State
    reason: str = ""


def assess(children: Iterable[Child], conditions: Mapping[str, Condition]) -> Health:
    """ERROR where a critical child is given up (or on trial, or will not die), DEGRADED where anything else is wrong."""
    errors: list[str] = []
    troubles: list[str] = []
    for child in children:
        if trouble := _trouble(child):
            given_up = child.state is ChildState.OPEN or child.trial or child.undead
            (errors if given_up and child.spec.critical else troubles).append(f"{child.name}: {trouble}")
    for name, condition in conditions.items():
        (errors if condition.state is State.ERROR else troubles).append(f"{name}: {condition.reason}")
    if errors:
        return Health(State.ERROR, _list(errors + troubles))
    if troubles:
        return Health(State.DEGRADED, _list(troubles))
    return Health(State.RUNNING)


def _trouble(child: Child) -> str:
    if child.removed is not None and not child.undead:
        return ""
    if child.undead:
        return f"will not end ({child.reason})"
    if child.trial:
        return "is being tried again"
    match child.state:
        case ChildState.OPEN:
            return f"given up for now ({child.reason})"
        case ChildState.BACKOFF:
            return f"failed ({child.reason})"
        case ChildState.ENDING:
            return child.reason
        case ChildState.WAITING:
            return f"waits {child.reason}"
        case _:
            return ""


def _list(reasons: list[str]) -> str:
    more = len(reasons) - _NAMED
    return "; ".join(reasons[:_NAMED]) + (f"; and {more} more" if more > 0 else "")
