"""Every golden file becomes the report beside it, and has the sheets, cells and sums that other tools count."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from dropmill.api import BadInput
from dropmill.testing import convert

GOLDEN = Path(__file__).parent / "golden"
FILES = sorted(path for path in GOLDEN.iterdir() if path.suffix in (".xlsx", ".xlsb", ".xls", ".ods"))
READABLE = [path for path in FILES if "pass_protected" not in path.name]


def essence(report: dict[str, Any]) -> dict[str, Any]:
    """Without what depends on where and when the file lies."""
    return {key: value for key, value in report.items() if key not in ("reportId", "source", "schemaVersion")}


@pytest.mark.parametrize("path", READABLE, ids=lambda path: path.name)
def test_a_file_becomes_its_golden_report(path: Path) -> None:
    (report,) = convert("xlsx", path).reports
    expected = path.with_name(path.name + ".expected.json")
    assert essence(report) == json.loads(expected.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", READABLE, ids=lambda path: path.name)
def test_the_figures_are_those_of_other_tools(path: Path) -> None:
    with (GOLDEN / "TRUTH.tsv").open(newline="", encoding="utf-8") as stream:
        truth = {row["key"]: row["value"] for row in csv.DictReader(stream, delimiter="\t") if row["file"] == path.name}
    (report,) = convert("xlsx", path).reports
    sheets = report["root"]["steps"]
    assert str(len(sheets)) == truth["sheets"]
    assert "|".join(sheet["name"] for sheet in sheets) == truth["sheet_names"]
    for number, sheet in enumerate(sheets):
        parts = [part["measurements"][0]["series"]["axes"] for part in sheet.get("steps", ())]
        values = [value for axes in parts for axis in axes for value in axis["values"] if value is not None]
        numbers = [value for value in values if isinstance(value, (int, float)) and not isinstance(value, bool)]
        if f"cells_nonempty:{number}" in truth:
            assert len(values) == int(truth[f"cells_nonempty:{number}"])
            assert sum(numbers) == pytest.approx(float(truth[f"num_sum:{number}"]))


def test_a_protected_workbook_is_refused() -> None:
    with pytest.raises(BadInput) as caught:
        convert("xlsx", GOLDEN / "calamine__pass_protected.xlsb")
    assert caught.value.code == "XLSX-PASSWORD"
