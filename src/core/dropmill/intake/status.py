"""What is told of a folder: its state with reason and since when, and what is known of a file that was not taken."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dropmill.foundation.errors import Problem

__all__ = ["FolderState", "FolderStatus", "Sighting"]


class FolderState(enum.StrEnum):
    STARTING = "starting"
    """It has not been looked at yet."""
    ONLINE = "online"
    DEGRADED = "degraded"
    """It works, but something needs attention: polling for want of watches, files that cannot be claimed or moved."""
    OFFLINE = "offline"
    """Its root cannot be used; nothing in it counts as deleted."""
    PAUSED = "paused"
    """An operator has stopped claiming."""


@dataclass(frozen=True, kw_only=True)
class FolderStatus:
    """A folder at this moment; times are seconds since the epoch."""

    name: str
    path: Path
    state: FolderState
    reason: str
    since: float
    watching: str
    """`events` or `polling`."""
    waiting: int
    """Candidates that are not claimed."""
    reasons: Mapping[str, int]
    """How many of them wait for which reason, as of the last scan."""
    holding: str
    """Why nothing is claimed although the folder is in order (the queue is full); empty: it is."""
    claimed: int
    """Files claimed since the start."""
    last_scan: float | None = None
    last_claim: float | None = None
    problem: Problem | None = None
    """What makes it degraded or offline."""
    stuck: Sequence[Problem] = ()
    """Files that have waited too long for a reason of their own: the latest twenty."""


@dataclass(frozen=True, kw_only=True)
class Sighting:
    """What intake knows of a path that is not claimed."""

    folder: str
    state: Literal["waiting", "excluded", "missing"]
    reason: str
    details: Mapping[str, Any] = field(default_factory=dict)
