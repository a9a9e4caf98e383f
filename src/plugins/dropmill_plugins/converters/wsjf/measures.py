"""Turns a step's numeric, string and boolean measurements and its charts into measurements with limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dropmill_plugins.converters.common.numbers import Number, parse_number
from dropmill_plugins.converters.common.steps import misc_entry
from dropmill_plugins.converters.wsjf.members import Members

__all__ = ["chart", "measurements"]

Warn = Callable[..., None]
Measurement = dict[str, Any]
Bound = Number | str | None
Reader = Callable[[Members, str, Warn], Measurement]

_LOW_ONLY = {"GT": "low", "GE": "low", "LT": "high", "LE": "high", "EQ": "expected", "NE": "expected"}
"""Comparators of one bound, which WSJF writes as the low limit whichever way it compares, and what it is in a report."""
_PLAIN = frozenset({"P", "F", "PASSED", "FAILED"})
"""Statuses of which the outcome says all."""
_BOTH = ("GTLT", "GTLE", "GELT", "GELE", "LTGT", "LEGE")
_TEXTS = {"EQ": "EQ", "NE": "NE", "CASESENSIT": "EQ", "IGNORECASE": "CASE_EQ"}


def measurements(step: Members, name: str, warn: Warn) -> list[Measurement]:
    """All measurements of a step, numeric ones first; one without a name has the step's."""
    made: list[Measurement] = []
    readers = {"numericMeas": _numeric, "stringMeas": _string, "booleanMeas": _boolean}
    for member, read in readers.items():
        made += [_whole(read, Members(one, step.path(member), warn), name, warn) for one in step.array(member)]
    listed = [
        _whole(_numeric, Members(one, step.path("measurements"), warn), name, warn)
        for one in step.array("measurements")
    ]
    return made + _own(step, name, listed, warn)


def _whole(read: Reader, one: Members, step: str, warn: Warn) -> Measurement:
    """A measurement with what else its object holds."""
    built = read(one, step, warn)
    rest = one.rest()
    if rest:
        built["misc"] = [*built.get("misc", ()), *rest]
    return built


def _own(step: Members, name: str, listed: list[Measurement], warn: Warn) -> list[Measurement]:
    """What some writers put into the step itself. Beside a list, it repeats the first of it and is left out then."""
    made = list(listed)
    if step.has("numericValue"):
        one = _numeric(step, name, warn)
        if not listed or (one["value"], one.get("limits")) != (listed[0]["value"], listed[0].get("limits")):
            made.append(one)
    elif step.has("stringValue", "stringLimit"):
        made.append(_string(step, name, warn))
    if step.has("passFailStatus"):
        made.append(_boolean(step, name, warn))
    return made


def _numeric(one: Members, step: str, warn: Warn) -> Measurement:
    value, raw = one.number("value", "numericValue")
    low, _ = one.number("lowLimit")
    high, _ = one.number("highLimit")
    built = _measurement(one, step, value)
    unit = one.text("unit")
    if unit:
        built["unit"] = unit
    if raw is not None and not isinstance(value, dict):
        built["raw"] = raw
    limits = _limits(one.text("compOp"), low, high, warn, one.path("compOp"))
    if limits is not None:
        built["limits"] = [limits]
    return built


def _string(one: Members, step: str, warn: Warn) -> Measurement:
    built = _measurement(one, step, one.text("value", "stringValue"))
    expected = one.text("limit", "stringLimit")
    told = one.text("compOp")
    known = _TEXTS.get((told or "").upper())
    if told is not None and told.upper() == "LOG":
        built["limits"] = [{"comparator": "LOG"} | ({} if expected is None else {"expected": expected})]
    elif known is not None and expected is not None:
        built["limits"] = [{"comparator": known, "expected": expected} | ({"text": told} if told != known else {})]
    elif told is not None or expected is not None:
        built["limits"] = [
            _unknown(told or "", None, None, warn, one.path("compOp")) | ({"expected": expected} if expected else {})
        ]
    return built


def _boolean(one: Members, step: str, _: Warn) -> Measurement:
    """Its value is its status, but where a writer tells a value of its own."""
    built = _measurement(one, step, None)
    told = one.take("passFailStatus", "value")
    built["value"] = told if isinstance(told, bool) else {"passed": True, "failed": False}.get(built["status"])
    return built


def _measurement(one: Members, step: str, value: Any) -> Measurement:
    name = one.text("name", "index") or step
    status, raw = one.outcome("status")
    built: Measurement = {"name": name, "value": value, "status": status}
    if raw is not None and raw.upper() not in _PLAIN:
        built["misc"] = [misc_entry("status", raw)]
    return built


def _limits(told: str | None, low: Bound, high: Bound, warn: Warn, where: str) -> dict[str, Any] | None:
    if told is None:
        if low is None and high is None:
            return None
        comparator = "GELE" if low is not None and high is not None else "GE" if low is not None else "LE"
        return _bounds(comparator, low, high)
    comparator = told.upper()
    if comparator == "LOG":
        return _bounds("LOG", low, high)
    if comparator in _LOW_ONLY:
        place = _LOW_ONLY[comparator]
        bound = high if low is None or (place == "high" and high is not None) else low
        if bound is not None:
            return {"comparator": comparator, place: bound}
    if comparator in _BOTH and low is not None and high is not None:
        return _bounds(comparator, low, high)
    return _unknown(told, low, high, warn, where)


def _unknown(told: str, low: Bound, high: Bound, warn: Warn, where: str) -> dict[str, Any]:
    """A comparison that the schema has no word for, or that lacks a bound: kept as it is written, comparing nothing."""
    if told.upper() not in ("LTGE", "LEGT"):
        warn("WSJF-LIMIT", f"{where} {told[:40]!r} is not known or lacks a limit: kept as text")
    return {**_bounds("LOG", low, high), "text": told}


def _bounds(comparator: str, low: Bound, high: Bound) -> dict[str, Any]:
    bounds = {"low": low, "high": high}
    return {"comparator": comparator, **{key: value for key, value in bounds.items() if value is not None}}


def chart(step: Members, name: str, warn: Warn) -> list[Measurement]:
    """A step's chart: each of its series is a measurement with two axes."""
    found = step.object("chart")
    if found is None:
        return []
    label = found.text("label") or name
    x = {"name": found.text("xLabel") or "x", "unit": found.text("xUnit")}
    y = {"name": found.text("yLabel") or "y", "unit": found.text("yUnit")}
    made: list[Measurement] = []
    for one in found.array("series"):
        series = Members(one, found.path("series"), warn)
        title = series.text("name") or label
        across, up = _points(series.take("xdata", "xData")), _points(series.take("ydata", "yData"))
        made.append(
            {
                "name": title,
                "value": max(len(across), len(up)),
                "status": "unknown",
                "series": {"axes": [{**x, "values": across}, {**y, "values": up}]},
                "misc": [misc_entry("chart", label), *series.rest()],
            }
        )
    rest = found.rest("chart.")
    if rest and made:
        made[0]["misc"].extend(rest)
    return made


def _points(value: Any) -> list[Any]:
    """The values of a series: an array, or a text with semicolons; what is no number stays text."""
    if isinstance(value, str):
        texts = [text.strip() for text in value.strip().strip(";").split(";")] if value.strip(" ;") else []
        return [text if (number := parse_number(text)) is None else number for text in texts]
    if isinstance(value, list):
        return [one if one is None or isinstance(one, (str, int, float)) else str(one) for one in value]
    return []
