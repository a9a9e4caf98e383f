"""What the queue raises.

DropmillError
└── QueueError
    ├── QueueFull        no room now: keep what you have and come back
    ├── TooLarge         more than the whole queue can hold, at any time
    ├── StoreUnavailable the disk or the database refuses: nothing was changed
    │   ├── StoreClosed     not opened yet, or closed (it stops)
    │   └── PayloadDamaged  a payload on disk is not what was written
    ├── StoreBusy        another process owns the store
    ├── SchemaTooNew     a newer dropmill wrote the store
    └── NotHeld          the file is not (or no longer) in the state that the call is for
"""

from __future__ import annotations

from dropmill.api import QueueView
from dropmill.foundation.errors import DropmillError

__all__ = [
    "NotHeld",
    "PayloadDamaged",
    "QueueError",
    "QueueFull",
    "SchemaTooNew",
    "StoreBusy",
    "StoreClosed",
    "StoreUnavailable",
    "TooLarge",
]


class QueueError(DropmillError):
    """Base of the queue's errors."""

    default_code = "DM-Q000"


class QueueFull(QueueError):
    """The queue has no room for the offer; the store is unchanged. `retry_after` is in seconds."""

    default_code = "DM-Q001"

    def __init__(self, what: str, view: QueueView, *, retry_after: float = 5.0) -> None:
        super().__init__(
            what,
            todo="wait until deliveries have drained, raise queue.max_items or queue.max_bytes, or choose another policy",
        )
        self.view = view
        self.retry_after = retry_after


class TooLarge(QueueError):
    """The offer is larger than the whole queue may ever be."""

    default_code = "DM-Q002"


class StoreUnavailable(QueueError):
    """The store cannot be written or read now (full disk, I/O error); the operation had no effect."""

    default_code = "DM-Q003"


class StoreBusy(QueueError):
    """Another process holds `owner.lock`."""

    default_code = "DM-Q004"


class SchemaTooNew(QueueError):
    """The store was written by a newer dropmill; nothing was touched."""

    default_code = "DM-Q005"


class NotHeld(QueueError):
    """The file is unknown, or not (no longer) in the state that the call is for; nothing was changed."""

    default_code = "DM-Q006"


class StoreClosed(StoreUnavailable):
    """The store is not open: it has not been opened yet, or is closing."""

    default_code = "DM-Q007"


class PayloadDamaged(StoreUnavailable):
    """A payload read from disk is not the one that was written; its deliveries are dead letters now."""

    default_code = "DM-Q008"
