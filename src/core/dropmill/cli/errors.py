"""What the command line itself raises, and how every error reaches the person: what, where, what to do, on stderr.

DropmillError
└── CommandError
    ├── Unreachable     5: no agent answers where one is needed
    ├── NotPermitted    7: the state folder or the socket is somebody else's
    ├── Refused         3: the input is not readable
    ├── UsageError      2: the command line makes no sense
    └── Answered        what the agent answered, with its code
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from dropmill.cli.codes import Exit, exit_code
from dropmill.foundation.errors import DropmillError

__all__ = ["Answered", "CommandError", "NotPermitted", "Refused", "Unreachable", "UsageError", "as_json", "as_text"]


class CommandError(DropmillError):
    """Base of the command line's own errors."""

    default_code = "DM-A100"
    exit_code: int = Exit.FAILED


class UsageError(CommandError):
    """Options that do not go together, or arguments that say nothing."""

    default_code = "DM-A101"
    exit_code = Exit.USAGE


class Unreachable(CommandError):
    """No agent answers."""

    default_code = "DM-A102"
    exit_code = Exit.UNREACHABLE


class NotPermitted(CommandError):
    """The operating system refuses access to the agent's files."""

    default_code = "DM-A103"
    exit_code = Exit.NOT_PERMITTED


class Refused(CommandError):
    """The input cannot be read; `details` is the whole reason, as JSON."""

    default_code = "DM-A104"
    exit_code = Exit.REFUSED

    def __init__(
        self, what: str, *, where: str = "", todo: str = "", code: str | None = None, details: Mapping[str, Any]
    ) -> None:
        super().__init__(what, where=where, todo=todo, code=code)
        self.details = details


class Answered(CommandError):
    """A problem that the agent answered with."""

    def __init__(self, answer: Mapping[str, Any], *, status: int) -> None:
        super().__init__(
            str(answer.get("what") or answer.get("detail") or f"the agent answered {status}"),
            where=str(answer.get("where", "")),
            todo=str(answer.get("todo", "")),
            code=str(answer.get("code", "DM-A105")),
        )
        self.status = status
        self.exit_code = exit_code(DropmillError("", code=self.code))
        self.problems: Sequence[Mapping[str, Any]] = tuple(answer.get("problems", ()))


def as_json(error: DropmillError) -> str:
    """One line: `{code, what, where, todo}`, and `problems` or the reason's own fields where there are any."""
    shape: dict[str, Any] = error.problem.as_dict()
    if isinstance(error, Refused):
        shape = {**error.details, **shape}
    elif (problems := _problems(error)) is not None:
        shape["problems"] = problems
    return json.dumps(shape)


def as_text(error: DropmillError) -> str:
    """For people: the code and what happened, then where, then what to do."""
    problem = error.problem
    lines = [f"{problem.code}: {problem.what}"]
    if problem.where:
        lines.append(f"  at: {problem.where}")
    for part in _problems(error) or ():
        place = ": ".join(str(part[name]) for name in ("where", "key") if part.get(name))
        place += f" = {part['value']}" if part.get("key") and part.get("value") else ""
        lines.append(f"  - {part['code']}: {place + ': ' if place else ''}{part['what']}")
        if part.get("todo"):
            lines.append(f"      {part['todo']}")
    if problem.todo:
        lines.append(f"  to do: {problem.todo}")
    return "\n".join(lines)


def _problems(error: DropmillError) -> list[dict[str, Any]] | None:
    problems = getattr(error, "problems", None)
    if not problems:
        return None
    return [dict(part) if isinstance(part, Mapping) else part.as_dict() for part in problems]
