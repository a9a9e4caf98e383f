"""Ends the process when no Python code can run at all: an extension that holds the interpreter lock in an endless call.

No Python thread can notice that; `faulthandler`'s timer is a thread of C, which prints every stack and ends the process with
status 1. There is one such timer in a process, so this object must be the only one that sets it.
"""

from __future__ import annotations

import faulthandler
import sys
from typing import TextIO

__all__ = ["GilWatch"]


class GilWatch:
    """A fuse of `limit` seconds that is put back every few seconds; with None it is only ever armed for a stop."""

    def __init__(self, limit: float | None, *, file: TextIO | None = None) -> None:
        self._limit = limit
        self._file = file if file is not None else sys.__stderr__
        self._final = False

    def rearm(self) -> None:
        """The loop turns: start the limit anew."""
        if self._limit is not None and not self._final:
            self._set(self._limit)

    def arm_finally(self, seconds: float) -> None:
        """From now on the only limit, whatever turns: the process ends in `seconds` at the latest."""
        self._final = True
        self._set(seconds)

    def disarm(self) -> None:
        faulthandler.cancel_dump_traceback_later()

    def _set(self, seconds: float) -> None:
        if self._file is not None:
            try:
                faulthandler.dump_traceback_later(max(0.001, seconds), exit=True, file=self._file)
            except (OSError, ValueError, AttributeError, RuntimeError):
                self._file = None  # stderr is closed or is no file: there is nowhere to print to
