"""What a list is narrowed by, as values: the same for every engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["DeliveryQuery", "FileQuery"]


@dataclass(frozen=True, kw_only=True)
class FileQuery:
    """Which files: within a field any value matches, and all fields must."""

    folder: Sequence[str] = ()
    state: Sequence[str] = ()
    reason: str | None = None
    name: str | None = None
    """Pattern with `*` and `?`, against the whole relative name or its last part."""
    converter: str | None = None
    """Id, or id and version."""
    code: str | None = None
    """Of the failure."""
    since: float | None = None
    """Changed at or after this moment (seconds since the epoch)."""
    until: float | None = None
    """Changed before this moment."""


@dataclass(frozen=True, kw_only=True)
class DeliveryQuery:
    """Which deliveries: within a field any value matches, and all fields must."""

    lane: Sequence[str] = ()
    state: Sequence[str] = ()
    """Exact states."""
    folder: Sequence[str] = ()
    file: str | None = None
    """Id of the file."""
    code: str | None = None
    """Of the last failure."""
    since: float | None = None
    until: float | None = None
