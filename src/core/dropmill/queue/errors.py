"""What the queue raises.

DropmillError
└── QueueError
    ├── QueueFull        no room now: keep what you have and come back
    ├── TooLarge         more than the whole queue can hold, at any time
    ├── StoreUnavailable the disk or the database refuses: nothing was changed
    └── StoreBusy        another process owns the store
"""

from __future__ import annotations

from dropmill.api import QueueView
from dropmill.foundation.errors import DropmillError

__all__ = ["QueueError", "QueueFull", "StoreBusy", "StoreUnavailable", "TooLarge"]


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
