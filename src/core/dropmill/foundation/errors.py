"""The base of every error that a person may read.

A message says *what happened, where, what to do*, and carries a stable code (`DM-Q014`) that `docs/errors.md` explains.
The letter after `DM-` names the part: A agent, C config, P plugins, I intake, V conversion, Q queue, D delivery,
S supervision, H control (HTTP), F files on disk.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["DropmillError", "Problem"]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong, as a value: easy to log, to send as JSON and to show."""

    code: str
    """Stable, documented: `DM-` + part letter + three digits."""
    what: str
    """What happened, one sentence."""
    where: str = ""
    """The path, key path, URL or id that it happened at."""
    todo: str = ""
    """What the reader can do about it."""

    def __str__(self) -> str:
        text = f"{self.code}: {self.what}"
        if self.where:
            text += f" ({self.where})"
        if self.todo:
            text += f" - {self.todo}"
        return text

    def as_dict(self) -> dict[str, Any]:
        """The JSON shape: `{code, what, where, todo}`."""
        return asdict(self)


class DropmillError(Exception):
    """An error with a stable code. Subclasses set `default_code`."""

    default_code = "DM-A000"

    def __init__(self, what: str, *, where: str = "", todo: str = "", code: str | None = None) -> None:
        self.problem = Problem(code=code or self.default_code, what=what, where=where, todo=todo)
        super().__init__(str(self.problem))

    @property
    def code(self) -> str:
        return self.problem.code
