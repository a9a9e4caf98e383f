"""What passes between the core and a queue-full policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

__all__ = ["Decision", "Evict", "Offer", "Pause", "QueuePolicy", "QueueView", "Reject"]


@dataclass(frozen=True)
class Offer:
    """What wants to get into a queue that is full."""

    items: int
    """Deliveries."""
    bytes: int
    folder: str | None = None
    """Where the file came from; None: `submit` or the API."""


@dataclass(frozen=True, kw_only=True)
class QueueView:
    """A snapshot of the queue. What counts is deliveries that are not finished."""

    max_items: int
    max_bytes: int
    items: int
    bytes: int
    high_items: int
    low_items: int
    """High-water and low-water marks, in items."""
    oldest_age: float
    """Seconds since the oldest unfinished delivery was offered; 0 for an empty queue."""
    evictable_items: int
    """Unfinished deliveries that nobody has leased."""
    evictable_bytes: int
    folders: Mapping[str, int] = field(default_factory=dict)
    """Items by folder."""


@dataclass(frozen=True)
class Reject:
    """Turn the offer away; the caller keeps what it has."""

    reason: str = ""


@dataclass(frozen=True)
class Evict:
    """Make room by dropping the oldest unleased deliveries; each is recorded with its payload as a dead letter."""

    items: int
    bytes: int = 0


@dataclass(frozen=True)
class Pause:
    """Take nothing in until the queue has drained to `resume_below` items (None: the low-water mark)."""

    resume_below: int | None = None


Decision = Reject | Evict | Pause


class QueuePolicy(Protocol):
    """A policy's class: synchronous and pure, decides within 50 ms from the two snapshots alone."""

    def __init__(self, options: Mapping[str, Any]) -> None: ...

    def on_full(self, offer: Offer, view: QueueView) -> Decision:
        """Called when `offer` does not fit."""
        ...

    # `stops_intake` may be defined as a class attribute: False where claiming goes on above the high-water mark.
