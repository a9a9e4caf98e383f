"""The declared mapping, options and refusals, on workbooks written here cell by cell."""

from __future__ import annotations

import io
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest
from dropmill_xlsx.converter import XlsxConverter
from dropmill_xlsx.workbook import column_letter

from dropmill.api import BadInput, Head, Level, NotMine
from dropmill.testing import convert

GOLDEN = Path(__file__).parent / "golden"
MAPPED: dict[str, Any] = {
    "columns": {"unit.serial": "SN", "outcome": "Result", "start": "At"},
    "measurements": [{"column": "V", "unit": "V", "low": 1, "high": 2}],
    "misc": ["Note"],
}
ROWS = [
    ["SN", "Result", "V", "At", "Note"],
    [17, "PASS", 1.5, "2024-01-02T03:04:05", "n"],
    ["18", "nok", 3, "2024-01-02", None],
]

Make = Callable[..., Path]


def cell(reference: str, value: Any) -> str:
    if isinstance(value, bool):
        return f'<c r="{reference}" t="b"><v>{int(value)}</v></c>'
    if isinstance(value, (int, float)):
        return f'<c r="{reference}"><v>{value}</v></c>'
    return f'<c r="{reference}" t="inlineStr"><is><t>{escape(value)}</t></is></c>'


def sheet_xml(rows: list[list[Any]]) -> str:
    body = "".join(
        f'<row r="{number}">'
        + "".join(
            cell(f"{column_letter(place)}{number}", value)
            for place, value in enumerate(row, start=1)
            if value is not None
        )
        + "</row>"
        for number, row in enumerate(rows, start=1)
    )
    return f'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>{body}</sheetData></worksheet>'


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A workbook of these sheets, by name."""

    def write(sheets: dict[str, list[list[Any]] | str], name: str = "book.xlsx") -> Path:
        path = tmp_path / name
        main = "http://schemas.openxmlformats.org"
        listed = "".join(
            f'<sheet name="{title}" sheetId="{n}" r:id="r{n}"/>' for n, title in enumerate(sheets, start=1)
        )
        targets = "".join(
            f'<Relationship Id="r{n}" Type="{main}/officeDocument/2006/relationships/worksheet" '
            f'Target="worksheets/sheet{n}.xml"/>'
            for n in range(1, len(sheets) + 1)
        )
        parts = {
            "[Content_Types].xml": f'<Types xmlns="{main}/package/2006/content-types"/>',
            "_rels/.rels": f'<Relationships xmlns="{main}/package/2006/relationships"><Relationship Id="r1" '
            f'Type="{main}/officeDocument/2006/relationships/officeDocument" Target="xl/workbook.xml"/></Relationships>',
            "xl/workbook.xml": f'<workbook xmlns="{main}/spreadsheetml/2006/main" '
            f'xmlns:r="{main}/officeDocument/2006/relationships"><sheets>{listed}</sheets></workbook>',
            "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{main}/package/2006/relationships">{targets}</Relationships>',
        }
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for part, text in parts.items():
                archive.writestr(part, text)
            for number, rows in enumerate(sheets.values(), start=1):
                archive.writestr(f"xl/worksheets/sheet{number}.xml", rows if isinstance(rows, str) else sheet_xml(rows))
        return path

    return write


def misc(step: dict[str, Any]) -> dict[str, Any]:
    return {entry["name"]: entry["value"] for entry in step.get("misc", ())}


def refused(path: Path, options: dict[str, Any] | None = None) -> BadInput:
    with pytest.raises(BadInput) as caught:
        convert("xlsx", path, options)
    return caught.value


def test_one_report_a_row(make: Make) -> None:
    first, second = convert("xlsx", make({"S": ROWS}), MAPPED).reports
    assert (first["outcome"], first["unit"], first["start"], first["startPrecision"]) == (
        "passed",
        {"serial": "17"},
        "2024-01-02T03:04:05",
        "local-no-offset",
    )
    assert first["root"]["measurements"] == [
        {
            "name": "V",
            "value": 1.5,
            "status": "unknown",
            "unit": "V",
            "limits": [{"comparator": "GELE", "low": 1, "high": 2}],
        }
    ]
    assert misc(first) == {"sheet": "S", "row": 2, "Note": "n"}
    assert (second["outcome"], second["start"], second["startPrecision"], misc(second)) == (
        "failed",
        "2024-01-02",
        "date-only",
        {"sheet": "S", "row": 3},
    )


def test_one_report_a_file(make: Make) -> None:
    options = {
        "reports": "file",
        "kind": "inspection",
        "columns": {"unit.serial": "SN", "operator": "=B"},
        "measurements": [{"column": "V", "name": "Volt", "high": 2}, {"column": "V", "low": 1}],
        "misc": ["OK"],
    }
    rows = [["SN", "Op", "V", "OK"], ["7", "me", 1, True], ["7", "me", None, False]]
    (report,) = convert("xlsx", make({"A": rows, "B": []}), options).reports
    assert (report["kind"], report["unit"], report["operator"]) == ("inspection", {"serial": "7"}, "me")
    one, two = report["root"]["steps"]
    assert [entry["limits"][0]["comparator"] for entry in one["measurements"]] == ["LE", "GE"]
    assert (one["name"], two["name"], misc(two), "measurements" in two) == ("row 2", "row 3", {"OK": False}, False)


def test_sheets_headers_and_letters(make: Make) -> None:
    path = make({"A": [["x"], ["SN"], ["1"]], "B": [["SN"], ["2"]]})
    assert [
        r["unit"]["serial"] for r in convert("xlsx", path, {"sheets": ["B"], "columns": {"unit.serial": "SN"}}).reports
    ] == ["2"]
    assert [
        r["unit"]["serial"]
        for r in convert("xlsx", path, {"sheets": [1], "header": 2, "columns": {"unit.serial": "SN"}}).reports
    ] == ["1"]
    options = {"sheets": [2], "header": 0, "columns": {"unit.serial": "=A"}}
    assert [r["unit"]["serial"] for r in convert("xlsx", path, options).reports] == ["SN", "2"]
    assert list(map(column_letter, (1, 26, 27, 702, 703))) == ["A", "Z", "AA", "ZZ", "AAA"]


def test_a_data_report_with_headers(make: Make) -> None:
    (report,) = convert("xlsx", make({"S": [["a", None], [1, "x"], [None, True]]}), {"header": 1}).reports
    (sheet,) = report["root"]["steps"]
    (part,) = sheet["steps"]
    assert part["name"] == "rows 2-3"
    assert part["measurements"][0]["series"]["axes"] == [
        {"name": "a", "values": [1.0, None]},
        {"name": "B", "values": ["x", True]},
    ]
    assert misc(sheet) == {"cells": 4, "firstColumn": "A"}


def test_long_sheets_come_in_slices(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(XlsxConverter, "slice_rows", 2)
    (report,) = convert("xlsx", make({"S": [[1], [2], [3]]})).reports
    assert [part["name"] for part in report["root"]["steps"][0]["steps"]] == ["rows 1-2", "rows 3-3"]


@pytest.mark.parametrize(
    ("rows", "options", "code", "told"),
    [
        ([["Sn"], ["1"]], {"columns": {"unit.serial": "SN"}}, "XLSX-COLUMN-MISSING", "did you mean 'Sn'"),
        ([["a"], ["1"]], {"columns": {"unit.serial": "=C"}}, "XLSX-COLUMN-MISSING", "column C"),
        ([["a"], ["1"]], {"header": 0, "columns": {"unit.serial": "a"}}, "XLSX-COLUMN-MISSING", "header = 0"),
        ([["a", "a"], ["1", "2"]], {"columns": {"unit.serial": "a"}}, "XLSX-COLUMN-DOUBLED", "A and B"),
        ([["a"], ["x"]], {"measurements": [{"column": "a"}]}, "XLSX-VALUE", "row 2"),
        ([["a"], [True]], {"measurements": [{"column": "a"}]}, "XLSX-VALUE", "true"),
        ([["a"], ["maybe"]], {"columns": {"outcome": "a"}}, "XLSX-OUTCOME", "'maybe'"),
        ([["a"], ["PASS"]], {"columns": {"outcome": "a"}, "outcomes": {"gut": "passed"}}, "XLSX-OUTCOME", "'PASS'"),
        ([["a"], ["noon"]], {"columns": {"start": "a"}}, "XLSX-START", "'noon'"),
        ([["a"], [5]], {"columns": {"start": "a"}}, "XLSX-START", "'5'"),
        ([["a"], ["1"], ["2"]], {"columns": {"unit.serial": "a"}, "reports": "file"}, "XLSX-ROWS-DISAGREE", "row 2"),
        ([["a"]], {"columns": {"unit.serial": "a"}}, "XLSX-NO-ROWS", "no sheet"),
        ([["a"]], {"columns": {"unit.serial": "a"}, "reports": "file"}, "XLSX-NO-ROWS", "no sheet"),
        ([["a"], ["1"]], {"header": 9, "columns": {"unit.serial": "a"}}, "XLSX-NO-HEADER", "row 9"),
        ([["a"], ["1"]], {"sheets": ["T"], "columns": {"unit.serial": "a"}}, "XLSX-NO-SHEET", "'S'"),
        ([["a"], ["1"]], {"sheets": [2]}, "XLSX-NO-SHEET", "'S'"),
    ],
)
def test_a_workbook_that_is_not_as_declared(
    rows: list[list[Any]], options: dict[str, Any], code: str, told: str, make: Make
) -> None:
    error = refused(make({"S": rows}), options)
    assert error.code == code
    assert told in error.message


def test_a_start_with_an_offset_is_exact(make: Make) -> None:
    (report,) = convert(
        "xlsx", make({"S": [["a"], ["2024-01-02T03:04:05+02:00"]]}), {"columns": {"start": "a"}}
    ).reports
    assert (report["start"], report["startPrecision"]) == ("2024-01-02T03:04:05+02:00", "exact")


def test_limits_hold_before_anything_is_unpacked(make: Make) -> None:
    far = sheet_xml([[1]]).replace("</sheetData>", '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row></sheetData>')
    assert refused(make({"S": far})).code == "XLSX-TOO-LARGE"
    assert refused(make({"S": [[n] for n in range(1_001)]}), {"max_cells": 1_000}).code == "XLSX-TOO-LARGE"
    assert refused(make({"S": [["x" * 2_000_000]]}), {"max_unpacked": 1_048_576}).code == "XLSX-TOO-LARGE"


def test_a_zip_that_lies_about_its_size(make: Make) -> None:
    path = make({"S": [["x" * 3_000_000]]})
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        size = archive.getinfo("xl/worksheets/sheet1.xml").file_size
    at = data.rfind(size.to_bytes(4, "little"))
    data[at : at + 4] = (10).to_bytes(4, "little")
    path.write_bytes(data)
    assert refused(path, {"max_unpacked": 1_048_576}).code in ("XLSX-DAMAGED", "XLSX-TOO-LARGE")


@pytest.mark.parametrize(
    "path", sorted(GOLDEN.glob("*.xls*")) + sorted(GOLDEN.glob("*.ods")), ids=lambda path: path.name
)
def test_cut_and_damaged_workbooks_are_refused(path: Path, tmp_path: Path) -> None:
    if path.name.endswith(".json"):
        return
    data = path.read_bytes()
    rng = random.Random(path.name)
    for turn in range(8):
        made = bytearray(data[: rng.randrange(8, len(data))] if turn < 4 else data)
        for _ in range(0 if turn < 4 else 30):
            made[rng.randrange(8, len(made))] = rng.randrange(256)
        target = tmp_path / path.name
        target.write_bytes(made)
        try:
            convert("xlsx", target)
        except (BadInput, NotMine):
            continue
        assert turn >= 4 or path.suffix == ".xls"  # an OLE file may end in bytes that no part of it uses


def test_containers_that_are_no_workbook(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert refused(path).code == "XLSX-DAMAGED"


@pytest.mark.parametrize(
    ("data", "level"),
    [
        (b"PK\x03\x04....[Content_Types].xml", Level.LIKELY),
        (b"PK\x03\x04....readme.txt", Level.POSSIBLE),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "Workbook".encode("utf-16-le"), Level.LIKELY),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Level.POSSIBLE),
        (b"", None),
        (b"a,b", None),
    ],
)
def test_sniffing(data: bytes, level: Level | None) -> None:
    match = XlsxConverter({}).sniff(Head("a.xlsx", len(data), data))
    assert (None if match is None else match.level) == level
