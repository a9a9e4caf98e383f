"""Turns rows into reports or steps as the mapping declares. A cell is used as it is, or refuses the file with its line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dropmill.api import BadInput
from dropmill_plugins.converters.common.fields import FieldError, FieldRule, place
from dropmill_plugins.converters.common.measurements import LimitError, judge, limit, measurement
from dropmill_plugins.converters.common.numbers import Number, parse_number
from dropmill_plugins.converters.common.steps import misc_entry, overall
from dropmill_plugins.converters.csv.columns import Column, ColumnFinder
from dropmill_plugins.converters.csv.table import Row

__all__ = ["FileFields", "Mapper", "is_mapped"]

Cells = Sequence[str | None]
Step = dict[str, Any]

_TRUE = frozenset({"true", "t", "yes", "y", "1", "on"})
_FALSE = frozenset({"false", "f", "no", "n", "0", "off"})


def is_mapped(options: Mapping[str, Any]) -> bool:
    """Whether the options say what any column means."""
    return any(options.get(key) for key in ("columns", "step", "measurements", "misc"))


@dataclass(frozen=True, slots=True)
class _Measure:
    """One declared measurement, its columns found."""

    value: Column
    kind: str
    name: Column
    unit: Column
    low: Column
    high: Column
    expected: Column
    status: Column
    comparator: str | None
    judged: bool
    outcome: FieldRule
    fixed: Mapping[str, Any]
    """Limits that the options state."""


class FileFields:
    """The report fields of a whole file: every row has to say the same, or nothing."""

    def __init__(self) -> None:
        self._texts: dict[str, tuple[str, int]] = {}

    def agree(self, target: str, text: str, row: Row) -> None:
        """Note what a row says.

        Raises:
            BadInput: An earlier row says something else.
        """
        known = self._texts.setdefault(target, (text, row.line))
        if known[0] != text:
            raise BadInput(
                "CSV-ROWS-DISAGREE",
                f"{target} is {text[:60]!r} here and {known[0][:60]!r} in line {known[1]}: one report a file needs one value",
                line=row.line,
            )

    def __iter__(self) -> Iterator[tuple[str, str, int]]:
        for target, (text, line) in self._texts.items():
            yield target, text, line


class Mapper:
    """The mapping, tied to the columns of one file."""

    def __init__(self, options: Mapping[str, Any], finder: ColumnFinder) -> None:
        self._decimal = options.get("decimal", ".")
        self._thousands = options.get("thousands", "")
        self._missing = frozenset(options.get("missing", ()))
        self._columns = [_rule(target, entry, finder) for target, entry in options.get("columns", {}).items()]
        self._step = [_rule(target, entry, finder) for target, entry in options.get("step", {}).items()]
        self._measures = [_measure(entry, finder) for entry in options.get("measurements", ())]
        misc = options.get("misc", ())
        self._misc = finder.rest() if misc == "rest" else [finder.find(reference) for reference in misc]

    def report(self, row: Row, kind: str, name: str, extra: Cells) -> dict[str, Any]:
        """One report of one row."""
        cells = self._cells(row)
        root: Step = {"name": name, "type": "test", "outcome": "unknown"}
        document: dict[str, Any] = {"kind": kind, "outcome": "unknown", "startPrecision": "unknown"}
        for rule, column in self._columns:
            text = column.text(cells)
            if text is not None:
                place(document, rule.target, _read(rule, text, row))
                if rule.target == "outcome":
                    root["rawOutcome"] = text
        self._fill(root, cells, row)
        if "rawOutcome" not in root:
            document["outcome"] = overall(one["status"] for one in root.get("measurements", ()))
        root["outcome"] = document["outcome"]
        document["misc"] = [misc_entry("line", row.line), *self._kept(cells, extra)]
        document["root"] = root
        return document

    def step(self, row: Row, fields: FileFields, number: int, extra: Cells) -> Step:
        """One step of one row; what the row says of the whole file goes to `fields`."""
        cells = self._cells(row)
        for rule, column in self._columns:
            text = column.text(cells)
            if text is not None:
                fields.agree(rule.target, text, row)
        step: Step = {"name": f"row {number}", "type": "test", "outcome": "unknown"}
        misc = self._kept(cells, extra)
        for rule, column in self._step:
            text = column.text(cells)
            if text is None:
                continue
            value = _read(rule, text, row)
            if rule.target == "start":
                if value.exact:
                    step["start"] = value.text
                else:
                    misc.append(misc_entry("start", value.text))
                continue
            step[rule.target] = value
            if rule.target == "outcome":
                step["rawOutcome"] = text
        self._fill(step, cells, row)
        if "rawOutcome" not in step:
            step["outcome"] = overall(one["status"] for one in step.get("measurements", ()))
        if misc:
            step["misc"] = misc
        return step

    def file_fields(self, fields: FileFields) -> dict[str, Any]:
        """The report's fields from what all rows agree on."""
        document: dict[str, Any] = {}
        rules = {rule.target: rule for rule, _ in self._columns}
        for target, text, line in fields:
            place(document, target, _read(rules[target], text, Row(line, [], True)))
            if target == "outcome":
                document["rawOutcome"] = text
        return document

    def _cells(self, row: Row) -> Cells:
        missing = self._missing
        return [None if not cell.strip() or cell in missing or cell.strip() in missing else cell for cell in row.cells]

    def _fill(self, step: Step, cells: Cells, row: Row) -> None:
        found = [built for one in self._measures if (built := self._measured(one, cells, row)) is not None]
        if found:
            step["measurements"] = found

    def _kept(self, cells: Cells, extra: Cells) -> list[dict[str, Any]]:
        kept = [misc_entry(column.name, text) for column in self._misc if (text := column.text(cells)) is not None]
        kept.extend(
            misc_entry(f"column {len(cells) - len(extra) + place}", text) for place, text in enumerate(extra, start=1)
        )
        return kept

    def _measured(self, one: _Measure, cells: Cells, row: Row) -> dict[str, Any] | None:
        text = one.value.text(cells)
        status_text = one.status.text(cells)
        if text is None and status_text is None:
            return None  # no value and no word on it: nothing was measured
        name = one.name.text(cells) or one.value.name
        value = None if text is None else self._value(one.kind, text, name, row)
        bounds = {key: self._bound(one, key, cells, name, row) for key in ("low", "high", "expected")}
        try:
            limits = limit(one.comparator, bounds["low"], bounds["high"], bounds["expected"])
        except LimitError as error:
            raise BadInput("CSV-LIMIT", f"measurement {name[:60]!r}: {error}", line=row.line) from None
        if status_text is not None:
            status = _read(one.outcome, status_text, row)
        else:
            status = judge(value, limits) if one.judged else "unknown"
        plain = None if text is None or self._thousands or self._decimal != "." else text.strip()
        return measurement(name, value, status, text=plain, unit=one.unit.text(cells), limits=limits)

    def _bound(self, one: _Measure, key: str, cells: Cells, name: str, row: Row) -> Number | str | bool | None:
        column: Column = getattr(one, key)
        text = column.text(cells)
        if text is not None:
            return self._value(one.kind, text, f"{name} ({key})", row)
        fixed: Number | str | bool | None = one.fixed.get(key)
        return fixed

    def _value(self, kind: str, text: str, name: str, row: Row) -> Number | str | bool:
        if kind == "text":
            return text
        if kind == "boolean":
            word = text.strip().lower()
            if word in _TRUE or word in _FALSE:
                return word in _TRUE
            raise BadInput("CSV-VALUE", f"{name[:60]!r} should be yes or no and is {text[:60]!r}", line=row.line)
        number = parse_number(text, self._decimal, self._thousands)
        if number is None:
            raise BadInput("CSV-VALUE", f"{name[:60]!r} should be a number and is {text[:60]!r}", line=row.line)
        return number


def _rule(target: str, entry: Any, finder: ColumnFinder) -> tuple[FieldRule, Column]:
    return FieldRule.of(target, entry if isinstance(entry, Mapping) else {}), finder.declared(entry)


def _measure(entry: Mapping[str, Any], finder: ColumnFinder) -> _Measure:
    def optional(key: str) -> Column:
        return finder.find(entry[key]) if key in entry else Column(None, "")

    value = finder.find(entry["column"], optional=entry.get("optional", False))
    return _Measure(
        value=value,
        kind=entry.get("type", "number"),
        name=optional("name_column")
        if "name_column" in entry
        else Column(None, "", fixed=entry.get("name", value.name)),
        unit=optional("unit_column") if "unit_column" in entry else Column(None, "", fixed=entry.get("unit")),
        low=optional("low_column"),
        high=optional("high_column"),
        expected=optional("expected_column"),
        status=optional("status_column"),
        comparator=entry.get("comparator"),
        judged=entry.get("judge", False),
        outcome=FieldRule.of("outcome", entry),
        fixed={key: entry[key] for key in ("low", "high", "expected") if key in entry},
    )


def _read(rule: FieldRule, text: str, row: Row) -> Any:
    try:
        return rule.read(text)
    except FieldError as error:
        raise BadInput(f"CSV-{error.code}", str(error), line=row.line) from None
