"""Empties segments that a few long-lived payloads (dead letters, a lane that is down) keep from being used again.

A handful of bytes must not hold 64 MB of disk: what is left in such a segment is copied to another, verified on the way, and
the rows are pointed there in the same transaction.
"""

from __future__ import annotations

import zlib

from dropmill.queue.sqlite.payloads import Placed
from dropmill.queue.sqlite.transaction import Transaction

__all__ = ["compact"]

_FEW = 256
_BATCH = 4 * 1024 * 1024
"""Bytes that one transaction copies."""
_SHARE = 16 * 1024 * 1024
"""A segment with more than this in use is left alone."""


def compact(tx: Transaction) -> bool:
    """One batch; True: there may be more."""
    payloads = tx.shared.payloads
    for number in payloads.segments.sparse(_FEW):
        rows = tx.execute("SELECT no, place, size, crc FROM report WHERE segment = ?", (number,)).fetchall()
        if sum(row[2] for row in rows) > _SHARE:
            continue
        payloads.segments.seal(number)
        moved = 0
        for report, offset, size, crc in rows:
            if moved >= _BATCH:
                return True
            data = payloads.segments.read(number, offset, size)
            if len(data) != size or zlib.crc32(data) != crc:
                continue  # damaged: found and told when it is claimed
            segment, place = payloads.segments.append(size, (data,))
            tx.placed(Placed("segment", crc, size, "", segment=segment, offset=place))
            tx.execute("UPDATE report SET segment = ?, place = ? WHERE no = ?", (segment, place, report))
            tx.freed("segment", number, None)
            moved += size
        if moved:
            return True
    return False
