"""One call on its way through the writer thread, and what became of the group that it travelled with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dropmill.queue.sqlite.transaction import Notice, Transaction

__all__ = ["Group", "Operation"]


@dataclass(slots=True)
class Operation:
    """One call: `run` in a transaction, then `answer`."""

    run: Callable[[Transaction], Any]
    future: Any = None
    size: int = 0
    """Payload bytes, for the bound of a group."""
    defers: bool = False
    """It reads nothing that other operations of its group put off (`Transaction.later`)."""
    relaxed: bool = False
    """Its loss in a power cut only makes work be done again: a group of such operations is not synced."""
    ended: Callable[[], None] | None = None
    """Called by the writer thread once the outcome is final."""
    undo: Callable[[Any], None] | None = None
    """Called on the loop with the result when nobody waits for it any more."""
    result: Any = None
    error: BaseException | None = None


@dataclass
class Group:
    """What became of a group, beyond its operations' results."""

    topics: set[str] = field(default_factory=set)
    file_due: float | None = None
    """When the next file that is held back by time is due, if an operation told."""
    notices: list[Notice] = field(default_factory=list)
