"""Keeps a file's warnings readable: the first few of each kind in full, then one line that counts the rest.

The core keeps at most a hundred warnings a file, so a file with ten thousand odd rows must not drown the one that matters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from dropmill.api import ConvertContext

__all__ = ["Warn", "WarningDigest", "silent"]

Warn = Callable[..., None]


def silent(code: str, message: str, *, line: int | None = None) -> None:
    """A `warn` that keeps nothing: for a second reading of what has been judged already."""


class WarningDigest:
    """Passes on the first `each` warnings of a code and counts the others until `close`."""

    def __init__(self, context: ConvertContext, each: int = 8) -> None:
        self._context = context
        self._each = each
        self._seen: Counter[str] = Counter()

    def warn(self, code: str, message: str, *, line: int | None = None) -> None:
        """As `ConvertContext.warn`."""
        self._seen[code] += 1
        if self._seen[code] <= self._each:
            self._context.warn(code, message, line=line)

    def close(self) -> None:
        """Tell how many more there were of each code."""
        for code, count in self._seen.items():
            if count > self._each:
                self._context.warn(code, f"the same {count - self._each} more times")
        self._seen.clear()

    def count(self, code: str) -> int:
        """How often a code came since the last `close`."""
        return self._seen[code]
