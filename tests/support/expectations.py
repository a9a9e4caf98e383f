"""What the files of `tests/data` should become, and how to see it in the reports that they did become.

`EXPECT.tsv` names each file's converter, whether it can be read, how many reports it gives and the figures in them;
`TRUTH.tsv` holds what independent tools counted. `figures` counts the same things in finished reports.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["DATA", "EXPECTED", "Expectation", "figures", "truth"]

DATA = Path(__file__).parents[1] / "data"


@dataclass(frozen=True)
class Expectation:
    """One file."""

    file: str
    """Relative to `tests/data`."""
    converter: str
    """That reads it, or says why it cannot."""
    readable: bool
    code: str
    """Of the refusal; `NotMine` where no bundled converter takes it for its own."""
    reports: int
    figures: Mapping[str, Any]
    note: str
    """Where a figure is a decision and not what every tool says: why."""

    @property
    def path(self) -> Path:
        return DATA / self.file

    @property
    def format(self) -> str:
        return self.file.partition("/")[0]


def _load() -> list[Expectation]:
    with (DATA / "EXPECT.tsv").open(newline="", encoding="utf-8") as stream:
        return [
            Expectation(
                file=row["file"],
                converter=row["converter"],
                readable=row["verdict"] == "readable",
                code=row["code"],
                reports=int(row["reports"]),
                figures=json.loads(row["figures"] or "{}"),
                note=row["note"],
            )
            for row in csv.DictReader(stream, delimiter="\t")
        ]


EXPECTED: list[Expectation] = _load()


def truth() -> dict[str, dict[str, dict[str, str]]]:
    """`TRUTH.tsv` as file, key, source of the figure, figure."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    with (DATA / "TRUTH.tsv").open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream, delimiter="\t"):
            found.setdefault(row["file"], {}).setdefault(row["key"], {})[row["how"]] = row["value"]
    return found


def figures(converter: str, reports: Sequence[Any]) -> dict[str, Any]:
    """The figures of a file's reports, as `EXPECT.tsv` has them."""
    counted = {"junit": _junit, "csv": _csv, "json": _json, "wsjf": _wsjf, "xlsx": _xlsx}[converter](reports)
    return {key: round(value, 6) if isinstance(value, float) else value for key, value in counted.items()}


def walk(step: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A step and all below it."""
    yield step
    for child in step.get("steps", ()):
        yield from walk(child)


def table(report: Mapping[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """Header and rows of a `data` report of a delimited text."""
    names: list[str] = []
    rows: list[list[Any]] = []
    for step in report["root"]["steps"]:
        axes = step["measurements"][0]["series"]["axes"]
        names = [axis["name"] for axis in axes]
        rows.extend(list(row) for row in zip(*(axis["values"] for axis in axes), strict=True))
    return names, rows


def _junit(reports: Sequence[Any]) -> dict[str, Any]:
    (report,) = reports
    steps = list(walk(report["root"]))[1:]
    cases = [step for step in steps if step["type"] == "test"]
    outcomes = Counter(case["outcome"] for case in cases)
    names = sorted(f"{case.get('class') or ''}|{case['name']}" for case in cases)
    return {
        "outcome": report["outcome"],
        "tests": len(cases),
        "passed": outcomes["passed"],
        "failed": outcomes["failed"],
        "errors": outcomes["error"],
        "skipped": outcomes["skipped"],
        "suites": sum(step["type"] == "group" for step in steps),
        "time_sum": float(sum(case.get("duration") or 0 for case in cases)),
        "names_sha256": hashlib.sha256("\n".join(names).encode()).hexdigest(),
    }


def _csv(reports: Sequence[Any]) -> dict[str, Any]:
    (report,) = reports
    misc = {entry["name"]: entry["value"] for entry in report["misc"]}
    names, rows = table(report)
    objects = [dict(zip(names, row, strict=True)) for row in rows]
    text = json.dumps(objects, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return {
        "rows": len(rows),
        "columns": max((len(names), misc["columns"])),
        "records": len(rows) + misc["blankLines"] + (misc["header"] > 0),
        "delimiter": misc["delimiter"],
        "rows_json_sha256": hashlib.sha256(text.encode()).hexdigest(),
    }


def _json(reports: Sequence[Any]) -> dict[str, Any]:
    kept = [one for report in reports for step in walk(report["root"]) for one in step.get("measurements", ())]
    return {"values": sum(len(one["series"]["axes"][0]["values"]) if "series" in one else 1 for one in kept)}


def _wsjf(reports: Sequence[Any]) -> dict[str, Any]:
    (report,) = reports
    unit, steps = report["unit"], list(walk(report["root"]))
    measured = [one for step in steps for one in step.get("measurements", ()) if "series" not in one]
    booleans = sum(isinstance(one["value"], bool) for one in measured)
    counted: dict[str, Any] = {
        "kind": report["kind"],
        "outcome": report["outcome"],
        "sn": unit["serial"],
        "pn": unit["partNumber"],
        "rev": unit["revision"],
        "machineName": report["station"]["name"],
        "processCode": str(report["process"]["code"]),
        "start": report["start"],
    }
    if report["kind"] == "test":
        counted |= {"steps": len(steps), "measurements": len(measured), "booleans": booleans}
    else:
        counted["failures"] = len(steps) - 1
    return counted


def _xlsx(reports: Sequence[Any]) -> dict[str, Any]:
    (report,) = reports
    cells, sums = [], []
    for sheet in report["root"]["steps"]:
        values = [
            value
            for part in sheet.get("steps", ())
            for axis in part["measurements"][0]["series"]["axes"]
            for value in axis["values"]
            if value is not None
        ]
        cells.append(len(values))
        numbers = [value for value in values if isinstance(value, (int, float)) and not isinstance(value, bool)]
        sums.append(round(float(sum(numbers)), 6))
    return {"sheets": len(cells), "cells": cells, "num_sums": sums}
