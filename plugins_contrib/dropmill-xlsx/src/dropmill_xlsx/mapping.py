"""Turns the rows of a sheet into reports or steps by the declared columns. A cell is used as it is, or refuses the file."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Any

from dropmill.api import BadInput
from dropmill_xlsx.workbook import Sheet, Value, column_letter

__all__ = ["Mapper", "is_mapped", "plain"]

_LETTERS = re.compile(r"=([A-Za-z]{1,3})")
_WORDS = {
    **dict.fromkeys(("pass", "passed", "ok", "p", "true", "good"), "passed"),
    **dict.fromkeys(("fail", "failed", "nok", "ng", "f", "false", "bad"), "failed"),
    **dict.fromkeys(("error", "e"), "error"),
    **dict.fromkeys(("skip", "skipped", "s"), "skipped"),
    **dict.fromkeys(("abort", "aborted", "terminated", "t"), "aborted"),
    "unknown": "unknown",
}

Row = list[Value]


def is_mapped(options: Mapping[str, Any]) -> bool:
    """Whether the options say what any column means."""
    return any(options.get(key) for key in ("columns", "measurements", "misc"))


def plain(value: Value) -> int | float | bool | str | None:
    """A cell as JSON has it: times in ISO 8601, numbers as they are."""
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return f"PT{value.total_seconds():g}S"
    return value


class Mapper:
    """The mapping, tied to the columns of one sheet."""

    def __init__(self, options: Mapping[str, Any], sheet: Sheet, header: Row | None, header_row: int) -> None:
        self._sheet = sheet
        self._header = header
        self._header_row = header_row
        self._kind = options.get("kind", "test")
        self._words = {str(text).lower(): outcome for text, outcome in options.get("outcomes", {}).items()} or _WORDS
        self._fields = {target: self._find(column) for target, column in options.get("columns", {}).items()}
        self._measures = [(self._find(one["column"]), one) for one in options.get("measurements", ())]
        self._misc = [self._find(column) for column in options.get("misc", ())]

    def report(self, row: Row, number: int, name: str) -> dict[str, Any]:
        """One report of one row."""
        report: dict[str, Any] = {"kind": self._kind, "outcome": "unknown", "startPrecision": "unknown"}
        root: dict[str, Any] = {"name": name, "type": "test", "outcome": "unknown"}
        for target, text in self.fields(row).items():
            self.place(report, root, target, text, number)
        root["outcome"] = report["outcome"]
        measured = self._measured(row, number)
        if measured:
            root["measurements"] = measured
        origin = [{"name": "sheet", "value": self._sheet.name}, {"name": "row", "value": number}]
        report["misc"] = [*origin, *self._kept(row)]
        report["root"] = root
        return report

    def step(self, row: Row, number: int) -> dict[str, Any]:
        """One step of one row."""
        step: dict[str, Any] = {"name": f"row {number}", "type": "test", "outcome": "unknown"}
        measured = self._measured(row, number)
        if measured:
            step["measurements"] = measured
        kept = self._kept(row)
        if kept:
            step["misc"] = kept
        return step

    def fields(self, row: Row) -> dict[str, Value]:
        """What a row says of the report's fields."""
        found = {target: row[index] if index < len(row) else None for target, index in self._fields.items()}
        return {target: value for target, value in found.items() if value is not None and value != ""}

    def place(self, report: dict[str, Any], root: dict[str, Any], target: str, value: Value, number: int) -> None:
        """Set one field.

        Raises:
            BadInput: The cell is no value of it.
        """
        if target == "outcome":
            text = _text(value)
            outcome = self._words.get(text.strip().lower())
            if outcome is None:
                raise BadInput(
                    "XLSX-OUTCOME", f"{self._at(number)}: the outcome {text[:60]!r} is not among the declared ones"
                )
            report["outcome"], root["rawOutcome"] = outcome, text
        elif target == "start":
            report["start"], report["startPrecision"] = self._start(value, number)
        elif "." in target:
            head, tail = target.split(".")
            report.setdefault(head, {})[tail] = _text(value)
        else:
            report[target] = _text(value)

    def _start(self, value: Value, number: int) -> tuple[str, str]:
        moment = value
        if isinstance(value, str):
            try:
                moment = (
                    datetime.fromisoformat(value.strip())
                    if len(value.strip()) > 10
                    else date.fromisoformat(value.strip())
                )
            except ValueError:
                moment = None
        if isinstance(moment, datetime):
            return moment.isoformat(), "local-no-offset" if moment.tzinfo is None else "exact"
        if isinstance(moment, date):
            return moment.isoformat(), "date-only"
        raise BadInput("XLSX-START", f"{self._at(number)}: the start {_text(value)[:60]!r} is no date or time")

    def _measured(self, row: Row, number: int) -> list[dict[str, Any]]:
        made = []
        for index, one in self._measures:
            value = row[index] if index < len(row) else None
            if value is None:
                continue
            name = one.get("name") or self._title(index)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise BadInput(
                    "XLSX-VALUE", f"{self._at(number)}: {name[:60]!r} should be a number and is {_text(value)[:60]!r}"
                )
            built: dict[str, Any] = {"name": name, "value": value, "status": "unknown"}
            if "unit" in one:
                built["unit"] = one["unit"]
            bounds = {key: one[key] for key in ("low", "high") if key in one}
            if bounds:
                comparator = "GELE" if len(bounds) == 2 else "GE" if "low" in bounds else "LE"
                built["limits"] = [{"comparator": comparator, **bounds}]
            made.append(built)
        return made

    def _kept(self, row: Row) -> list[dict[str, Any]]:
        return [
            {"name": self._title(index), "value": plain(row[index])}
            for index in self._misc
            if index < len(row) and row[index] is not None
        ]

    def _find(self, column: str) -> int:
        letters = _LETTERS.fullmatch(column)
        if letters:
            number = 0
            for letter in letters[1].upper():
                number = number * 26 + ord(letter) - 64
            index = number - self._sheet.first_column
            if not 0 <= index < self._sheet.width:
                raise BadInput(
                    "XLSX-COLUMN-MISSING", f"sheet {self._sheet.name!r} has no cells in column {letters[1].upper()}"
                )
            return index
        if self._header is None:
            raise BadInput(
                "XLSX-COLUMN-MISSING", f"column {column!r} is declared by name, but there is no header (header = 0)"
            )
        titles = [_text(cell).strip() if cell is not None else "" for cell in self._header]
        places = [index for index, title in enumerate(titles) if title == column.strip()]
        if len(places) == 1:
            return places[0]
        if places:
            letters_of = " and ".join(column_letter(place + self._sheet.first_column) for place in places)
            raise BadInput(
                "XLSX-COLUMN-DOUBLED",
                f"{self._at(self._header_row)}: {column!r} heads columns {letters_of}; declare a letter",
            )
        known = {title.casefold(): title for title in titles}
        near = difflib.get_close_matches(column.strip().casefold(), known, n=1)
        hint = f"; did you mean {known[near[0]]!r}?" if near else ""
        raise BadInput("XLSX-COLUMN-MISSING", f"{self._at(self._header_row)}: there is no column {column!r}{hint}")

    def _title(self, index: int) -> str:
        if self._header is not None and index < len(self._header) and self._header[index] is not None:
            return _text(self._header[index]).strip()
        return column_letter(index + self._sheet.first_column)

    def _at(self, row: int) -> str:
        return f"sheet {self._sheet.name!r}, row {row}"


def _text(value: Value) -> str:
    """A cell as text; a whole number without a fraction, as the sheet shows it."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(plain(value))
