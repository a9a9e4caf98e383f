"""The converter `xlsx`: rows to reports or steps by a declared mapping; without one, a `data` report that keeps every cell.

It reads values, not formulas, formats, charts or pictures, and refuses a workbook that is protected, damaged or too large.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dropmill.api import BadInput, ConvertContext, Head, Level, Match, Report, Source
from dropmill_xlsx.mapping import Mapper, is_mapped, plain
from dropmill_xlsx.workbook import Limits, Sheet, Value, column_letter, open_workbook

__all__ = ["XlsxConverter"]

_ZIP = b"PK\x03\x04"
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_IN_ZIP = (b"[Content_Types].xml", b"xl/", b"opendocument.spreadsheet")
_IN_OLE = ("Workbook".encode("utf-16-le"), "Book".encode("utf-16-le"), "EncryptedPackage".encode("utf-16-le"))


class XlsxConverter:
    """Spreadsheets; the README describes the mapping and the shape of a `data` report."""

    slice_rows = 1_000
    """Rows in one step of a `data` report."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        self._mapped = is_mapped(options)
        self._header = options.get("header", 1 if self._mapped else 0)
        self._by_row = options.get("reports", "row") == "row"
        self._limits = Limits(options.get("max_unpacked", 268_435_456), options.get("max_cells", 2_000_000))

    def sniff(self, head: Head) -> Match | None:
        """LIKELY where a workbook's parts show in the first 64 KiB, POSSIBLE for another container of that kind."""
        for magic, marks, kind in ((_ZIP, _IN_ZIP, "zip"), (_OLE, _IN_OLE, "OLE")):
            if head.data.startswith(magic):
                if any(mark in head.data for mark in marks):
                    return Match(Level.LIKELY, f"a {kind} container with the parts of a workbook")
                return Match(Level.POSSIBLE, f"a {kind} container")
        return None

    def convert(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        """One report a row or a file."""
        with open_workbook(source, self._limits) as read:
            sheets = read(self._options.get("sheets", ()))
            if not self._mapped:
                yield self._data(source, sheets, context)
            elif self._by_row:
                yield from self._each_row(source, sheets, context)
            else:
                yield self._whole_file(source, sheets, context)

    def _each_row(self, source: Source, sheets: Iterator[Sheet], context: ConvertContext) -> Iterator[Report]:
        count = 0
        for sheet in sheets:
            for mapper, row, number in self._rows(sheet):
                yield Report(
                    mapper.report(row, number, _shown(source.name)), fields={"sheet": sheet.name, "row": number}
                )
                count += 1
            context.progress()
        if not count:
            raise BadInput("XLSX-NO-ROWS", "no sheet has a row of data below its header")

    def _whole_file(self, source: Source, sheets: Iterator[Sheet], context: ConvertContext) -> Report:
        said: dict[str, tuple[Value, int]] = {}
        report: dict[str, Any] = {
            "kind": self._options.get("kind", "test"),
            "outcome": "unknown",
            "startPrecision": "unknown",
        }
        root: dict[str, Any] = {"name": _shown(source.name), "type": "group", "outcome": "unknown", "steps": []}
        for sheet in sheets:
            for mapper, row, number in self._rows(sheet):
                for target, value in mapper.fields(row).items():
                    known, where = said.setdefault(target, (value, number))
                    if known != value:
                        told = f"{target} is {value!r} in row {number} and {known!r} in row {where}; a report has one value"
                        raise BadInput("XLSX-ROWS-DISAGREE", f"sheet {sheet.name!r}: {told}")
                    if where == number:
                        mapper.place(report, root, target, value, number)
                root["steps"].append(mapper.step(row, number))
            context.progress()
        if not root["steps"]:
            raise BadInput("XLSX-NO-ROWS", "no sheet has a row of data below its header")
        root["outcome"] = report["outcome"]
        report["root"] = root
        return Report(report, fields={"rows": len(root["steps"])})

    def _rows(self, sheet: Sheet) -> Iterator[tuple[Mapper, list[Value], int]]:
        """The rows below the header that have a cell, with their numbers."""
        if not sheet.rows:
            return
        place = self._header - sheet.first_row
        header = sheet.rows[place] if self._header and 0 <= place < len(sheet.rows) else None
        if self._header and header is None:
            raise BadInput(
                "XLSX-NO-HEADER", f"sheet {sheet.name!r} has no cells in row {self._header}, where its header should be"
            )
        mapper = Mapper(self._options, sheet, header, self._header)
        start = place + 1 if self._header else 0
        for offset, row in enumerate(sheet.rows[start:], start=start):
            if any(cell is not None for cell in row):
                yield mapper, row, sheet.first_row + offset

    def _data(self, source: Source, sheets: Iterator[Sheet], context: ConvertContext) -> Report:
        steps = []
        cells = 0
        for sheet in sheets:
            step, count = self._kept(sheet)
            steps.append(step)
            cells += count
            context.progress()
        root = {"name": _shown(source.name), "type": "group", "outcome": "unknown", "steps": steps}
        report = {"kind": "data", "outcome": "unknown", "startPrecision": "unknown", "root": root}
        return Report(report, fields={"sheets": len(steps), "cells": cells})

    def _kept(self, sheet: Sheet) -> tuple[dict[str, Any], int]:
        """A sheet as a group of slices, one axis a column, and how many cells it has."""
        place = self._header - sheet.first_row
        header = sheet.rows[place] if self._header and 0 <= place < len(sheet.rows) else None
        start = place + 1 if header is not None else 0
        titles = [
            str(plain(header[index]))
            if header is not None and index < len(header) and header[index] is not None
            else column_letter(sheet.first_column + index)
            for index in range(sheet.width)
        ]
        slices = []
        rows = sheet.rows[start:]
        for first in range(0, len(rows), self.slice_rows):
            held = rows[first : first + self.slice_rows]
            axes = [
                {"name": title, "values": [plain(row[index]) if index < len(row) else None for row in held]}
                for index, title in enumerate(titles)
            ]
            number = sheet.first_row + start + first
            table = {"name": "rows", "value": len(held), "status": "unknown", "series": {"axes": axes}}
            name = f"rows {number}-{number + len(held) - 1}"
            slices.append({"name": name, "type": "action", "outcome": "unknown", "measurements": [table]})
        count = sum(cell is not None for row in sheet.rows for cell in row)
        misc = [{"name": "cells", "value": count}, {"name": "firstColumn", "value": column_letter(sheet.first_column)}]
        step: dict[str, Any] = {"name": sheet.name, "type": "group", "outcome": "unknown", "misc": misc}
        if slices:
            step["steps"] = slices
        return step, count


def _shown(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
