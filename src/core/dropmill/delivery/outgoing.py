"""A leased item as a transport sees it: the payload is read from the queue only when asked for, in pieces where it is large.

It never settles the lease. A payload that the queue cannot read is remembered in `damage`, so that a failed send is blamed on the
queue and not on the transport that passed the error on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from dropmill.queue.errors import QueueError
from dropmill.queue.records import Lease
from dropmill.queue.store import QueueStore

__all__ = ["LeasedItem", "OpenContext"]


@dataclass
class OpenContext:
    """`dropmill.api.TransportContext` as a value."""

    destination: str
    base: str
    timeout: float


class LeasedItem:
    """`dropmill.api.Outgoing` over a lease."""

    __slots__ = ("_lease", "_store", "attempt", "damage", "fields", "key", "media_type", "report_id", "sha256", "size")

    def __init__(self, lease: Lease, store: QueueStore) -> None:
        self._lease = lease
        self._store = store
        self.key: str = lease.key
        self.report_id: str = lease.report_id
        self.media_type: str = lease.media_type
        self.size: int = lease.size
        self.sha256: str = lease.sha256
        self.fields: Mapping[str, Any] = lease.fields
        self.attempt: int = lease.attempt
        self.damage: QueueError | None = None
        """What the queue raised when the payload was read; None: nothing yet."""

    async def read(self) -> bytes:
        """The whole payload.

        Raises:
            StoreUnavailable: the queue cannot read it, or it is damaged.
        """
        if self._lease.body is not None:
            return self._lease.body
        return b"".join([piece async for piece in self.chunks()])

    async def chunks(self, size: int = 262_144) -> AsyncIterator[bytes]:
        """The payload in pieces of `size` bytes (the last one shorter); every call starts anew.

        Raises:
            StoreUnavailable: the queue cannot read it, or it is damaged.
        """
        body = self._lease.body
        if body is not None:
            for start in range(0, len(body), size):
                yield body[start : start + size]
            return
        try:
            async for piece in self._store.read(self._lease, size):
                yield piece
        except QueueError as error:
            self.damage = error
            raise
