"""Finds the declared columns in a file's header, once a file, and says exactly which are missing or doubled."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dropmill.api import BadInput

__all__ = ["Column", "ColumnFinder", "Reference"]

Reference = str | int
"""A header, or a number from 1."""


@dataclass(frozen=True, slots=True)
class Column:
    """Where a value comes from."""

    index: int | None
    """From 0; None for an optional column that the file does not have, and for a fixed text."""
    name: str
    """The header, for messages and for `misc`."""
    fixed: str | None = None

    def text(self, cells: Sequence[str | None]) -> str | None:
        """The row's text, or None where there is no value."""
        if self.index is None:
            return self.fixed
        return cells[self.index] if self.index < len(cells) else None


class ColumnFinder:
    """The header of one file."""

    def __init__(self, header: list[str] | None, line: int, width: int) -> None:
        self._header = header
        self._line = line
        self.width = width if header is None else len(header)
        self.used: set[int] = set()
        """Indexes that have been asked for."""

    def find(self, reference: Reference, *, optional: bool = False) -> Column:
        """The column.

        Raises:
            BadInput: The header does not have it, or has it twice.
        """
        if isinstance(reference, int):
            if reference > self.width:
                if optional:
                    return Column(None, f"column {reference}")
                raise BadInput(
                    "CSV-COLUMN-MISSING",
                    f"column {reference} is declared, but there are {self.width}",
                    line=self._line or None,
                )
            return self._take(reference - 1)
        if self._header is None:
            raise BadInput(
                "CSV-COLUMN-MISSING", f"column {reference!r} is declared by name, but there is no header (header = 0)"
            )
        places = [index for index, name in enumerate(self._header) if name.strip() == reference.strip()]
        if len(places) > 1:
            numbers = " and ".join(str(place + 1) for place in places)
            raise BadInput(
                "CSV-COLUMN-DOUBLED",
                f"the header has {reference!r} as columns {numbers}: declare a number",
                line=self._line or None,
            )
        if places:
            return self._take(places[0])
        if optional:
            return Column(None, reference)
        known = {name.strip().casefold(): name.strip() for name in self._header}
        near = difflib.get_close_matches(reference.strip().casefold(), known, n=1)
        hint = f"; did you mean {known[near[0]]!r}?" if near else ""
        raise BadInput("CSV-COLUMN-MISSING", f"the header has no column {reference!r}{hint}", line=self._line or None)

    def declared(self, entry: Reference | Mapping[str, Any]) -> Column:
        """The column of an option that is a reference, or a table with `column` or `value`."""
        if isinstance(entry, Mapping):
            if "value" in entry:
                return Column(None, "", fixed=entry["value"])
            return self.find(entry["column"], optional=entry.get("optional", False))
        return self.find(entry)

    def rest(self) -> list[Column]:
        """Every column that nothing has asked for."""
        return [Column(index, self.name(index)) for index in range(self.width) if index not in self.used]

    def name(self, index: int) -> str:
        """What a person calls the column: its header without white space around it, or `column N`."""
        return self.title(index).strip() or f"column {index + 1}"

    def title(self, index: int) -> str:
        """The header exactly as in the file; `column N` where there is none."""
        return self._header[index] if self._header is not None and index < len(self._header) else f"column {index + 1}"

    def _take(self, index: int) -> Column:
        self.used.add(index)
        return Column(index, self.name(index))
