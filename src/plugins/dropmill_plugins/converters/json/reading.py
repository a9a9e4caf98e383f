"""Builds reports from documents by a mapping. A value is used as it is, or refuses the file with its pointer and line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from dropmill.api import BadInput
from dropmill_plugins.converters.common.fields import FieldError, place
from dropmill_plugins.converters.common.measurements import LimitError, judge, limit, measurement
from dropmill_plugins.converters.common.steps import misc_entry, overall
from dropmill_plugins.converters.common.strict_json import Doubled, Inexact
from dropmill_plugins.converters.common.timestamps import EXACT, Timestamp
from dropmill_plugins.converters.json.mapping import Measure, Place, Plan, Steps
from dropmill_plugins.converters.json.pointers import MISSING, Pointer

__all__ = ["MAX_DEPTH", "read_reports"]

Step = dict[str, Any]

MAX_DEPTH = 50
"""Steps within one another."""


def read_reports(plan: Plan, document: Any, name: str, line: int) -> Iterator[dict[str, Any]]:
    """The reports of one document.

    Args:
        plan: The mapping.
        document: What was decoded.
        name: Of the file; it names the root step.
        line: On which the document begins.

    Raises:
        BadInput: It is not as the mapping says.
    """
    if plan.records is None:
        yield _Reading(document, document, line).report(plan, name)
        return
    records = plan.records.of(document)
    if not isinstance(records, list):
        raise BadInput(
            "JSON-RECORDS", f"{plan.records.text or 'the document'} should be an array of records", line=line
        )
    for record in records:
        yield _Reading(document, record, line).report(plan, name)


class _Reading:
    """One record of one document."""

    def __init__(self, document: Any, record: Any, line: int) -> None:
        self._document = document
        self._record = record
        self._line = line

    def report(self, plan: Plan, name: str) -> dict[str, Any]:
        """The record as a report."""
        steps = plan.steps
        report: dict[str, Any] = {"kind": plan.kind, "outcome": "unknown", "startPrecision": "unknown"}
        root: Step = {"name": name, "type": "group" if steps is not None else "test", "outcome": "unknown"}
        told = False
        for one in plan.fields:
            found = self._field(one, self._record)
            if found is None:
                continue
            value, text = found
            place(report, one.rule.target, value)
            if one.rule.target == "outcome":
                root["rawOutcome"], told = text, True
        measured = self._measured(plan.measures, self._record)
        if measured:
            root["measurements"] = measured
        outcomes = [one["status"] for one in measured]
        if steps is not None:
            root["steps"] = self._read_steps(steps, steps.each, self._record, 1)
            outcomes += [step["outcome"] for step in root["steps"]]
        if not told:
            report["outcome"] = overall(outcomes)
        root["outcome"] = report["outcome"]
        kept = self._kept(plan.misc, self._record)
        if kept:
            report["misc"] = kept
        report["root"] = root
        return report

    def _read_steps(self, steps: Steps, each: Pointer, value: Any, depth: int) -> list[Step]:
        found = each.of(value)
        if found is MISSING or found is None:
            if depth > 1:
                return []
            raise self._bad("JSON-STEPS", f"{each.text or 'the record'} should be an array of steps and is not there")
        if not isinstance(found, list):
            raise self._bad("JSON-STEPS", f"{each.text or 'the record'} should be an array of steps")
        if depth > MAX_DEPTH:
            raise self._bad("JSON-TOO-DEEP", f"steps nest more than {MAX_DEPTH} deep")
        return [self._step(steps, one, number, depth) for number, one in enumerate(found, start=1)]

    def _step(self, steps: Steps, value: Any, number: int, depth: int) -> Step:
        step: Step = {"name": f"step {number}", "type": "test", "outcome": "unknown"}
        misc = self._kept(steps.misc, value)
        told = False
        for one in steps.fields:
            found = self._field(one, value)
            if found is None:
                continue
            read, text = found
            if one.rule.target == "start":
                if read.exact:
                    step["start"] = read.text
                else:
                    misc.append(misc_entry("start", read.text))
                continue
            step[one.rule.target] = read
            if one.rule.target == "outcome":
                step["rawOutcome"], told = text, True
        measured = self._measured(steps.measures, value)
        if measured:
            step["measurements"] = measured
        children = [] if steps.children is None else self._read_steps(steps, steps.children, value, depth + 1)
        if children:
            step["type"], step["steps"] = "group", children
        if not told:
            step["outcome"] = overall([*(one["status"] for one in measured), *(child["outcome"] for child in children)])
        if misc:
            step["misc"] = misc
        return step

    def _field(self, one: Place, value: Any) -> tuple[Any, str] | None:
        """A field's value, and its text in the file."""
        if one.pointer is None:
            assert one.fixed is not None, "the schema asks for a pointer or a value"
            text: str | None = one.fixed
            where = "the fixed value"
        else:
            where = one.pointer.text or "the record"
            found = one.pointer.of(self._document if one.outer else value)
            if found is MISSING and not one.optional:
                raise self._bad("JSON-MISSING", f"{one.rule.target} should be at {where}, and nothing is there")
            if found is MISSING or found is None or found == "":
                return None
            special = _special(one, found)
            if special is not None:
                return special
            text = _text(found)
        if text is None:
            raise self._bad(
                "JSON-VALUE", f"{one.rule.target} should be a single value, and {where} is an array or object"
            )
        try:
            return one.rule.read(text), text
        except FieldError as error:
            raise self._bad(f"JSON-{error.code}", f"{where}: {error}") from None

    def _measured(self, measures: list[Measure], value: Any) -> list[dict[str, Any]]:
        made: list[dict[str, Any]] = []
        for one in measures:
            if one.each is None:
                built = self._measurement(one, value, one.pointers["value"].last)
                if built is not None:
                    made.append(built)
                continue
            members = one.each.of(value)
            if members is MISSING and one.optional:
                continue
            if isinstance(members, Doubled):
                raise self._bad(
                    "JSON-DUPLICATE-NAME", f"{one.each.text} names {min(members.repeated)[:60]!r} more than once"
                )
            if isinstance(members, dict):
                pairs = list(members.items())
            elif isinstance(members, list):
                pairs = [(str(number), member) for number, member in enumerate(members, start=1)]
            else:
                raise self._bad(
                    "JSON-MEASUREMENTS", f"{one.each.text or 'the record'} should be an array or object of measurements"
                )
            for name, member in pairs:
                built = self._measurement(one, member, name)
                if built is not None:
                    made.append(built)
        return made

    def _measurement(self, one: Measure, value: Any, default: str) -> dict[str, Any] | None:
        found = one.pointers["value"].of(value)
        told = one.pointers["status"].of(value) if "status" in one.pointers else MISSING
        if found is MISSING:
            if not one.optional and one.each is None:
                raise self._bad(
                    "JSON-MISSING", f"a measurement should be at {one.pointers['value'].text}, and nothing is there"
                )
            if told is MISSING or told is None:
                return None
            found = None
        name = self._detail(one, "name", value)
        label = str(name) if name is not None else default
        parts = {key: self._detail(one, key, value) for key in ("low", "high", "expected")}
        number, text = _value(found)
        if isinstance(number, (dict, list)):
            raise self._bad("JSON-VALUE", f"the measurement {label[:60]!r} should be a single value")
        try:
            limits = limit(one.fixed.get("comparator"), parts["low"], parts["high"], parts["expected"])
        except LimitError as error:
            raise self._bad("JSON-LIMIT", f"measurement {label[:60]!r}: {error}") from None
        status = judge(number, limits) if one.fixed.get("judge", False) else "unknown"
        if told is not MISSING and told is not None:
            try:
                status = str(one.outcome.read(_text(told) or ""))
            except FieldError as error:
                raise self._bad(f"JSON-{error.code}", f"measurement {label[:60]!r}: {error}") from None
        unit = self._detail(one, "unit", value)
        built = measurement(label, number, status, unit=None if unit is None else str(unit), limits=limits)
        if text is not None:
            built["raw"] = text
        return built

    def _detail(self, one: Measure, key: str, value: Any) -> Any:
        """What a measurement's pointer or fixed option says; None: nothing."""
        if key in one.pointers:
            found = one.pointers[key].of(value)
            if found is not MISSING and found is not None:
                single = _value(found)[0]
                if isinstance(single, (dict, list)):
                    raise self._bad("JSON-VALUE", f"a measurement's {key} should be a single value")
                return single
        return one.fixed.get(key)

    def _kept(self, misc: list[tuple[str, Pointer]], value: Any) -> list[dict[str, Any]]:
        kept = []
        for name, pointer in misc:
            found = pointer.of(value)
            if found is MISSING:
                continue
            if isinstance(found, (dict, list)):
                kept.append(misc_entry(name, json.dumps(found, ensure_ascii=False), "application/json"))
            elif isinstance(found, Inexact):
                kept.append(misc_entry(name, found.text, "number"))
            else:
                kept.append(misc_entry(name, found))
        return kept

    def _bad(self, code: str, message: str) -> BadInput:
        return BadInput(code, message, line=self._line)


def _text(value: Any) -> str | None:
    """A single value as text; None for an array or object."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Inexact):
        return value.text
    return str(value) if isinstance(value, (int, float)) else None


def _value(value: Any) -> tuple[Any, str | None]:
    """A measurement's value, and its text where that says more."""
    return (value.number, value.text) if isinstance(value, Inexact) else (value, None)


def _special(one: Place, value: Any) -> tuple[Any, str] | None:
    """Numbers that a field takes in a way of its own: a scaled duration, a time since 1970."""
    number = isinstance(value, (int, float)) and not isinstance(value, (bool, Inexact))
    if not number:
        return None
    if one.rule.target == "duration" and value >= 0:
        return float(value) * one.scale, str(value)
    if one.rule.target == "start" and one.rule.format in ("unix", "unix-ms"):
        seconds = value / 1000 if one.rule.format == "unix-ms" else value
        try:
            moment = datetime.fromtimestamp(seconds, UTC)
        except (ValueError, OverflowError, OSError):
            return None
        return Timestamp(moment.isoformat().replace("+00:00", "Z"), EXACT), str(value)
    return None
