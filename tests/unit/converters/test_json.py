"""JSON and NDJSON: what counts as a document, what a mapping reads, what is kept without one, what passes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from dropmill.api import BadInput, Head, Level
from dropmill.testing import InvalidReport
from dropmill_plugins.converters.json.converter import JsonConverter
from dropmill_plugins.converters.json.documents import Documents
from dropmill_plugins.converters.json.pointers import MISSING, Pointer, escape

Run = Callable[..., Any]


def refused(run: Run, text: str | bytes, options: dict[str, Any] | None = None, name: str | None = None) -> BadInput:
    with pytest.raises(BadInput) as caught:
        run("json", text, options, name=name)
    return caught.value


def kept(step: dict[str, Any]) -> dict[str, Any]:
    return {one["name"]: one["value"] for one in step.get("measurements", ())}


def misc(step: dict[str, Any]) -> dict[str, Any]:
    return {entry["name"]: entry["value"] for entry in step.get("misc", ())}


def codes(result: Any) -> list[str]:
    return [warning["code"] for warning in result.warnings]


# --- without a mapping -----------------------------------------------------------------------------------------------------


def test_every_value_is_kept_under_its_pointer(run: Run) -> None:
    text = '{"a": {"b/c": 1, "d~": true, "": null}, "e": [1, "x", null], "f": [{"g": 1.5}], "h": {}, "i": []}'
    (report,) = run("json", text).reports
    assert (report["kind"], report["outcome"], report["root"]["name"]) == ("data", "unknown", "file.json")
    assert kept(report["root"]) == {
        "/a/b~1c": 1, "/a/d~0": True, "/a/": None, "/e": 3, "/f/0/g": 1.5, "/h": None, "/i": None,
    }  # fmt: skip
    by_name = {one["name"]: one for one in report["root"]["measurements"]}
    assert by_name["/e"]["series"] == {"axes": [{"name": "/e", "values": [1, "x", None]}]}
    assert misc(by_name["/h"]) == {"type": "object"}
    assert misc(by_name["/i"]) == {"type": "array"}
    assert "misc" not in by_name["/a/"]


def test_elements_of_a_top_level_array_are_steps(run: Run) -> None:
    (report,) = run("json", '[{"a": 1}, 2, [3, 4]]').reports
    assert [(step["name"], step["type"], kept(step)) for step in report["root"]["steps"]] == [
        ("/0", "action", {"/0/a": 1}), ("/1", "action", {"/1": 2}), ("/2", "action", {"/2": 2}),
    ]  # fmt: skip
    (report,) = run("json", "[]").reports
    assert kept(report["root"]) == {"": None}
    assert kept(run("json", "7").reports[0]["root"]) == {"": 7}


def test_lines_are_reports(run: Run) -> None:
    result = run("json", '{"a": 1}\n\n{"a": 2}\r\n3', name="x.ndjson")
    assert [kept(report["root"]) for report in result.reports] == [{"/a": 1}, {"/a": 2}, {"": 3}]
    assert [record.fields for record in result.records] == [{"line": 1}, {"line": 3}, {"line": 4}]
    assert len({report["reportId"] for report in result.reports}) == 3


@pytest.mark.parametrize(
    ("text", "reports"),
    [
        ('{"a": 1}\n{"a": 2}\n', 2),
        ('\n{"a": 1}\n\n{"a": 2}', 2),
        ('{"a": 1}\n', 1),
        ('{"a":\n1}\n', 1),
        ("[1]\n[2]\n", 2),
    ],
)
def test_lines_show_themselves(text: str, reports: int, run: Run) -> None:
    assert len(run("json", text).reports) == reports


def test_numbers_alone_on_lines_are_no_lines(run: Run) -> None:
    assert refused(run, "1\n2\n").code == "JSON-SYNTAX"
    assert len(run("json", "1\n2\n", {"documents": "lines"}).reports) == 2


def test_a_line_that_is_no_json_refuses_all(run: Run) -> None:
    error = refused(run, '{"a": 1}\n{"a": 2}\n{"a":\n', name="x.jsonl")
    assert (error.code, error.line) == ("JSON-SYNTAX", 3)


def test_what_is_empty(run: Run) -> None:
    assert refused(run, "\n\n", name="x.ndjson").code == "JSON-EMPTY"
    assert refused(run, "  ").code == "JSON-EMPTY"
    assert refused(run, "[]", {"documents": "items"}).code == "JSON-EMPTY"


def test_a_repeated_name_keeps_all_its_values(run: Run) -> None:
    result = run("json", '{"a": 1, "a": {"b": 2}}')
    assert [(one["name"], one["value"]) for one in result.reports[0]["root"]["measurements"]] == [
        ("/a", 1),
        ("/a/b", 2),
    ]
    assert codes(result) == ["JSON-DUPLICATE-NAME"]


def test_numbers_that_nothing_can_hold_keep_their_text(run: Run) -> None:
    result = run("json", '{"a": 123456789012345678901234567890, "b": [1e999], "c": 1e-999}')
    assert [(one["name"], one["value"], one.get("raw")) for one in result.reports[0]["root"]["measurements"]] == [
        ("/a", 1.2345678901234568e29, "123456789012345678901234567890"),
        ("/b/0", None, "1e999"),
        ("/c", 0.0, "1e-999"),
    ]
    assert codes(result) == ["JSON-NUMBER"] * 3


def test_a_document_has_bounds(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dropmill_plugins.converters.json.flattening.MAX_VALUES", 10)
    assert refused(run, json.dumps({str(n): n for n in range(11)})).code == "JSON-TOO-LARGE"
    monkeypatch.setattr(Documents, "whole_up_to", 0)
    assert refused(run, '{"a": "' + "x" * 2_000 + '"}', {"max_document": 1_024}).code == "JSON-TOO-LARGE"
    assert refused(run, '["' + "x" * 2_000_000 + '"]', {"max_document": 1_024}).code == "JSON-TOO-LARGE"
    error = refused(run, '{"a": 1}\n{"a": "' + "x" * 2_000 + '"}\n', {"max_document": 1_024}, name="x.ndjson")
    assert (error.code, "a line" in error.message) == ("JSON-TOO-LARGE", True)
    assert len(run("json", '{"a": 1}\n{"a": 2}\n', {"max_document": 1_024}).reports) == 2
    assert kept(run("json", ' {"a": 1}', {"max_document": 1_024}).reports[0]["root"]) == {"/a": 1}


@pytest.mark.parametrize("piece", [1, 7, 64, 262_144])
def test_a_large_array_streams_to_the_same_report(piece: int, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    values: list[Any] = [{"a": n, "text": 'q"u\\o,]}te' * n} for n in range(9)]
    text = " " + json.dumps([*values, 12345, -1.5e3, "x", None, True, [], {}], indent=1) + " \n"
    (whole,) = run("json", text).reports
    monkeypatch.setattr(Documents, "whole_up_to", 0)
    monkeypatch.setattr("dropmill_plugins.converters.json.documents._PIECE", piece)
    (streamed,) = run("json", text).reports
    assert streamed["root"]["steps"] == whole["root"]["steps"]
    items = run("json", text, {"documents": "items"}).reports
    assert len(items) == 16
    assert run("json", "[]").reports[0]["root"]["steps"] == []


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[1,\n2", 2),
        ("[1,\n2 3]", 2),
        ("[1,\n]", 2),
        ("[1]\n x", 2),
        ("[\n1,\nx]", 3),
        ('[1,\n"\\ud800"]', 2),
        ("[1,\nNaN]", 2),
        ("[", 1),
    ],
)
def test_a_large_array_that_is_wrong_is_refused_with_its_line(
    text: str, line: int, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Documents, "whole_up_to", 0)
    error = refused(run, text)
    assert error.line == line


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_encodings(encoding: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for text, name in (('{"ä": "ö"}', "x.json"), ('{"ä": "ö"}\n', "x.ndjson")):
        assert kept(run("json", text.encode(encoding), name=name).reports[0]["root"]) == {"/ä": "ö"}
        monkeypatch.setattr(Documents, "whole_up_to", 0)
        assert kept(run("json", text.encode(encoding), name=name).reports[0]["root"]) == {"/ä": "ö"}
        monkeypatch.undo()


def test_what_is_not_utf8_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused(run, b'{"a": "\xff"}').code == "JSON-ENCODING"
    monkeypatch.setattr(Documents, "whole_up_to", 0)
    assert refused(run, b'{"a": 1}\n{"a": "\xff"}', name="x.ndjson").code == "JSON-ENCODING"
    assert refused(run, b'["\xff"]').code == "JSON-ENCODING"


def test_items_need_an_array(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused(run, '{"a": 1}', {"documents": "items"}).code == "JSON-NOT-AN-ARRAY"
    monkeypatch.setattr(Documents, "whole_up_to", 0)
    assert refused(run, '{"a": 1}', {"documents": "items"}).code == "JSON-NOT-AN-ARRAY"


# --- reports pass through --------------------------------------------------------------------------------------------------

REPORT = {
    "schemaVersion": "1.0",
    "reportId": "11111111-2222-5333-8444-555555555555",
    "kind": "test",
    "outcome": "passed",
    "unit": {"serial": "7"},
    "misc": [{"name": "a", "value": 1}],
    "root": {
        "name": "r",
        "type": "test",
        "outcome": "passed",
        "measurements": [{"name": "v", "value": 1e400, "status": "passed"}],
    },
    "source": {
        "path": "x",
        "sha256": "0" * 64,
        "size": 1,
        "format": "spea",
        "formatVersion": "2",
        "converter": {"name": "c", "version": "1"},
    },
}


def test_a_report_passes_through(run: Run) -> None:
    given = {**REPORT, "root": {"name": "r", "type": "test", "outcome": "passed"}}
    result = run("json", json.dumps(given))
    (report,) = result.reports
    assert {key: report[key] for key in ("kind", "outcome", "unit", "root")} == {
        key: given[key] for key in ("kind", "outcome", "unit", "root")
    }
    assert (report["source"]["format"], report["source"]["formatVersion"], report["source"]["converter"]["name"]) == (
        "spea",
        "2",
        "json",
    )
    assert report["reportId"] != given["reportId"]
    assert result.records[0].key == given["reportId"]
    told = misc(report)
    assert (told["a"], told["original.reportId"]) == (1, given["reportId"])
    assert json.loads(told["original.source"]) == given["source"]


def test_reports_in_lines_and_beside_a_mapping(run: Run) -> None:
    one = {"schemaVersion": "1.0", "kind": "ci", "outcome": "failed"}
    options = {"fields": {"unit.serial": {"pointer": "/sn", "optional": True}}}
    reports = run("json", f'{json.dumps(one)}\n{{"sn": "8"}}\n', options).reports
    assert [report["kind"] for report in reports] == ["ci", "test"]
    (report,) = run("json", json.dumps(one), {"pass_through": False}).reports
    assert report["kind"] == "data"
    (report,) = run("json", json.dumps({**one, "kind": "Pod"})).reports
    assert report["kind"] == "data"


def test_a_report_that_is_wrong_is_refused(run: Run) -> None:
    assert refused(run, json.dumps({**REPORT, "schemaVersion": "9.9", "root": {}})).code == "JSON-REPORT-VERSION"
    doubled = json.dumps({**REPORT, "root": {"name": "r", "type": "test", "outcome": "passed"}}).replace(
        '"kind"', '"outcome": 1, "kind"'
    )
    assert refused(run, doubled).code == "JSON-DUPLICATE-NAME"
    large = json.dumps({**REPORT, "source": None}).replace("Infinity", "1e400")
    assert refused(run, large).code == "JSON-NUMBER"
    long = json.dumps({**REPORT, "source": None}).replace("Infinity", "1.00000000000000000000001")
    assert run("json", long).reports[0]["root"]["measurements"][0]["value"] == 1.0
    with pytest.raises(InvalidReport, match="outcome"):
        run("json", '{"schemaVersion": "1.0", "kind": "ci", "outcome": "fine"}')
    with pytest.raises(InvalidReport):
        run("json", '{"schemaVersion": "1.0", "kind": "ci", "outcome": "passed", "misc": 3}')


# --- with a mapping --------------------------------------------------------------------------------------------------------

DOCUMENT = {
    "meta": {"station": "ICT-1", "at": 1_700_000_000_500},
    "units": [
        {
            "sn": 17,
            "result": True,
            "took": 1500,
            "values": {"volt": {"v": 1.5, "lo": 1, "hi": 2, "u": "V"}, "text": {"v": "x"}},
            "tests": [
                {
                    "title": "a",
                    "state": "pass",
                    "ms": 20,
                    "err": None,
                    "sub": [{"title": "a1", "state": "fail", "v": 3}],
                },
                {"title": "b", "state": "skip", "at": "2024-01-01T00:00:00Z", "tags": ["x", "y"]},
                {"state": "pass", "at": "2024-01-01T00:00:00"},
            ],
        },
        {"sn": "18", "result": False, "values": {}, "tests": []},
    ],
}
MAPPING: dict[str, Any] = {
    "records": "/units",
    "fields": {
        "unit.serial": "/sn",
        "outcome": {"pointer": "/result", "values": {"true": "passed", "false": "failed"}},
        "station.name": {"pointer": "/meta/station", "from": "document"},
        "start": {"pointer": "/meta/at", "from": "document", "format": "unix-ms"},
        "duration": {"pointer": "/took", "scale": 0.001, "optional": True},
        "process.name": {"value": "final"},
    },
    "measurements": [
        {
            "each": "/values",
            "pointer": "/v",
            "low_pointer": "/lo",
            "high_pointer": "/hi",
            "unit_pointer": "/u",
            "judge": True,
        }
    ],
    "steps": {
        "each": "/tests",
        "children": "/sub",
        "name": {"pointer": "/title", "optional": True},
        "outcome": {"pointer": "/state", "values": {"pass": "passed", "fail": "failed", "skip": "skipped"}},
        "duration": {"pointer": "/ms", "scale": 0.001, "optional": True},
        "start": {"pointer": "/at", "optional": True},
        "message": {"pointer": "/err", "optional": True},
        "measurements": [{"pointer": "/v", "name": "V", "optional": True}],
        "misc": ["/tags", {"pointer": "/title", "name": "label"}],
    },
    "misc": ["/sn"],
}


def test_a_mapping_reads_records_steps_and_measurements(run: Run) -> None:
    first, second = run("json", json.dumps(DOCUMENT), MAPPING).reports
    assert (first["kind"], first["outcome"], first["unit"], first["station"]) == (
        "test",
        "passed",
        {"serial": "17"},
        {"name": "ICT-1"},
    )
    assert (first["start"], first["startPrecision"], first["duration"], first["process"]) == (
        "2023-11-14T22:13:20.500000Z", "exact", 1.5, {"name": "final"},
    )  # fmt: skip
    assert misc(first) == {"/sn": 17}
    root = first["root"]
    assert (root["rawOutcome"], root["type"]) == ("true", "group")
    assert root["measurements"] == [
        {
            "name": "volt",
            "value": 1.5,
            "status": "passed",
            "unit": "V",
            "limits": [{"comparator": "GELE", "low": 1, "high": 2}],
        },
        {"name": "text", "value": "x", "status": "unknown"},
    ]
    a, b, c = root["steps"]
    assert (a["name"], a["type"], a["outcome"], a["duration"], misc(a)) == (
        "a",
        "group",
        "passed",
        0.02,
        {"label": "a"},
    )
    assert a["steps"][0]["measurements"] == [{"name": "V", "value": 3, "status": "unknown"}]
    assert (b["outcome"], b["start"], misc(b)) == (
        "skipped",
        "2024-01-01T00:00:00Z",
        {"/tags": '["x", "y"]', "label": "b"},
    )
    assert (c["name"], misc(c)) == ("step 3", {"start": "2024-01-01T00:00:00"})
    assert (second["outcome"], second["unit"], second["root"]["steps"]) == ("failed", {"serial": "18"}, [])


def test_outcomes_follow_from_what_is_below(run: Run) -> None:
    options = {"steps": {"each": "", "outcome": {"pointer": "", "optional": True}}}
    assert run("json", '["pass", "fail"]', options).reports[0]["outcome"] == "failed"
    options = {"measurements": [{"each": "", "pointer": "", "high": 2, "judge": True}]}
    (report,) = run("json", "[1, 2, 3]", options).reports
    assert [(one["name"], one["status"]) for one in report["root"]["measurements"]] == [
        ("1", "passed"),
        ("2", "passed"),
        ("3", "failed"),
    ]
    assert report["outcome"] == "failed"
    options = {
        "measurements": [{"pointer": "/v", "status_pointer": "/s", "name_pointer": "/n", "expected_pointer": "/e"}]
    }
    (report,) = run("json", '{"v": 12345678901234567890123, "s": "ok", "n": 5, "e": null}', options).reports
    assert report["root"]["measurements"] == [
        {"name": "5", "value": 1.2345678901234568e22, "status": "passed", "raw": "12345678901234567890123"}
    ]
    assert (
        run("json", '{"s": "ok"}', {"measurements": [{**options["measurements"][0], "optional": True}]}).reports[0][
            "outcome"
        ]
        == "passed"
    )


@pytest.mark.parametrize(
    ("document", "options", "code"),
    [
        ({"a": 1}, {"fields": {"unit.serial": "/sn"}}, "JSON-MISSING"),
        ({"sn": {}}, {"fields": {"unit.serial": "/sn"}}, "JSON-VALUE"),
        ({"r": "maybe"}, {"fields": {"outcome": "/r"}}, "JSON-OUTCOME"),
        ({"t": "noon"}, {"fields": {"start": "/t"}}, "JSON-START"),
        ({"t": 1e30}, {"fields": {"start": {"pointer": "/t", "format": "unix"}}}, "JSON-START"),
        ({"d": -1}, {"fields": {"duration": "/d"}}, "JSON-DURATION"),
        ({"u": {}}, {"records": "/u"}, "JSON-RECORDS"),
        ({}, {"records": "/u"}, "JSON-RECORDS"),
        ({"t": {}}, {"steps": {"each": "/t"}}, "JSON-STEPS"),
        ({}, {"steps": {"each": "/t"}}, "JSON-STEPS"),
        ({"v": [1]}, {"measurements": [{"pointer": "/v"}]}, "JSON-VALUE"),
        ({}, {"measurements": [{"pointer": "/v"}]}, "JSON-MISSING"),
        ({"v": 1}, {"measurements": [{"each": "/v", "pointer": ""}]}, "JSON-MEASUREMENTS"),
        ({"v": 1}, {"measurements": [{"pointer": "/v", "comparator": "GELE", "low": 1}]}, "JSON-LIMIT"),
        ({"v": 1, "l": []}, {"measurements": [{"pointer": "/v", "low_pointer": "/l"}]}, "JSON-VALUE"),
        ({"v": 1, "s": "maybe"}, {"measurements": [{"pointer": "/v", "status_pointer": "/s"}]}, "JSON-OUTCOME"),
    ],
)
def test_a_document_that_is_not_as_declared(document: Any, options: Any, code: str, run: Run) -> None:
    error = refused(run, json.dumps(document), options)
    assert (error.code, error.line) == (code, 1)


def test_a_pointer_that_meets_a_repeated_name_is_refused(run: Run) -> None:
    assert refused(run, '{"sn": 1, "sn": 2}', {"fields": {"unit.serial": "/sn"}}).code == "JSON-DUPLICATE-NAME"
    assert (
        refused(run, '{"v": {"a": 1, "a": 2}}', {"measurements": [{"each": "/v", "pointer": ""}]}).code
        == "JSON-DUPLICATE-NAME"
    )
    (report,) = run("json", '{"sn": 1, "x": 1, "x": 2}', {"fields": {"unit.serial": "/sn"}}).reports
    assert report["unit"] == {"serial": "1"}


def test_details_of_fields(run: Run) -> None:
    options = {"fields": {"start": {"pointer": "/t", "format": "unix"}, "operator": "/o", "unit.lot": "/l", "unit.batch": "/b"},
               "misc": ["/n", "/gone"]}  # fmt: skip
    (report,) = run("json", '{"t": 0, "o": "", "l": null, "b": 1.5, "n": 1e999}', options).reports
    assert (report["start"], report["unit"]) == ("1970-01-01T00:00:00Z", {"batch": "1.5"})
    assert "operator" not in report
    assert report["misc"] == [{"name": "/n", "value": "1e999", "type": "number"}]
    (report,) = run(
        "json", '{"d": "2.5", "b": 12345678901234567890123}', {"fields": {"duration": "/d", "unit.batch": "/b"}}
    ).reports
    assert (report["duration"], report["unit"]["batch"]) == (2.5, "12345678901234567890123")
    (report,) = run("json", "{}", {"measurements": [{"each": "/v", "pointer": "", "optional": True}]}).reports
    assert "measurements" not in report["root"]


def test_steps_have_a_depth(run: Run) -> None:
    document: Any = {"sub": []}
    for _ in range(60):
        document = {"sub": [document]}
    assert refused(run, json.dumps(document), {"steps": {"each": "/sub", "children": "/sub"}}).code == "JSON-TOO-DEEP"


def test_pointers() -> None:
    document = {"a": [1, {"b/c": 2, "d~e": 3}], "": 4}
    assert Pointer("").of(document) is document
    assert (Pointer("/a/1/b~1c").of(document), Pointer("/a/1/d~0e").of(document), Pointer("/").of(document)) == (
        2,
        3,
        4,
    )
    for text in ("/x", "/a/2", "/a/01", "/a/-", "/a/0/x", "/a/٣"):
        assert Pointer(text).of(document) is MISSING
    assert repr(MISSING) == "MISSING"
    assert (Pointer("/a/b").last, Pointer("").last, escape("a/b~c"), escape("a")) == ("b", "", "a~1b~0c", "a")


@pytest.mark.parametrize(
    ("data", "level"),
    [
        (b'{"a": 1}', Level.POSSIBLE),
        (b"\xef\xbb\xbf [", Level.POSSIBLE),
        ("[1]".encode("utf-16"), Level.POSSIBLE),
        (b"12", Level.WEAK),
        (b" ", Level.WEAK),
        (b"", None),
        (b"<a/>", None),
        (b"a\0b\0\0\0", None),
    ],
)
def test_sniffing(data: bytes, level: Level | None) -> None:
    match = JsonConverter({}).sniff(Head("a.json", len(data), data))
    assert (None if match is None else match.level) == level
