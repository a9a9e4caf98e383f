"""What intake asks before it claims; the queue's admission answers."""

from __future__ import annotations

from typing import Protocol

__all__ = ["AdmissionGate", "OpenGate"]


class AdmissionGate(Protocol):
    """Whether files may be claimed now. Looked at before every group; answers from memory."""

    @property
    def open(self) -> bool: ...

    @property
    def reason(self) -> str:
        """Why it is closed, for people."""
        ...


class OpenGate:
    """Always open: for a command that works without an agent."""

    open = True
    reason = ""
