"""What a converter may tell the core while it works: warnings, and that it is still at it."""

from __future__ import annotations

from typing import Any

from dropmill.conversion.worker.frames import clean
from dropmill.conversion.worker.page import Page

__all__ = ["Context"]

_MAX_WARNINGS = 100


class Context:
    """A `dropmill.api.ConvertContext`. Warnings beyond the hundredth are counted, and the last entry says how many they were."""

    def __init__(self, folder: str, page: Page) -> None:
        self.folder = folder
        self._page = page
        self._warnings: list[dict[str, Any]] = []
        self._left_out = 0

    def warn(self, code: str, message: str, *, line: int | None = None) -> None:
        """Keep a warning."""
        if len(self._warnings) >= _MAX_WARNINGS:
            self._left_out += 1
            return
        warning: dict[str, Any] = {"code": clean(code, 100), "message": clean(message)}
        if line is not None:
            warning["line"] = int(line)
        self._warnings.append(warning)

    def progress(self, done: float | None = None) -> None:
        """Work goes on."""
        self._page.beat(done)

    @property
    def warnings(self) -> list[dict[str, Any]]:
        """What was warned of so far."""
        if not self._left_out:
            return self._warnings
        more = {"code": "MORE-WARNINGS", "message": f"{self._left_out} further warnings were left out"}
        return [*self._warnings, more]
