"""The converter `csv`: rows to reports or steps by a declared mapping; without one, a `data` report that keeps every cell.

It refuses what it cannot read for sure: an unclear delimiter, quotes that do not fit, a declared column that is missing, a text
that is no value of its field. The steps of a large file stream.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from dropmill.api import BadInput, ConvertContext, Head, Match, Report, RetryLater, Source
from dropmill_plugins.converters.common.digest import Warn, WarningDigest
from dropmill_plugins.converters.common.encodings import known_encoding
from dropmill_plugins.converters.common.steps import misc_entry, overall, shown
from dropmill_plugins.converters.csv.columns import ColumnFinder
from dropmill_plugins.converters.csv.mapping import FileFields, Mapper, is_mapped
from dropmill_plugins.converters.csv.sniffing import sniff
from dropmill_plugins.converters.csv.table import Dialect, Row, Table

__all__ = ["CsvConverter"]


class CsvConverter:
    """Delimited text; see `docs/converters.md` for the mapping and the shape of a `data` report."""

    streams_above = 4 << 20
    """Bytes; a smaller file that makes one report is built in memory."""
    slice_rows = 1_000
    """Rows in one step of a `data` report."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        self._dialect = Dialect.of(options)
        self._mapped = is_mapped(options)
        ragged = options.get("ragged", "auto")
        self._pads = ragged == "pad" or (ragged == "auto" and not self._mapped)
        self._pads_all = ragged == "pad"
        self._by_row = options.get("reports", "row") == "row"
        self._kind = options.get("kind", "test")

    def sniff(self, head: Head) -> Match | None:
        """LIKELY where the header has every declared column, else POSSIBLE or WEAK by how sure the delimiter is."""
        return sniff(head, self._options, self._dialect, mapped=self._mapped)

    def convert(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        """One report a row or a file."""
        self._check_options()
        if source.size == 0:
            raise BadInput("CSV-EMPTY", "the file is empty")
        table = Table.open(source, self._dialect)
        warnings = WarningDigest(context)
        if not table.encoding.certain:
            warnings.warn("CSV-ENCODING", f"the file is not UTF-8 and says nothing else: read as {table.encoding.name}")
        if not self._mapped:
            yield from self._data(source, table, warnings)
        elif self._by_row:
            yield from self._each_row(source, table, warnings)
        else:
            yield from self._whole_file(source, table, warnings)

    def _check_options(self) -> None:
        """What a JSON Schema cannot say of the options. Nothing is wrong with the file: it waits until they are corrected."""
        names = (self._dialect.encoding, self._dialect.fallback_encoding)
        unknown = [name for name in names if name != "auto" and not known_encoding(name)]
        if unknown:
            raise RetryLater(
                f"the options of csv name the encoding {unknown[0]!r}, which is not known: correct them", after=300
            )

    def _rows(self, table: Table, warn: Warn) -> Iterator[tuple[Row, ColumnFinder]]:
        """The rows with their width judged, and the header's columns, made anew for every reading."""
        finder: ColumnFinder | None = None
        for row in table.rows():
            if finder is None:
                finder = ColumnFinder(table.header, table.header_line, len(row.cells))
                width = len(row.cells) if table.header is None else len(table.header)
            if len(row.cells) != width:
                if len(row.cells) < width and not row.ended and not self._pads_all:
                    raise BadInput(
                        "CSV-TRUNCATED",
                        "the file ends within a row: the last one lacks cells and a line break",
                        line=row.line,
                    )
                told = f"the row has {len(row.cells)} cells instead of {width}"
                if not self._pads:
                    raise BadInput("CSV-RAGGED", told, line=row.line)
                warn("CSV-RAGGED", told, line=row.line)
            yield row, finder

    def _each_row(self, source: Source, table: Table, warnings: WarningDigest) -> Iterator[Report]:
        mapper: Mapper | None = None
        name = shown(source.name)
        for row, finder in self._rows(table, warnings.warn):
            if not any(cell.strip() for cell in row.cells):
                warnings.warn("CSV-BLANK-ROW", "the row has only empty cells: no report", line=row.line)
                continue
            if mapper is None:
                mapper = Mapper(self._options, finder)
            document = mapper.report(row, self._kind, name, row.cells[finder.width :])
            yield Report(document, fields={"line": row.line})
        warnings.close()
        if mapper is None:
            raise self._no_rows(table)

    def _whole_file(self, source: Source, table: Table, warnings: WarningDigest) -> Iterator[Report]:
        document: dict[str, Any] = {"kind": self._kind, "outcome": "unknown", "startPrecision": "unknown"}
        document["root"] = {"name": shown(source.name), "type": "group", "outcome": "unknown"}
        fields: dict[str, int] = {}
        yield from self._finish(source, document, fields, self._steps(table, warnings, document, fields))

    def _finish(
        self, source: Source, document: dict[str, Any], fields: dict[str, int], steps: Iterator[dict[str, Any]]
    ) -> Iterator[Report]:
        if source.size > self.streams_above:
            yield Report(document, steps=steps, fields=fields)
        else:
            document["root"]["steps"] = list(steps)
            yield Report(document, fields=fields)

    def _steps(
        self, table: Table, warnings: WarningDigest, document: dict[str, Any], fields: dict[str, int]
    ) -> Iterator[dict[str, Any]]:
        """One step a row; the document is completed when they have ended."""
        agreed = FileFields()
        outcomes: Counter[str] = Counter()
        mapper: Mapper | None = None
        number = 0
        for row, finder in self._rows(table, warnings.warn):
            if not any(cell.strip() for cell in row.cells):
                warnings.warn("CSV-BLANK-ROW", "the row has only empty cells: no step", line=row.line)
                continue
            if mapper is None:
                mapper = Mapper(self._options, finder)
            number += 1
            step = mapper.step(row, agreed, number, row.cells[finder.width :])
            outcomes[step["outcome"]] += 1
            yield step
        if mapper is None:
            raise self._no_rows(table)
        root = document["root"]
        document["outcome"] = overall(outcomes)
        document.update(mapper.file_fields(agreed))
        if "rawOutcome" in document:
            root["rawOutcome"] = document.pop("rawOutcome")
        root["outcome"] = document["outcome"]
        fields["rows"] = number
        warnings.close()

    def _no_rows(self, table: Table) -> BadInput:
        """Why there is nothing to report of: a declared column that is missing says more than the lack of rows."""
        Mapper(self._options, ColumnFinder(table.header, table.header_line, 0))
        return BadInput("CSV-NO-ROWS", "there is no row of data below the header", line=table.header_line or None)

    def _data(self, source: Source, table: Table, warnings: WarningDigest) -> Iterator[Report]:
        document: dict[str, Any] = {
            "kind": "data",
            "outcome": "unknown",
            "startPrecision": "unknown",
            "source": {"encoding": table.encoding.name},
            "root": {"name": shown(source.name), "type": "group", "outcome": "unknown"},
        }
        fields: dict[str, int] = {}
        yield from self._finish(source, document, fields, self._all_rows(table, warnings, document, fields))

    def _all_rows(
        self, table: Table, warnings: WarningDigest, document: dict[str, Any], fields: dict[str, int]
    ) -> Iterator[dict[str, Any]]:
        rows = columns = 0
        for count, width, step in self._slices(table, warnings.warn):
            rows, columns = rows + count, max(columns, width)
            yield step
        fields.update(rows=rows, columns=columns)
        told: dict[str, str | int] = {
            "delimiter": table.delimiter,
            "header": table.header_line,
            "rows": rows,
            "columns": columns,
            "blankLines": table.blank_lines,
        }
        document["misc"] = [misc_entry(name, value) for name, value in told.items()]
        warnings.close()

    def _slices(self, table: Table, warn: Warn) -> Iterator[tuple[int, int, dict[str, Any]]]:
        """Steps of a thousand rows: how many, how wide, and the step with one axis a column."""
        held: list[list[str]] = []
        first = 1
        finder: ColumnFinder | None = None
        for row, found in self._rows(table, warn):
            finder = found
            held.append(row.cells)
            if len(held) == self.slice_rows:
                yield _slice(held, first, found)
                first += len(held)
                held = []
        if finder is None:
            finder = ColumnFinder(table.header, table.header_line, 0)
        if held or first == 1:
            yield _slice(held, first, finder)


def _slice(rows: list[list[str]], first: int, finder: ColumnFinder) -> tuple[int, int, dict[str, Any]]:
    width = max([finder.width, *map(len, rows)])
    axes = [
        {"name": finder.title(index), "values": [row[index] if index < len(row) else None for row in rows]}
        for index in range(width)
    ]
    table = {"name": "rows", "value": len(rows), "status": "unknown", "series": {"axes": axes}}
    last = first + len(rows) - 1
    name = f"rows {first}-{last}" if rows else "no rows"
    return len(rows), width, {"name": name, "type": "action", "outcome": "unknown", "measurements": [table]}
