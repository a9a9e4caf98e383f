"""The ids of reports: the same file, converted again, makes the same ids, whatever happened in between.

A `reportId` is a name-based UUID (RFC 9562, version 5) of what makes a report that report: the content it came from, the folder,
the converter, the report's key or else its place among the file's reports, and which occurrence of that content it is. The
converter's version and options are left out on purpose: a corrected report replaces the wrong one under the same id.
"""

from __future__ import annotations

import hashlib
import uuid

import orjson

__all__ = ["NAMESPACE", "KeyCounter", "report_id"]

NAMESPACE = uuid.UUID("0c9a4ee0-6f4f-5c0e-9d5b-6c1c8f0a7d11")
"""The namespace of all report ids. It never changes: every id ever delivered depends on it."""


def report_id(*, sha256: str, folder: str, converter: str, key: str | None, ordinal: int, occurrence: int) -> str:
    """The id of one report.

    Args:
        sha256: Of the file's content, hexadecimal.
        folder: The configured name of the folder that the file was dropped into.
        converter: The converter's id.
        key: What the converter calls the report (a serial number); None: it has no name.
        ordinal: The report's place in the file, from 0; counts only where `key` is None.
        occurrence: 0 for the first file of the folder with this content, 1 for the next, ...
    """
    name = orjson.dumps([sha256, folder, converter, ordinal if key is None else key, occurrence])
    digest = hashlib.sha1(NAMESPACE.bytes + name, usedforsecurity=False).digest()
    return str(uuid.UUID(bytes=digest[:16], version=5))


class KeyCounter:
    """Tells the reports of one file apart that carry the same key (a unit tested twice): each is a report of its own."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def distinct(self, key: str | None) -> str | None:
        """The key itself at first, then `KEY#2`, `KEY#3`, ...; None stays None."""
        if key is None:
            return None
        count = self._seen.get(key, 0) + 1
        candidate = key if count == 1 else f"{key}#{count}"
        while count > 1 and candidate in self._seen:
            count += 1
            candidate = f"{key}#{count}"
        self._seen[key] = count
        self._seen.setdefault(candidate, 1)
        return candidate
