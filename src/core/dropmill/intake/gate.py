"""What intake asks before it claims; the queue's `Admission` answers."""

from __future__ import annotations

from typing import Protocol

__all__ = ["IntakeGate", "OpenGate"]


class IntakeGate(Protocol):
    """Whether files may be claimed now. Looked at before every group; answers from memory."""

    @property
    def intake_open(self) -> bool: ...

    @property
    def intake_reason(self) -> str:
        """Why not, for people."""
        ...


class OpenGate:
    """Always open: for a command that works without an agent."""

    @property
    def intake_open(self) -> bool:
        return True

    @property
    def intake_reason(self) -> str:
        return ""
