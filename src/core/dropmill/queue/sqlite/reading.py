"""Reading a payload that is too large to travel with its lease: where it lies, its pieces, and the proof that it is whole."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dropmill.queue.errors import PayloadDamaged, StoreUnavailable
from dropmill.queue.records import Lease
from dropmill.queue.sqlite.payloads import Payloads
from dropmill.queue.sqlite.transaction import Transaction

__all__ = ["Location", "Pieces", "locate"]


@dataclass(frozen=True)
class Location:
    """Where a payload lies; a segment is pinned until `close`."""

    tier: str
    segment: int | None
    place: Any
    size: int
    crc: int
    data: bytes | None
    payloads: Payloads

    def close(self) -> None:
        """Let go of the segment."""
        if self.segment is not None:
            self.payloads.segments.unpin(self.segment)


def locate(tx: Transaction, lease: Lease) -> Location:
    """Where the payload of a lease lies.

    Raises:
        StoreUnavailable: the lease was lost, and the payload with it.
    """
    row = tx.execute(
        "SELECT r.tier, r.segment, r.place, r.size, r.crc, b.data FROM delivery d JOIN report r ON r.no = d.report"
        " LEFT JOIN blob b ON b.report = r.no WHERE d.id = ? AND d.fence = ? AND d.state = 'leased'",
        (lease.id, lease.fence),
    ).fetchone()
    if row is None:
        raise StoreUnavailable("the delivery is not leased any more, so its payload is not handed out", where=lease.key)
    tier, segment, place, size, crc, data = row
    location = Location(tier, segment, place, size, crc, data, tx.shared.payloads)
    if location.segment is not None:
        tx.shared.payloads.segments.pin(location.segment)
    return location


class Pieces:
    """The pieces of a located payload, read in threads; the last call proves that they were what was written."""

    def __init__(self, location: Location, lease: Lease, piece: int) -> None:
        self._location = location
        self._key = lease.key
        self._crc = 0
        self._left = location.size
        self._iterator = self._read(piece)

    def _read(self, piece: int) -> Iterator[bytes]:
        location = self._location
        if location.data is not None:
            for start in range(0, len(location.data), piece):
                yield location.data[start : start + piece]
            return
        offset, name = (location.place, None) if location.tier == "segment" else (None, location.place)
        yield from location.payloads.pieces(location.tier, location.segment, offset, name, location.size, piece)

    def next(self) -> bytes:
        """The next piece; empty after the last.

        Raises:
            PayloadDamaged: the bytes read are not those that were written.
            StoreUnavailable: they cannot be read.
        """
        try:
            data = next(self._iterator, b"")
        except OSError as error:
            raise PayloadDamaged(f"the payload cannot be read: {error}", where=self._key) from error
        self._crc = zlib.crc32(data, self._crc)
        self._left -= len(data)
        if self._left == 0 and self._crc != self._location.crc:
            raise PayloadDamaged("the payload on disk is not what was written", where=self._key)
        return data
