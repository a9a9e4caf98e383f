"""One call to a worker, as the agent sees it: what is asked, where it stands, and how it ended."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dropmill.conversion.patience import Patience
from dropmill.conversion.selection import Candidate

__all__ = ["Answer", "Death", "Ticket"]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The worker answered."""

    ok: bool
    """False: an ERROR frame."""
    header: Mapping[str, Any]
    reports: Sequence[tuple[Mapping[str, Any], bytes]]
    folder: Path
    """The task's folder; it exists where `header["folder"]` says so, and is the caller's to remove."""
    output: str
    """The end of what the worker printed lately."""


@dataclass(frozen=True, kw_only=True)
class Death:
    """The worker ended, or was ended, while it worked on this call."""

    kind: str
    """`timeout`, `crash`, `oom`, `limit`, `protocol`."""
    message: str
    candidate: int
    """Whose code ran."""
    exit_code: int | None = None
    signal: str | None = None
    stack: str = ""
    """Of all its threads, where it hung or crashed."""
    output: str = ""
    read: int = 0
    done: float = 0.0
    wall: float = 0.0
    cpu: float = 0.0
    peak: int = 0


@dataclass(eq=False, kw_only=True)
class Ticket:
    """A call. Its future answers an `Answer` or a `Death`, or raises `WorkersUnavailable`."""

    group: str
    """Which workers may do it: those of this distribution."""
    mode: str
    candidates: Sequence[Candidate]
    header: Mapping[str, Any]
    """Of the frame, without `n`."""
    body: bytes
    descriptors: Sequence[int]
    """Open for as long as the future is not done."""
    future: asyncio.Future[Answer | Death]
    submitted: float
    reports: list[tuple[Mapping[str, Any], bytes]] = field(default_factory=list)
    report_bytes: int = 0
    patience: Patience | None = None
    """Once it is worked on."""
    cancelled_at: float | None = None
    returned: int = 0
    """How often a worker that had it ended before it began."""
