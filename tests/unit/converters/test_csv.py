"""Dialects, encodings and the declared mapping of delimited texts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dropmill.api import BadInput, Head, Level, RetryLater
from dropmill.testing import RecordingContext
from dropmill.testing.converting import FileSource, find_spec, with_defaults
from dropmill_plugins.converters.csv.converter import CsvConverter
from dropmill_plugins.converters.csv.dialect import find_delimiter
from support.expectations import table

Run = Callable[..., Any]

MAPPED = {
    "columns": {"unit.serial": "SN", "outcome": "Result"},
    "measurements": [{"column": "V", "unit": "V", "low": 1, "high": 2}],
}


def refused(run: Run, text: str | bytes, options: dict[str, Any] | None = None, name: str | None = None) -> BadInput:
    with pytest.raises(BadInput) as caught:
        run("csv", text, options, name=name)
    return caught.value


def misc(step: dict[str, Any]) -> dict[str, Any]:
    return {entry["name"]: entry["value"] for entry in step.get("misc", ())}


def codes(result: Any) -> list[str]:
    return [warning["code"] for warning in result.warnings]


# --- without a mapping -----------------------------------------------------------------------------------------------------


def test_every_cell_is_kept(run: Run) -> None:
    result = run("csv", 'a,b,b\r\n1,"x, ""y""\r\nz",\r\n\r\n, 007 ,true\r\n')
    (report,) = result.reports
    assert (report["kind"], report["outcome"], report["source"]["encoding"]) == ("data", "unknown", "utf-8")
    assert table(report) == (["a", "b", "b"], [["1", 'x, "y"\r\nz', ""], ["", " 007 ", "true"]])
    assert misc(report) == {"delimiter": ",", "header": 1, "rows": 2, "columns": 3, "blankLines": 1}
    assert result.records[0].fields == {"rows": 2, "columns": 3}
    assert [step["name"] for step in report["root"]["steps"]] == ["rows 1-2"]


def test_uneven_rows_are_kept_with_a_warning(run: Run) -> None:
    result = run("csv", "a,b\n1\n1,2,3\n9,9\n")
    assert table(result.reports[0]) == (["a", "b", "column 3"], [["1", None, None], ["1", "2", "3"], ["9", "9", None]])
    assert [(one["code"], one["line"]) for one in result.warnings] == [("CSV-RAGGED", 2), ("CSV-RAGGED", 3)]
    assert refused(run, "a,b\n1\n", {"ragged": "error"}).code == "CSV-RAGGED"


def test_a_file_that_ends_within_a_row_is_refused(run: Run) -> None:
    error = refused(run, "a,b,c\n1,2,3\n4,5")
    assert (error.code, error.line) == ("CSV-TRUNCATED", 3)
    assert table(run("csv", "a,b,c\n1,2,3\n4,5,6").reports[0])[1] == [["1", "2", "3"], ["4", "5", "6"]]
    assert table(run("csv", "a,b\n1,2\n4", {"ragged": "pad"}).reports[0])[1] == [["1", "2"], ["4", None]]


def test_a_header_alone_and_one_column(run: Run) -> None:
    (report,) = run("csv", "a,b\n").reports
    assert table(report) == (["a", "b"], [])
    (report,) = run("csv", "name\nx\ny\n").reports
    assert table(report) == (["name"], [["x"], ["y"]])
    assert misc(report)["delimiter"] == ""


def test_without_a_header_columns_have_numbers(run: Run) -> None:
    (report,) = run("csv", "1,2\n3,4\n", {"header": 0}).reports
    assert table(report) == (["column 1", "column 2"], [["1", "2"], ["3", "4"]])
    assert misc(report)["header"] == 0


def test_lines_to_leave_out(run: Run) -> None:
    text = 'Instrument "7\n# made by\nunits,,\n\na,b\n#c,1\n2,"#d\n#e"\n'
    (report,) = run("csv", text, {"skip_rows": 1, "comment": "#", "header": 2, "delimiter": ","}).reports
    assert table(report) == (["a", "b"], [["2", "#d\n#e"]])
    assert misc(report)["header"] == 5


@pytest.mark.parametrize(("text", "ends"), [("a,b\n1,2\n", "\n"), ("a,b\n1,2\n", "\r"), ("a,b\n1,2\n", "\r\n")])
def test_line_ends(text: str, ends: str, run: Run) -> None:
    assert table(run("csv", text.replace("\n", ends)).reports[0]) == (["a", "b"], [["1", "2"]])


@pytest.mark.parametrize(
    ("options", "text", "row"),
    [
        ({"delimiter": ";"}, "a;b\n1,5;2\n", ["1,5", "2"]),
        ({"quotechar": "'"}, "a,b\n'1,2',3\n", ["1,2", "3"]),
        ({"quotechar": "", "delimiter": ","}, 'a,b\n"1,2"\n', ['"1', '2"']),
        ({"escapechar": "\\", "doublequote": False}, 'a,b\n"x\\"y",2\n', ['x"y', "2"]),
        ({"skipinitialspace": True}, "a,b\n1,   2\n", ["1", "2"]),
        ({"lenient_quotes": True}, 'a,b\n"1"x,2\n', ["1x", "2"]),
        ({"delimiter": "\x1f"}, "a\x1fb\n1\x1f2\n", ["1", "2"]),
    ],
)
def test_dialects(options: dict[str, Any], text: str, row: list[str], run: Run) -> None:
    assert table(run("csv", text, options).reports[0])[1] == [row]


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("", "CSV-EMPTY", None),
        ("\n\n", "CSV-NO-HEADER", None),
        ('a,b\n"1,2\n3,4\n', "CSV-QUOTES", 2),
        ('a,b\n"1"x,2\n', "CSV-QUOTES", 2),
    ],
)
def test_texts_that_are_no_table(text: str, code: str, line: int | None, run: Run) -> None:
    with pytest.raises(BadInput) as caught:
        list(
            CsvConverter(with_defaults(find_spec("csv").options_schema, {})).convert(
                _source(run, text), RecordingContext()
            )
        )
    assert (caught.value.code, caught.value.line) == (code, line)


def _source(run: Run, text: str) -> FileSource:
    import tempfile
    from pathlib import Path

    path = Path(tempfile.mkdtemp()) / "x.csv"
    path.write_text(text, newline="")
    return FileSource.of(path)


def test_a_header_beyond_the_end(run: Run) -> None:
    error = refused(run, "a,b\n1,2\n", {"header": 5})
    assert error.code == "CSV-NO-HEADER"
    assert "2 rows" in error.message


# --- delimiters and encodings ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("a,b\n1,2\n", ","),
        ("a;b\n1,5;2,5\n", ";"),
        ("1,5;2,5\n3,5;4,5\n", ";"),
        ("a\tb\n1,2\t3\n", "\t"),
        ("a|b\n1|2\n", "|"),
        ("a,b\n1,2,3\n1\n4,5\n", ","),
        ('a,b\n"1;2",3\n', ","),
        ("# note\na;b;c\n1;2;3\n4;5;6\n", ";"),
        ("a;b\n1;2, 3\n4;5\n6;7\n8;9, 0\n", ";"),
        ("a,b;c\nd,e\nf,g\nh,i\nj,k\nl,m\n", ","),
    ],
)
def test_the_delimiter_shows_itself(text: str, delimiter: str) -> None:
    guess = find_delimiter(text.splitlines(keepends=True), {"quotechar": '"'}, truncated=False)
    assert guess.delimiter == delimiter, guess.reason


@pytest.mark.parametrize(
    "text",
    [
        "a,b;c\n1,2;3\n",
        "a|b,c\nx|y,z\n",
        "Dear reader, this\nis a text.\nNothing here, or so,\nis a table.\n",
        "a,b,c\nd;e;f\n",
    ],
)
def test_an_unclear_delimiter_is_refused(text: str, run: Run) -> None:
    error = refused(run, text)
    assert error.code == "CSV-DELIMITER-UNSURE"
    assert "declare it" in error.message


def test_the_last_row_of_a_sample_may_be_cut() -> None:
    guess = find_delimiter(["a,b\n", "1,2\n", "3"], {"quotechar": '"'}, truncated=True)
    assert (guess.delimiter, guess.columns) == (",", 2)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "utf-32-be"])
def test_encodings_show_themselves(encoding: str, run: Run) -> None:
    result = run("csv", "näme,b\nGröße,1\n".encode(encoding))
    assert table(result.reports[0]) == (["näme", "b"], [["Größe", "1"]])
    assert codes(result) == []


def test_other_encodings_are_declared(run: Run) -> None:
    data = "näme,b\nGröße,1\n".encode("cp1252")
    result = run("csv", data)
    assert table(result.reports[0])[0] == ["näme", "b"]
    assert codes(result) == ["CSV-ENCODING"]
    assert codes(run("csv", data, {"encoding": "cp1252"})) == []
    assert refused(run, data, {"encoding": "utf-8"}).code == "CSV-ENCODING"
    assert refused(run, b"a,b\n\x81,\x8d\n").code == "CSV-ENCODING"
    assert refused(run, b"a,b\n" * 20_000 + b"\0\0\0").code == "CSV-BINARY"
    assert (
        refused(run, b"a,b\n" + b"1,2\n" * 50_000 + b"\xff,2\n", {"encoding": "utf-8", "delimiter": ","}).line == 50_002
    )
    with pytest.raises(RetryLater, match="klingon"):
        run("csv", data, {"encoding": "klingon"})


# --- with a mapping --------------------------------------------------------------------------------------------------------


def test_one_report_a_row(run: Run) -> None:
    result = run("csv", "SN,Result,V,Note\nA1,PASS,1.5,fine\nA2,fail,2.5,\n", {**MAPPED, "misc": "rest"})
    first, second = result.reports
    assert (first["kind"], first["outcome"], first["unit"], first["startPrecision"]) == (
        "test",
        "passed",
        {"serial": "A1"},
        "unknown",
    )
    assert first["root"]["rawOutcome"] == "PASS"
    assert first["root"]["measurements"] == [
        {
            "name": "V",
            "value": 1.5,
            "status": "unknown",
            "unit": "V",
            "limits": [{"comparator": "GELE", "low": 1, "high": 2}],
        }
    ]
    assert misc(first) == {"line": 2, "Note": "fine"}
    assert (second["outcome"], second["unit"]["serial"], misc(second)) == ("failed", "A2", {"line": 3})
    assert first["reportId"] != second["reportId"]


def test_judged_measurements_decide_where_no_column_does(run: Run) -> None:
    options = {"measurements": [{"column": "V", "low": 1, "high": 2, "judge": True}, {"column": "T", "type": "text"}]}
    good, bad = run("csv", "V,T\n1.5,x\n2.5,\n", options).reports
    assert (good["outcome"], bad["outcome"]) == ("unknown", "failed")  # the text is not judged
    assert [one["status"] for one in good["root"]["measurements"]] == ["passed", "unknown"]
    assert len(bad["root"]["measurements"]) == 1


def test_everything_of_a_measurement_may_stand_in_columns(run: Run) -> None:
    options = {
        "measurements": [
            {
                "column": "Value",
                "name_column": "Test",
                "unit_column": "Unit",
                "low_column": "LL",
                "high_column": "UL",
                "status_column": "State",
                "values": {"gut": "passed", "schlecht": "failed"},
            }
        ],
        "reports": "file",
        "decimal": ",",
        "thousands": ".",
        "missing": ["-"],
        "step": {
            "name": "Test",
            "outcome": {"column": "State", "values": {"gut": "passed", "schlecht": "failed"}},
            "duration": "Took",
            "start": "At",
        },
        "columns": {
            "unit.serial": "SN",
            "start": {"column": "Day", "format": "%d.%m.%Y"},
            "station.name": {"value": "ICT-1"},
        },
        "misc": ["Note"],
    }
    text = (
        "SN;Day;Test;Value;Unit;LL;UL;State;Took;At;Note\n"
        "7;01.02.2024;Volt;1.234,5;V;1.000;2.000;gut;0,5;2024-02-01T10:00:00Z;n1\n"
        "7;01.02.2024;Amp;-;A;-;-;schlecht;;2024-02-01T10:00:00;\n"
        ";;Nothing;;;;;;;;\n"
        ";;;;;;;;;;\n"
    )
    result = run("csv", text, options)
    (report,) = result.reports
    assert (report["unit"], report["station"], report["start"], report["startPrecision"]) == (
        {"serial": "7"},
        {"name": "ICT-1"},
        "2024-02-01",
        "date-only",
    )
    volt, amp, nothing = report["root"]["steps"]
    assert volt == {
        "name": "Volt",
        "type": "test",
        "outcome": "passed",
        "rawOutcome": "gut",
        "duration": 0.5,
        "start": "2024-02-01T10:00:00Z",
        "measurements": [
            {
                "name": "Volt",
                "value": 1234.5,
                "status": "passed",
                "unit": "V",
                "limits": [{"comparator": "GELE", "low": 1000, "high": 2000}],
            }
        ],
        "misc": [{"name": "Note", "value": "n1"}],
    }
    assert amp["measurements"] == [{"name": "Amp", "value": None, "status": "failed", "unit": "A"}]
    assert misc(amp) == {"start": "2024-02-01T10:00:00"}
    assert "measurements" not in nothing
    assert (report["outcome"], report["counts"]) == ("failed", {"total": 3, "passed": 1, "failed": 1, "unknown": 1})
    assert codes(result) == ["CSV-BLANK-ROW"]


def test_kinds_of_values(run: Run) -> None:
    options = {
        "measurements": [
            {"column": "b", "type": "boolean"},
            {"column": "n", "name": "N"},
            {"column": "x", "optional": True},
        ]
    }
    (report,) = run("csv", "b,n\nYes,NaN\n", options).reports
    assert [(one["name"], one["value"]) for one in report["root"]["measurements"]] == [
        ("b", True),
        ("N", {"nonFinite": "NaN"}),
    ]
    assert refused(run, "b,n\nmaybe,1\n", options).message.startswith("'b' should be yes or no")
    error = refused(run, "b,n\nyes,1\nno,one\n", options)
    assert (error.code, error.line) == ("CSV-VALUE", 3)
    options = {"measurements": [{"column": "s", "type": "text", "expected": "ok", "judge": True}]}
    assert run("csv", "s,t\nok,\n", options).reports[0]["outcome"] == "passed"
    options = {"measurements": [{"column": "s", "comparator": "GELE", "low": 1}]}
    assert refused(run, "s,t\n1,\n", options).code == "CSV-LIMIT"
    options = {"measurements": [{"column": "s", "expected_column": "t"}]}
    (report,) = run("csv", "s,t\n0.12345678901234567890,1\n", options).reports
    assert report["root"]["measurements"][0]["raw"] == "0.12345678901234567890"
    assert report["root"]["measurements"][0]["limits"] == [{"comparator": "EQ", "expected": 1}]


@pytest.mark.parametrize(
    ("text", "options", "code", "line", "told"),
    [
        ("Sn,Result,V\n1,PASS,1\n", MAPPED, "CSV-COLUMN-MISSING", 1, "did you mean 'Sn'?"),
        ("SN,SN,Result,V\n1,1,PASS,1\n", MAPPED, "CSV-COLUMN-DOUBLED", 1, "columns 1 and 2"),
        ("SN,Result,V\n1,MAYBE,1\n", MAPPED, "CSV-OUTCOME", 2, "'MAYBE'"),
        ("SN,Result,V\n1,PASS\n2,PASS,1\n", MAPPED, "CSV-RAGGED", 2, "2 cells instead of 3"),
        ("SN,Result,V\n", MAPPED, "CSV-NO-ROWS", 1, "no row"),
        ("SN,Result\n", MAPPED, "CSV-COLUMN-MISSING", 1, "'V'"),
        ("SN,Result,V\n,,\n", MAPPED, "CSV-NO-ROWS", 1, "no row"),
        ("a,b\n1,2\n", {"header": 0, "columns": {"unit.serial": "SN"}}, "CSV-COLUMN-MISSING", None, "header = 0"),
        ("a,b\n1,2\n", {"columns": {"unit.serial": 3}}, "CSV-COLUMN-MISSING", 1, "there are 2"),
        ("a,b\n1,2\n3,4\n", {"columns": {"unit.serial": "a"}, "reports": "file"}, "CSV-ROWS-DISAGREE", 3, "line 2"),
        ("a,b\n", {"columns": {"unit.serial": "a"}, "reports": "file"}, "CSV-NO-ROWS", 1, "no row"),
        ("a,b\nx,2\n", {"columns": {"start": "a"}}, "CSV-START", 2, "ISO 8601"),
        ("a,b\n-1,2\n", {"columns": {"duration": "a"}}, "CSV-DURATION", 2, "seconds"),
    ],
)
def test_a_file_that_is_not_as_declared(
    text: str, options: Any, code: str, line: int | None, told: str, run: Run
) -> None:
    error = refused(run, text, options)
    assert (error.code, error.line) == (code, line)
    assert told in error.message


def test_columns_by_number_and_optional_ones(run: Run) -> None:
    options = {
        "header": 0,
        "columns": {"unit.serial": 2, "operator": {"column": 9, "optional": True}, "process.code": 1},
        "misc": [1],
    }
    (report,) = run("csv", "10,A\n", options).reports
    assert (report["unit"], report["process"], misc(report)) == (
        {"serial": "A"},
        {"code": 10},
        {"line": 1, "column 1": "10"},
    )
    options = {"columns": {"unit.serial": "SN", "operator": {"column": "Op", "optional": True}}}
    (report,) = run("csv", "SN,x\n1,2\n", options).reports
    assert "operator" not in report


def test_rows_that_are_too_long_keep_what_is_too_much(run: Run) -> None:
    options = {"columns": {"unit.serial": "SN"}, "ragged": "pad", "delimiter": ","}
    result = run("csv", "SN,b\n1,2,3,4\n5\n", options)
    assert [misc(report) for report in result.reports] == [{"line": 2, "column 3": "3", "column 4": "4"}, {"line": 3}]
    assert codes(result) == ["CSV-RAGGED", "CSV-RAGGED"]


def test_an_outcome_for_the_whole_file(run: Run) -> None:
    options = {"columns": {"outcome": "Result", "duration": "T"}, "reports": "file", "kind": "inspection"}
    (report,) = run("csv", "Result,T\nNOK,3\nNOK,3\n", options).reports
    assert (report["kind"], report["outcome"], report["duration"], report["root"]["rawOutcome"]) == (
        "inspection",
        "failed",
        3.0,
        "NOK",
    )


def test_a_large_file_streams_to_the_same_report(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a,b\n" + "".join(f"{n},x{n}\n" for n in range(25))
    mapped = {"columns": {"operator": {"value": "me"}}, "measurements": [{"column": "a"}], "reports": "file"}
    monkeypatch.setattr(CsvConverter, "slice_rows", 10)
    whole = [run("csv", text).reports[0], run("csv", text, mapped).reports[0]]
    monkeypatch.setattr(CsvConverter, "streams_above", 0)
    monkeypatch.setattr("dropmill_plugins.converters.csv.table.Content.kept", 0)
    streamed = [run("csv", text).reports[0], run("csv", text, mapped).reports[0]]
    for one, other in zip(streamed, whole, strict=True):
        assert {**one, "source": None} == {**other, "source": None}
    assert [step["name"] for step in streamed[0]["root"]["steps"]] == ["rows 1-10", "rows 11-20", "rows 21-25"]


def test_a_line_is_bounded(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dropmill_plugins.converters.csv.table.MAX_CELL", 100)
    assert refused(run, "a,b\n" + "x" * 200 + ",1\n", {"delimiter": ","}).code == "CSV-LINE-TOO-LONG"
    assert refused(run, 'a,b\n"' + "x\n" * 200 + '",1\n', {"delimiter": ","}).code == "CSV-QUOTES"


# --- sniffing --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data", "options", "level"),
    [
        ("a.csv", b"a,b\n1,2\n", {}, Level.POSSIBLE),
        ("a.csv", b"no table at all\n", {}, Level.WEAK),
        ("a.txt", b"no table at all\n", {}, None),
        ("a.txt", b"a\tb\n1\t2\n", {}, Level.POSSIBLE),
        ("a.txt", b'{"a": 1, "b": 2}\n', {}, None),
        ("a.csv", b"", {}, None),
        ("a.csv", b" \n", {}, None),
        ("a.csv", b"\0\x01\x02\x03", {}, None),
        ("a.csv", "a,b\n1,2\n".encode("utf-16"), {}, Level.POSSIBLE),
        ("a.csv", b"SN,Result,V\n1,PASS,2\n", MAPPED, Level.LIKELY),
        ("a.csv", b"SN,V\n1,2\n", MAPPED, Level.WEAK),
        ("a.txt", b"x\n", {"delimiter": ";", "columns": {"unit.serial": 1}}, Level.WEAK),
        ("a.csv", b"a,b\n1,2\n", {"encoding": "klingon"}, Level.POSSIBLE),
    ],
)
def test_sniffing(name: str, data: bytes, options: dict[str, Any], level: Level | None) -> None:
    match = CsvConverter(options).sniff(Head(name, len(data), data))
    assert (None if match is None else match.level) == level


def test_sniffing_behind_what_is_skipped() -> None:
    match = CsvConverter({"skip_rows": 100}).sniff(Head("a.csv", 1_000_000, b"x\n" * 10))
    assert match is not None
    assert match.level == Level.WEAK
    assert CsvConverter({"skip_rows": 100}).sniff(Head("a.csv", 20, b"x\n" * 10)) is None
