"""The exit codes by which `dropmill run` says how it ended."""

from __future__ import annotations

import enum

__all__ = ["ExitCode"]


class ExitCode(enum.IntEnum):
    """How a run ended."""

    CLEAN = 0
    """Everything in flight was finished, the state on disk is exact."""
    CANCELLED = 10
    """Work in flight was cancelled; it was given back and will be done again."""
    UNDEAD = 11
    """Something would not die, or what is on disk could not be verified; the next start repairs it."""
    DEADLINE = 12
    """The hard deadline ended the process, with stacks on stderr; the next start repairs the state."""
    ERROR = 70
    """A critical part failed for good, and `on_error = "exit"`."""
