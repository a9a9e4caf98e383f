"""What becomes of a file after a conversion: one outcome, one transition. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dropmill.conversion.outcomes import Ambiguous, Converted, Fault, NoConverter, NotReady, Outcome, Refused
from dropmill.queue.records import FileRecord, ParkReason

__all__ = [
    "FAULTS",
    "Fail",
    "Park",
    "Publish",
    "Release",
    "Transition",
    "decide",
    "homeless",
    "our_own_fault",
    "put_off",
    "waiting",
]

FAULTS = 2
"""Plugin faults on one file after which it is poison."""
_AGAIN = 1.0
"""Seconds before a file is tried a second time after a fault."""


@dataclass(frozen=True, kw_only=True)
class Publish:
    """Its reports go into the queue."""

    outcome: Converted
    converter: str
    """`id version`."""


@dataclass(frozen=True, kw_only=True)
class Fail:
    """It goes to `failed/`."""

    code: str
    reason: str
    error: Mapping[str, Any]
    converter: str | None = None


@dataclass(frozen=True, kw_only=True)
class Park:
    """It waits for something or somebody."""

    reason: ParkReason
    error: Mapping[str, Any]
    converter: str | None = None


@dataclass(frozen=True, kw_only=True)
class Release:
    """It is converted again, `after` seconds from now at the earliest."""

    reason: str
    after: float = 0.0
    charge: bool = False
    """A plugin's fault counts against it."""
    event: str | None = None
    """What to put on record besides, with `details`: a release has no room for why."""
    details: Mapping[str, Any] | None = None


Transition = Publish | Fail | Park | Release


def decide(file: FileRecord, outcome: Outcome, *, left_alone: str | None = None) -> Transition:
    """The transition.

    Args:
        left_alone: Why the plugin that faulted is left alone from now on; None: it is not.
    """
    if isinstance(outcome, Converted):
        return Publish(outcome=outcome, converter=f"{outcome.converter} {outcome.version}")
    if isinstance(outcome, Fault):
        return _faulted(file, outcome, left_alone)
    if isinstance(outcome, Refused):
        converter = None if outcome.converter is None else f"{outcome.converter} {outcome.version}"
        error = {**outcome.record, "attempt": file.attempts + 1, "next": _retry(file)}
        return Fail(code=outcome.code, reason=outcome.message, error=error, converter=converter)
    if isinstance(outcome, NotReady):
        return put_off(outcome.reason, outcome.after, outcome.code or "DM-V034", outcome.converter)
    if isinstance(outcome, NoConverter):
        reason = "no converter of the folder reads this file"
        considered = dict(outcome.considered)
        error = {"code": "DM-V001", "message": reason, "considered": considered, "next": _retry(file)}
        return Fail(code="DM-V001", reason=reason, error=error)
    if isinstance(outcome, Ambiguous):
        message = f"several converters are equally sure of it: {', '.join(outcome.candidates)}"
        todo = f"list the folder's converters in order, or: {_retry(file)} --converter {outcome.candidates[0]}"
        error = {"code": "DM-V003", "message": message, "candidates": list(outcome.candidates), "next": todo}
        return Park(reason=ParkReason.AMBIGUOUS, error=error)
    return waiting(outcome.plugin, outcome.reason)


def put_off(why: str, after: float, code: str, converter: str | None = None) -> Release:
    """Nothing is wrong with the file, but it cannot be converted now."""
    details = {"code": code, "reason": why, "after": after, "converter": converter}
    return Release(reason=ParkReason.NOT_READY, after=after, event="file.put_off", details=details)


def waiting(plugin: str, why: str, record: Mapping[str, Any] | None = None, converter: str | None = None) -> Park:
    """It waits until its plugin may be asked again."""
    error = {
        **(record or {}),
        "code": "DM-V023",
        "message": why,
        "plugin": plugin,
        "next": f"it is converted as soon as the plugin works again; to try at once: dropmill resume plugin {plugin}",
    }
    return Park(reason=ParkReason.WAITING_FOR_PLUGIN, error=error, converter=converter)


def homeless(why: str) -> Park:
    """Its folder is not configured any more; it is looked at again at every start."""
    error = {"code": "DM-V023", "message": why, "next": why}
    return Park(reason=ParkReason.WAITING_FOR_PLUGIN, error=error, converter=None)


def our_own_fault(file: FileRecord, error: Exception) -> Transition:
    """The agent's own code failed on the file: charged all the same, so that it does not go on for ever."""
    message = f"the agent itself failed on this file: {type(error).__name__}: {error}"
    record = {"code": "DM-V019", "message": message, "attempt": file.attempts + 1}
    if file.attempts + 1 >= FAULTS:
        todo = f"report this with the log; then: {_retry(file)}"
        return Park(reason=ParkReason.POISON, error={**record, "next": todo})
    return Release(
        reason="an error in the agent", after=_AGAIN, charge=True, event="conversion.faulted", details=record
    )


def _faulted(file: FileRecord, fault: Fault, left_alone: str | None) -> Transition:
    if fault.kind == "cancelled":
        return Release(reason="the conversion was cancelled")
    attempt = file.attempts + 1
    record = {**fault.record, "attempt": attempt}
    converter = f"{fault.converter} {fault.version}"
    if attempt >= FAULTS:
        todo = f"correct or replace the plugin {fault.plugin}, then: {_retry(file)}"
        return Park(reason=ParkReason.POISON, error={**record, "next": todo}, converter=converter)
    if left_alone is not None:
        return waiting(fault.plugin, left_alone, {**record, "fault": fault.message}, converter)
    details = {**record, "next": "it is converted once more"}
    return Release(
        reason=f"fault of the plugin {fault.plugin}",
        after=_AGAIN,
        charge=True,
        event="conversion.faulted",
        details=details,
    )


def _retry(file: FileRecord) -> str:
    return f"dropmill retry {file.id}"
