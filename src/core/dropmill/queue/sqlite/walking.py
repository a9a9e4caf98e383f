"""Walks rows in the order of their age through several ranges of an index at once, without sorting and without reading more
than it hands out.

A list of a million rows that are filtered by state and folder is a few ranges of one index, each already in order; merging
their heads costs the same for any length.
"""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

__all__ = ["Ranges", "walk"]

Ranges = Sequence[tuple[str, Sequence[Any]]]
"""Conditions on an index whose order ends with the key, each with its parameters."""

_CHUNK = 256


def walk(
    connection: sqlite3.Connection,
    table: str,
    key: str,
    ranges: Ranges | None,
    *,
    after: int | None,
    descending: bool,
) -> Iterator[int]:
    """Keys of `table` behind `after`, oldest first or (`descending`) newest first.

    Rows of any of the `ranges`; None: all.
    """
    order, beyond = ("DESC", "<") if descending else ("ASC", ">")
    start = after if after is not None else (1 << 62 if descending else -1)

    def one(condition: str, parameters: Sequence[Any]) -> Iterator[int]:
        last, size = start, 16
        query = f"SELECT {key} FROM {table} WHERE {condition} AND {key} {beyond} ? ORDER BY {key} {order} LIMIT ?"
        while True:
            keys = [row[0] for row in connection.execute(query, (*parameters, last, size))]
            yield from keys
            if len(keys) < size:
                return
            last, size = keys[-1], _CHUNK

    if ranges is None:
        return one("1", ())
    streams = [one(condition, parameters) for condition, parameters in ranges]
    return heapq.merge(*streams, reverse=descending)
