"""From what a worker answered, or how it died, to the outcome of the conversion and its record. Pure.

What a worker sends is checked: it runs a plugin's code, and an answer that makes no sense is that plugin's fault.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, cast

from dropmill.api import Level
from dropmill.conversion.inputs import Job
from dropmill.conversion.outcomes import Ambiguous, Converted, Fault, NoConverter, NotReady, Outcome, Refused
from dropmill.conversion.patience import HARD
from dropmill.conversion.selection import Candidate
from dropmill.conversion.staged import StagedReports
from dropmill.conversion.ticket import Answer, Death, Ticket
from dropmill.conversion.worker.ranking import Answer as Opinion

__all__ = ["FAULT_CODES", "Kind", "fault", "opinions", "outcome_of", "sniff_fault"]

Kind = Literal["error", "timeout", "crash", "oom", "limit", "protocol", "cancelled"]

FAULT_CODES: Final[Mapping[Kind, str]] = {
    "error": "DM-V010",
    "timeout": "DM-V011",
    "crash": "DM-V012",
    "oom": "DM-V013",
    "limit": "DM-V014",
    "protocol": "DM-V015",
    "cancelled": "DM-V016",
}

_OUTPUT = 8_192
_STACK = 16_384
_MOST_AFTER = 86_400.0
_TROUBLE_AFTER = 30.0


class _Senseless(Exception):
    """An answer that a worker's own code never gives."""


def outcome_of(job: Job, ticket: Ticket, ended: Answer | Death, memory: int) -> Outcome:
    """What became of the conversion.

    Args:
        memory: The limit that was in force, for the record.
    """
    if isinstance(ended, Death):
        return _dead(job, ticket, ended, memory)
    try:
        candidate = _candidate(ticket, ended.header)
        return _answered(job, ticket, candidate, ended, memory)
    except (_Senseless, KeyError, TypeError, ValueError) as error:
        return fault(
            job,
            ticket.candidates[0],
            "protocol",
            f"its worker's answer makes no sense: {error!r}",
            {"output": ended.output[-_OUTPUT:]},
            memory,
        )


def sniff_fault(job: Job, ticket: Ticket, candidate: Candidate, ended: Answer | Death, memory: int) -> Outcome:
    """A candidate's failure to answer in a call that only sniffed."""
    if not isinstance(ended, Answer) or not ended.ok or ended.header.get("result") != "answers":
        return outcome_of(job, ticket, ended, memory)
    try:
        failure = ended.header["answers"][ticket.candidates.index(candidate)][2]
        details = {"exception": failure["exception"], "output": ended.output[-_OUTPUT:]}
        return fault(job, candidate, "error", str(failure["message"]), details, memory)
    except (KeyError, IndexError, TypeError):
        return fault(job, candidate, "protocol", "its worker's answer makes no sense", {}, memory)


def opinions(ticket: Ticket, ended: Answer | Death) -> Sequence[Opinion]:
    """The answers of a call that only sniffed, one for each of its candidates."""
    if isinstance(ended, Answer) and ended.ok and ended.header.get("result") == "answers":
        try:
            return [
                Opinion(
                    None if level is None else Level(level),
                    str(reason),
                    failed=failure is not None,
                    minimum=candidate.minimum,
                )
                for candidate, (level, reason, failure) in zip(ticket.candidates, ended.header["answers"], strict=True)
            ]
        except (TypeError, ValueError):
            message = "its worker's answer makes no sense"
    else:
        message = ended.message if isinstance(ended, Death) else str(ended.header.get("message", "no answer"))
    return [Opinion(None, message, failed=True, minimum=candidate.minimum) for candidate in ticket.candidates]


def fault(job: Job, candidate: Candidate, kind: Kind, message: str, details: Mapping[str, Any], memory: int) -> Fault:
    """A plugin's fault, with its record."""
    code = FAULT_CODES[kind]
    spec = candidate.binding.spec
    record = {
        **_record(job, candidate, kind, code, message),
        **{key: value for key, value in details.items() if value not in (None, "", 0, 0.0)},
        "limits": {"soft": spec.timeout, "hard": spec.timeout * HARD, "memory": memory},
    }
    return Fault(
        plugin=candidate.binding.plugin,
        code=code,
        kind=kind,
        message=message,
        converter=spec.id,
        version=candidate.binding.version,
        record=record,
    )


def _answered(job: Job, ticket: Ticket, candidate: Candidate, ended: Answer, memory: int) -> Outcome:
    header = ended.header
    usage: dict[str, Any] = {"wall": _number(header["wall"]), "cpu": _number(header["cpu"])}
    peak = usage["peakMemory"] = int(_number(header["peak"]))
    if not ended.ok:
        kind = header["kind"]
        if kind not in ("error", "oom", "limit"):
            raise _Senseless(f"an error of the kind {kind!r}")
        details = {"exception": header.get("exception"), "output": ended.output[-_OUTPUT:], **usage}
        return fault(job, candidate, kind, str(header["message"]), details, memory)
    result = header["result"]
    spec = candidate.binding.spec
    if result == "converted":
        folder = ended.folder if header["folder"] else None
        count = header["reports"]
        if len(ended.reports) > count or (len(ended.reports) < count and not header["spooled"]):
            raise _Senseless(f"{len(ended.reports)} reports came of {count}")
        return Converted(
            reports=StagedReports(ended.reports, folder, count, int(header["bytes"])),
            converter=spec.id,
            version=candidate.binding.version,
            warnings=[*header["warnings"], *_failed_others(ticket, header)],
            wall=usage["wall"],
            cpu=usage["cpu"],
            peak_memory=peak,
        )
    if result == "refused":
        extra = {key: header[key] for key in ("line", "path", "value", "warnings") if header.get(key)}
        return Refused(
            code=str(header["code"]),
            message=str(header["message"]),
            line=header["line"],
            converter=spec.id,
            version=candidate.binding.version,
            record={
                **_record(job, candidate, "refused", str(header["code"]), str(header["message"])),
                **extra,
                **usage,
            },
        )
    if result == "later":
        after = _number(header["after"])
        return NotReady(reason=str(header["reason"]), after=min(max(after, 0.0), _MOST_AFTER), converter=spec.id)
    if result == "trouble":
        return NotReady(
            reason=str(header["message"]), after=_TROUBLE_AFTER, converter=spec.id, code=str(header["code"])
        )
    if result == "nobody":
        return NoConverter(considered=_considered(ticket, header))
    if result == "tie":
        by_key = {candidate.key: candidate.binding.spec.id for candidate in ticket.candidates}
        return Ambiguous(candidates=[by_key[key] for key in header["keys"]])
    if result == "cancelled":
        return fault(job, candidate, "cancelled", "the conversion was cancelled", usage, memory)
    raise _Senseless(f"the result {result!r}")


def _dead(job: Job, ticket: Ticket, death: Death, memory: int) -> Fault:
    details = {
        "exitCode": death.exit_code,
        "signal": death.signal,
        "stack": death.stack[:_STACK],
        "output": death.output[-_OUTPUT:],
        "bytesRead": death.read,
        "done": death.done,
        "wall": round(death.wall, 3),
        "cpu": round(death.cpu, 3),
        "peakMemory": death.peak,
    }
    kind = cast(Kind, death.kind if death.kind in FAULT_CODES else "crash")
    return fault(job, ticket.candidates[death.candidate], kind, death.message, details, memory)


def _record(job: Job, candidate: Candidate, kind: str, code: str, message: str) -> dict[str, Any]:
    return {
        "code": code,
        "outcome": kind,
        "message": message,
        "file": {"id": job.id, "name": job.name, "folder": job.folder, "sha256": job.sha256, "size": job.size},
        "plugin": candidate.binding.plugin,
        "distribution": candidate.binding.distribution,
        "converter": candidate.binding.spec.id,
        "version": candidate.binding.version,
    }


def _considered(ticket: Ticket, header: Mapping[str, Any]) -> dict[str, str]:
    told = header.get("considered", {})
    return {candidate.binding.spec.id: str(told.get(candidate.key, "not its file")) for candidate in ticket.candidates}


def _failed_others(ticket: Ticket, header: Mapping[str, Any]) -> list[dict[str, str]]:
    """Candidates that failed while they were asked, though another one was certain: kept with the file, so that it is seen."""
    told = header.get("failed", {})
    return [
        {
            "code": "DM-V017",
            "message": f"the converter {candidate.binding.spec.id} failed when asked for this file: {told[candidate.key]}",
        }
        for candidate in ticket.candidates
        if candidate.key in told
    ]


def _candidate(ticket: Ticket, header: Mapping[str, Any]) -> Candidate:
    for candidate in ticket.candidates:
        if candidate.key == header["key"]:
            return candidate
    raise _Senseless(f"an answer for the converter {header['key']!r}")


def _number(value: object) -> float:
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise _Senseless(f"{value!r} is no number")
    return float(value)
