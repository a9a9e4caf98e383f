"""What can be wrong with a configuration, as values, and the one error that carries all of them at once.

DropmillError
└── ConfigError          the file cannot be used; `problems` lists everything that is wrong with it, in the file's order
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dropmill.foundation.errors import DropmillError, Problem

__all__ = ["ConfigError", "ConfigProblem"]


@dataclass(frozen=True, kw_only=True)
class ConfigProblem(Problem):
    """One thing that is wrong in the file. `where` is `FILE:LINE:COLUMN`, as far as they are known."""

    key: str = ""
    """Its path in the file, lists counted from 0: `folder[2].settle`. Empty: the file as a whole."""
    value: str = ""
    """The offending value as it would be written in TOML, shortened, redacted where it is or may be a secret."""
    line: int | None = None
    """From 1."""
    column: int | None = None
    """From 1, in characters."""
    suggestion: str = ""
    """What was probably meant, where something similar exists."""

    def __str__(self) -> str:
        text = f"{self.where}: {self.code}: " if self.where else f"{self.code}: "
        if self.key:
            text += f"{self.key} = {self.value}: " if self.value else f"{self.key}: "
        text += self.what
        return f"{text} - {self.todo}" if self.todo else text


class ConfigError(DropmillError):
    """The configuration cannot be used. Raised once, with every problem that was found (exit code 4)."""

    default_code = "DM-C000"

    def __init__(self, path: Path, problems: Sequence[ConfigProblem]) -> None:
        count = len(problems)
        super().__init__(
            f"the configuration has {count} problem{'s' if count != 1 else ''}",
            where=str(path),
            todo="correct what is listed; `dropmill config check` checks again",
        )
        self.path = path
        self.problems: Sequence[ConfigProblem] = tuple(problems)

    def __str__(self) -> str:
        return "\n".join([str(self.problem), *(f"  {problem}" for problem in self.problems)])

    def as_dict(self) -> dict[str, Any]:
        """The JSON shape: `{code, what, where, todo, problems}`."""
        return {**self.problem.as_dict(), "problems": [problem.as_dict() for problem in self.problems]}
