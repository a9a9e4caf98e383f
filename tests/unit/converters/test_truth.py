"""Every file of `tests/data` becomes what `EXPECT.tsv` says, and `EXPECT.tsv` says what independent tools counted."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from dropmill.api import BadInput, NotMine
from dropmill.testing import convert
from support.expectations import DATA, EXPECTED, Expectation, figures, truth

BUNDLED = [one for one in EXPECTED if one.converter != "xlsx"]
TRUTH = truth()

# where this project decides otherwise than a tool; the notes of EXPECT.tsv say why
DECIDED = {
    ("junit/junit-plugin__junit-report-bad-duration.xml", "time_sum"),
    ("junit/junit-plugin__junit-report-huge.xml", "time_sum"),
    ("junit/xunit-plugin__2__testcase6_input.xml", "suites"),
    ("junit/xunit-plugin__testcase3_input.xml", "suites"),
    ("junit/xunit-plugin__testcase4_input.xml", "suites"),
    ("junit/xunit-plugin__testcase7_input.xml", "suites"),
    ("wsjf/pyWATS__converted_from_xml.json", "steps"),
    ("wsjf/pyWATS__converted_from_xml.json", "measurements"),
    ("wsjf/pyWATS__converted_from_xml.json", "booleans"),
}
JUNIT_ALIASES = {
    "origin_runs": "tests",
    "origin_runs_succ": "passed",
    "origin_runs_skip": "skipped",
    "origin_runs_error": "errors",
    "origin_suites": "suites",
}


def ids(one: Expectation) -> str:
    return one.file


@pytest.mark.parametrize("one", EXPECTED, ids=ids)
def test_a_file_becomes_what_is_expected_of_it(one: Expectation) -> None:
    if one.converter == "xlsx":
        pytest.importorskip("dropmill_xlsx")
    if one.readable:
        reports = convert(one.converter, one.path).reports
        assert len(reports) == one.reports
        assert figures(one.converter, reports) == dict(one.figures)
        return
    with pytest.raises((BadInput, NotMine)) as caught:
        convert(one.converter, one.path)
    code = caught.value.code if isinstance(caught.value, BadInput) else "NotMine"
    assert code == one.code
    if isinstance(caught.value, BadInput):
        assert caught.value.message
        assert "\n" not in caught.value.message


def differences(one: Expectation) -> dict[str, str]:
    """Every key of TRUTH.tsv that the expectation contradicts."""
    found = TRUTH.get(one.file, {})
    wrong: dict[str, str] = {}
    for key, told in found.items():
        for how, value in told.items():
            if how.startswith("test-results-parser"):
                continue  # a second opinion: its origin's own tests count what is declared
            if key == "expect" and value in ("error", "error-or-empty", "ok"):
                if (value == "ok") != one.readable and one.format != "xml-hostile":
                    wrong[key] = value
                continue
            name, ours = _ours(one, key, how)
            if ours is not None and not _same(name, ours, value):
                wrong[name] = f"{value} by {how}, here {ours}"
    return wrong


def _ours(one: Expectation, key: str, how: str) -> tuple[str, object]:
    facts = one.figures
    if one.format == "junit":
        if key == "origin_runs_fail":
            both = "includes errors" in how
            return "failed", None if not facts else facts["failed"] + (facts["errors"] if both else 0)
        key = JUNIT_ALIASES.get(key, key)
        return key, facts.get(key)
    if one.format == "csv":
        key = {"max_fields": "columns"}.get(key, key)
        return key, repr(facts["delimiter"]) if key == "delimiter" else facts.get(key)
    if one.format == "wsjf" and key.startswith("measures_"):
        if key == "measures_booleanMeas":
            return "booleans", facts.get("booleans")
        total = sum(
            int(next(iter(TRUTH[one.file][f"measures_{kind}Meas"].values())))
            for kind in ("numeric", "string", "boolean")
        )
        return "measurements", None if facts.get("measurements") == total else facts.get("measurements")
    if one.format == "wsjf" and key == "result":
        return key, {"passed": "P", "failed": "F"}[str(facts["outcome"])]
    if one.format == "excel":
        name, _, index = key.partition(":")
        place = {"cells_nonempty": "cells", "num_sum": "num_sums"}.get(name)
        if place is not None:
            return key, facts[place][int(index)]
    return key, facts.get(key)


def _same(name: str, ours: object, theirs: str) -> bool:
    if isinstance(ours, float) or name == "time_sum":
        return abs(float(str(ours)) - float(theirs)) < 0.0015  # some round each time, some the sum
    return str(ours) == theirs


@pytest.mark.parametrize("one", EXPECTED, ids=ids)
def test_the_expectation_is_what_independent_tools_counted(one: Expectation) -> None:
    wrong = differences(one)
    undecided = {key: told for key, told in wrong.items() if (one.file, key) not in DECIDED}
    assert not undecided
    assert all(one.note for key in wrong if (one.file, key) in DECIDED)


def test_no_decision_is_left_over() -> None:
    by_file = {one.file: one for one in EXPECTED}
    assert {(file, key) for file, key in DECIDED if key not in differences(by_file[file])} == set()


def test_the_tables_and_the_folder_agree() -> None:
    lying = {str(path.relative_to(DATA)) for path in DATA.glob("*/*")}
    assert {one.file for one in EXPECTED} == lying
    kinds = Counter(one.converter for one in EXPECTED)
    assert sum(kinds[kind] for kind in ("junit", "csv", "json", "wsjf")) >= 200
    assert sum(path.stat().st_size for path in DATA.rglob("*") if path.is_file()) < 12_000_000


@pytest.mark.parametrize("one", [one for one in BUNDLED if one.readable], ids=ids)
def test_a_report_says_nothing_twice_or_differently(one: Expectation) -> None:
    first = convert(one.converter, one.path).reports
    again = convert(one.converter, one.path).reports
    assert json.dumps(first) == json.dumps(again)
    identities = [report["reportId"] for report in first]
    assert len(set(identities)) == len(identities)
