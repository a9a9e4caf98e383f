"""What becomes of each member of a WSJF report."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from dropmill.api import BadInput, Head, Level, NotMine
from dropmill_plugins.converters.json.documents import Documents
from dropmill_plugins.converters.wsjf.converter import WsjfConverter

Run = Callable[..., Any]

HEAD = {
    "id": "e246e3b9-cf26-474e-9547-ec9bc96679e3",
    "type": "T",
    "pn": "P",
    "sn": "S",
    "rev": "A",
    "processCode": 50,
    "processName": "Final",
    "result": "F",
    "machineName": "M",
    "location": "L",
    "purpose": "D",
    "start": "2026-04-18T00:58:36.696072+02:00",
    "uut": {
        "user": "me",
        "execTime": 12.5,
        "fixtureId": "fx",
        "testSocketIndex": 3,
        "errorCode": 7,
        "errorMessage": "bad",
        "batchSN": "B",
        "comment": "c",
    },
}


def report_of(root: dict[str, Any] | None = None, **more: Any) -> str:
    value = {**HEAD, **more}
    if root is not None:
        value["root"] = root
    return json.dumps(value)


def step(**more: Any) -> dict[str, Any]:
    return {"name": "x", "status": "P", "stepType": "ET_NLT", **more}


def only(result: Any) -> dict[str, Any]:
    (found,) = result.reports[0]["root"]["steps"]
    return found


def run_step(run: Run, **more: Any) -> Any:
    return run("wsjf", report_of({"name": "Main", "status": "P", "stepType": "SequenceCall", "steps": [step(**more)]}))


def misc(found: dict[str, Any]) -> dict[str, Any]:
    return {entry["name"]: entry["value"] for entry in found.get("misc", ())}


def codes(result: Any) -> list[str]:
    return [warning["code"] for warning in result.warnings]


def test_the_head_of_a_test_report(run: Run) -> None:
    text = report_of(
        {
            "name": "Main",
            "status": "F",
            "group": "M",
            "id": 1,
            "stepType": "WATS_SeqCall",
            "seqCall": {"path": "a.seq", "name": "Main", "version": "1.2"},
        },
        miscInfos=[
            {"description": "d", "text": "t"},
            {"description": "n", "numeric": 3},
            {"name": "v", "value": "w", "numeric": 1, "typedef": "x"},
            {},
        ],
        assets=[{"assetSN": "A7", "usageCount": 2}],
        subUnits=[
            {
                "partType": "PCBA",
                "sn": "1",
                "pn": "2",
                "rev": "3",
                "position": "4",
                "idx": 1,
                "parentIdx": 0,
                "extra": "e",
            }
        ],
        additionalData=[],
        binaryData=None,
        startUTC="2026-04-17T22:58:36.696072Z",
    )
    result = run("wsjf", text)
    (report,) = result.reports
    assert (
        report["kind"],
        report["outcome"],
        report["start"],
        report["startPrecision"],
        report["duration"],
        report["operator"],
    ) == (
        "test",
        "failed",
        "2026-04-18T00:58:36.696072+02:00",
        "exact",
        12.5,
        "me",
    )
    assert report["unit"] == {
        "serial": "S",
        "partNumber": "P",
        "revision": "A",
        "batch": "B",
        "children": [
            {
                "type": "PCBA",
                "serial": "1",
                "partNumber": "2",
                "revision": "3",
                "position": "4",
                "index": 1,
                "parent": 0,
            }
        ],
    }
    assert report["station"] == {"name": "M", "location": "L", "purpose": "D", "fixture": "fx", "socket": "3"}
    assert report["process"] == {"code": 50, "name": "Final"}
    assert report["program"] == {"name": "Main", "version": "1.2"}
    assert misc(report) == {
        "d": "t",
        "n": 3,
        "v": "w",
        "v.numeric": 1,
        "v.typedef": "x",
        "miscInfo 4": None,
        "subUnits/0/extra": "e",
        "id": HEAD["id"],
        "assets/0/assetSN": "A7",
        "assets/0/usageCount": 2,
        "startUTC": "2026-04-17T22:58:36.696072Z",
        "uut.errorCode": 7,
        "uut.comment": "c",
    }
    root = report["root"]
    assert (
        root["name"],
        root["type"],
        root["rawOutcome"],
        root["class"],
        root["group"],
        root["id"],
        root["message"],
    ) == (
        "Main",
        "group",
        "F",
        "a.seq",
        "main",
        1,
        "bad",
    )
    assert result.records[0].key == HEAD["id"]
    assert result.records[0].fields == {"machine": "M"}
    assert codes(result) == []


def test_members_of_a_step(run: Run) -> None:
    result = run_step(
        run,
        group="S",
        id=7,
        start="2024-04-15T02:49:36.93+00:00",
        totTime=0.5,
        errorMessage="e",
        reportText="text",
        tsGuid="g",
        loop={"idx": 2, "num": 5, "passed": 1},
        interactive=None,
        attachment={"name": "a.png", "contentType": "image/png", "data": "aGk="},
        callExe={"exitCode": 3},
        additionalResults=[{"name": "r", "props": [{"v": [1, 2]}]}],
    )
    found = only(result)
    assert {
        key: found[key]
        for key in ("name", "type", "outcome", "rawOutcome", "group", "id", "start", "duration", "message", "loop")
    } == {
        "name": "x",
        "type": "test",
        "outcome": "passed",
        "rawOutcome": "P",
        "group": "setup",
        "id": 7,
        "start": "2024-04-15T02:49:36.93+00:00",
        "duration": 0.5,
        "message": "e",
        "loop": {"index": 2, "count": 5},
    }
    assert found["attachments"] == [{"id": "a.png", "name": "a.png", "mediaType": "image/png", "base64": "aGk="}]
    assert misc(found) == {
        "stepType": "ET_NLT",
        "loop.passed": 1,
        "reportText": "text",
        "tsGuid": "g",
        "callExe/exitCode": 3,
        "additionalResults/0/name": "r",
        "additionalResults/0/props/0/v/0": 1,
        "additionalResults/0/props/0/v/1": 2,
    }


@pytest.mark.parametrize(
    ("status", "outcome", "warns"),
    [
        ("P", "passed", 0),
        ("D", "passed", 0),
        ("Done", "passed", 0),
        ("F", "failed", 0),
        ("E", "error", 0),
        ("T", "aborted", 0),
        ("S", "skipped", 0),
        ("Skipped", "skipped", 0),
        ("?", "unknown", 1),
        (None, "unknown", 0),
    ],
)
def test_statuses(status: str | None, outcome: str, warns: int, run: Run) -> None:
    result = run_step(run, status=status)
    assert (only(result)["outcome"], only(result).get("rawOutcome")) == (outcome, status)
    assert codes(result) == ["WSJF-STATUS"] * warns


@pytest.mark.parametrize(
    ("more", "limits"),
    [
        ({"compOp": "GELE", "lowLimit": 1, "highLimit": 2}, {"comparator": "GELE", "low": 1, "high": 2}),
        ({"compOp": "LTGT", "lowLimit": 1, "highLimit": 2}, {"comparator": "LTGT", "low": 1, "high": 2}),
        ({"compOp": "LT", "lowLimit": 5}, {"comparator": "LT", "high": 5}),
        ({"compOp": "LE", "lowLimit": 5, "highLimit": 6}, {"comparator": "LE", "high": 6}),
        ({"compOp": "GT", "lowLimit": 5}, {"comparator": "GT", "low": 5}),
        ({"compOp": "EQ", "lowLimit": 5}, {"comparator": "EQ", "expected": 5}),
        ({"compOp": "NE", "lowLimit": 5}, {"comparator": "NE", "expected": 5}),
        ({"compOp": "LOG"}, {"comparator": "LOG"}),
        ({"compOp": "LTGE", "lowLimit": 1, "highLimit": 2}, {"comparator": "LOG", "low": 1, "high": 2, "text": "LTGE"}),
        (
            {"compOp": "gele", "lowLimit": "1.5", "highLimit": "Infinity"},
            {"comparator": "GELE", "low": 1.5, "high": {"nonFinite": "Infinity"}},
        ),
        ({"lowLimit": 1}, {"comparator": "GE", "low": 1}),
        ({"highLimit": 1}, {"comparator": "LE", "high": 1}),
        ({"lowLimit": 1, "highLimit": 2}, {"comparator": "GELE", "low": 1, "high": 2}),
    ],
)
def test_limits_of_numbers(more: dict[str, Any], limits: dict[str, Any], run: Run) -> None:
    result = run_step(run, numericMeas=[{"value": 1.5, "status": "P", "unit": "V", **more}])
    (one,) = only(result)["measurements"]
    assert one == {"name": "x", "value": 1.5, "status": "passed", "unit": "V", "limits": [limits]}
    assert codes(result) == []


def test_limits_that_make_no_sense_stay_text(run: Run) -> None:
    result = run_step(
        run, numericMeas=[{"value": 1, "compOp": "GELE", "lowLimit": 1}, {"value": 1, "compOp": "ODD"}, {"value": 1}]
    )
    assert [one.get("limits") for one in only(result)["measurements"]] == [
        [{"comparator": "LOG", "low": 1, "text": "GELE"}],
        [{"comparator": "LOG", "text": "ODD"}],
        None,
    ]
    assert codes(result) == ["WSJF-LIMIT", "WSJF-LIMIT"]


def test_numbers_in_every_guise(run: Run) -> None:
    values = ["1.25", "NaN", "n/a", None, 12345678901234567890123, True]
    text = report_of(
        {
            "name": "M",
            "status": "P",
            "steps": [step(numericMeas=[{"value": value, "status": "P", "valueFormat": "%.2f"} for value in values])],
        }
    )
    measured = only(run("wsjf", text))["measurements"]
    assert [one["value"] for one in measured] == [
        1.25,
        {"nonFinite": "NaN"},
        "n/a",
        None,
        1.2345678901234568e22,
        "true",
    ]
    assert [one.get("raw") for one in measured] == ["1.25", None, None, None, "12345678901234567890123", None]
    assert {misc(one)["valueFormat"] for one in measured} == {"%.2f"}


def test_strings_and_booleans(run: Run) -> None:
    result = run_step(
        run,
        stringMeas=[
            {"name": "a", "value": "v", "limit": "v", "compOp": "EQ", "status": "P"},
            {"name": "b", "value": "v", "limit": "V", "compOp": "IGNORECASE", "status": "F"},
            {"name": "c", "value": 5, "compOp": "LOG", "status": "D"},
            {"name": "d", "value": "v", "limit": "w", "compOp": "Log"},
            {"name": "e", "value": "v", "limit": "w", "compOp": "CASESENSIT"},
            {"name": "f", "value": "v", "limit": "w", "compOp": "LIKE"},
            {"name": "g", "value": "v"},
        ],
        booleanMeas=[{"status": "P"}, {"name": "h", "status": "F"}, {"status": "S"}],
    )
    measured = only(result)["measurements"]
    assert [(one["name"], one["value"], one["status"], one.get("limits", [None])[0]) for one in measured] == [
        ("a", "v", "passed", {"comparator": "EQ", "expected": "v"}),
        ("b", "v", "failed", {"comparator": "CASE_EQ", "expected": "V", "text": "IGNORECASE"}),
        ("c", "5", "passed", {"comparator": "LOG"}),
        ("d", "v", "unknown", {"comparator": "LOG", "expected": "w"}),
        ("e", "v", "unknown", {"comparator": "EQ", "expected": "w", "text": "CASESENSIT"}),
        ("f", "v", "unknown", {"comparator": "LOG", "text": "LIKE", "expected": "w"}),
        ("g", "v", "unknown", None),
        ("x", True, "passed", None),
        ("h", False, "failed", None),
        ("x", None, "skipped", None),
    ]
    assert misc(measured[2]) == {"status": "D"}


def test_charts_are_series(run: Run) -> None:
    chart = {
        "chartType": "Line",
        "label": "C",
        "xLabel": "t",
        "xUnit": "s",
        "yLabel": "v",
        "yUnit": "V",
        "series": [
            {"name": "one", "dataType": "XYG", "xdata": "1;2;3;", "ydata": "4;x;5.5"},
            {"ydata": [1, None, {}]},
            {"xdata": " ; "},
        ],
    }
    one, two, three = only(run_step(run, chart=chart))["measurements"]
    assert (one["name"], one["value"], misc(one)) == (
        "one",
        3,
        {"chart": "C", "dataType": "XYG", "chart.chartType": "Line"},
    )
    assert one["series"]["axes"] == [
        {"name": "t", "unit": "s", "values": [1, 2, 3]},
        {"name": "v", "unit": "V", "values": [4, "x", 5.5]},
    ]
    assert (two["name"], two["series"]["axes"][1]["values"]) == ("C", [1, None, "{}"])
    assert three["value"] == 0
    assert "measurements" not in only(run_step(run, chart={"label": "C"}))


def test_the_longer_names_of_another_writer(run: Run) -> None:
    text = json.dumps(
        {
            "type": "Test",
            "serialNumber": "S",
            "partNumber": "P",
            "partRevision": "R",
            "machineName": "M",
            "result": "Failed",
            "start": "2026-01-30T22:01:41",
            "operator": "O",
            "execTime": -1,
            "processCode": "10",
            "uutParts": [{"partType": "X"}],
            "root": {
                "name": "r",
                "status": "Failed",
                "type": "SEQ",
                "stepResults": [
                    {
                        "name": "n",
                        "status": "Failed",
                        "type": "NT",
                        "numericValue": 10,
                        "compOp": "LOG",
                        "measurements": [
                            {"index": "m1", "numericValue": 10, "compOp": "LOG", "status": "Passed"},
                            {"index": "m2", "numericValue": 11, "compOp": "LE", "lowLimit": 9, "status": "Failed"},
                        ],
                    },
                    {
                        "name": "o",
                        "status": "Passed",
                        "type": "NT",
                        "numericValue": 10,
                        "compOp": "LOG",
                        "measurements": [{"index": "m", "numericValue": 9}],
                    },
                    {
                        "name": "s",
                        "status": "Passed",
                        "type": "ST",
                        "stringValue": "",
                        "stringLimit": "t",
                        "compOp": "EQ",
                    },
                    {"name": "p", "status": "Failed", "type": "PF", "passFailStatus": True},
                    {"name": "a", "status": "Done", "type": "Action", "start": "then"},
                ],
            },
        }
    )
    result = run("wsjf", text)
    (report,) = result.reports
    assert (report["unit"]["serial"], report["unit"]["revision"], report["operator"], report["startPrecision"]) == (
        "S",
        "R",
        "O",
        "local-no-offset",
    )
    numbers, other, string, boolean, action = report["root"]["steps"]
    assert [(one["name"], one["value"], one["status"]) for one in numbers["measurements"]] == [
        ("m1", 10, "passed"),
        ("m2", 11, "failed"),
    ]
    assert [(one["name"], one["value"]) for one in other["measurements"]] == [("m", 9), ("o", 10)]
    assert string["measurements"][0]["limits"] == [{"comparator": "EQ", "expected": "t"}]
    assert boolean["measurements"] == [{"name": "p", "value": True, "status": "failed"}]
    assert (action["type"], misc(action)) == ("action", {"type": "Action", "start": "then"})
    assert codes(result) == ["WSJF-DURATION", "WSJF-TIME"]


def test_a_repair_report(run: Run) -> None:
    text = report_of(
        type="R",
        result="P",
        uut=None,
        uur={"user": "fixer", "execTime": 0, "processCode": 90, "refUUT": "u"},
        subUnits=[
            {
                "partType": "Main",
                "sn": "S",
                "pn": "P",
                "idx": 0,
                "failures": [
                    {
                        "category": "Component",
                        "code": "Burned",
                        "comment": "c",
                        "comRef": "U1",
                        "funcBlock": None,
                        "attachment": {"data": "aGk="},
                    },
                    {"comRef": "U2"},
                ],
            }
        ],
    )
    (report,) = run("wsjf", text, name="repair.wsjf").reports
    assert (report["kind"], report["outcome"], report["operator"], report["root"]["name"]) == (
        "repair",
        "passed",
        "fixer",
        "repair.wsjf",
    )
    burned, other = report["root"]["steps"]
    assert (burned["name"], burned["type"], burned["outcome"], burned["message"]) == (
        "Burned",
        "action",
        "unknown",
        "c",
    )
    assert {entry["name"]: entry["value"] for entry in burned["params"]} == {
        "partType": "Main",
        "partSerial": "S",
        "partNumber": "P",
        "attachment.data": "aGk=",
        "category": "Component",
        "comRef": "U1",
    }
    assert (other["name"], "message" in other) == ("", False)
    assert misc(report)["uur.processCode"] == 90


@pytest.mark.parametrize(
    ("more", "code", "told"),
    [
        ({"result": None}, "WSJF-NO-RESULT", "no result"),
        ({"root": []}, "WSJF-SHAPE", "root should be an object"),
        ({"root": {"name": "r", "steps": {}}}, "WSJF-SHAPE", "root.steps should be an array"),
        ({"root": {"name": "r", "steps": [7]}}, "WSJF-SHAPE", "root.steps[0] should be an object"),
        ({"root": {"name": [], "status": "P"}}, "WSJF-SHAPE", "root.name should be a single value"),
        (
            {"root": {"name": "r", "numericMeas": [{"value": {}}]}},
            "WSJF-SHAPE",
            "root.numericMeas.value should be a number",
        ),
        ({"subUnits": {}}, "WSJF-SHAPE", "subUnits should be an array"),
    ],
)
def test_members_that_are_not_what_they_should_be(more: dict[str, Any], code: str, told: str, run: Run) -> None:
    with pytest.raises(BadInput) as caught:
        run("wsjf", report_of(**{"root": {"name": "r", "status": "P"}, **more}))
    assert caught.value.code == code
    assert told in caught.value.message


def test_a_repeated_member_is_refused(run: Run) -> None:
    with pytest.raises(BadInput) as caught:
        run("wsjf", report_of({"name": "r"}).replace('"sn"', '"pn": "other", "sn"'))
    assert caught.value.code == "JSON-DUPLICATE-NAME"


def test_depth_is_bounded(run: Run) -> None:
    root: dict[str, Any] = step()
    for _ in range(60):
        root = step(steps=[root])
    with pytest.raises(BadInput) as caught:
        run("wsjf", report_of(root))
    assert caught.value.code == "WSJF-TOO-DEEP"


def test_odd_heads(run: Run) -> None:
    result = run("wsjf", report_of(start="someday", sn=7, processCode=True, id=5))
    (report,) = result.reports
    assert (report["startPrecision"], report["unit"]["serial"], report["process"]["code"]) == ("unknown", "7", "True")
    assert misc(report)["start"] == "someday"
    assert result.records[0].key is None
    assert codes(result) == ["WSJF-TIME", "WSJF-NO-STEPS"]
    text = report_of({"name": "r", "group": "odd", "id": [1], "status": "P", "big": 12345678901234567890123})
    root = run("wsjf", text).reports[0]["root"]
    assert misc(root) == {"group": "odd", "big": "12345678901234567890123"}
    assert "id" not in root


def test_an_array_of_reports(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"[{report_of({'name': 'a'})}, {report_of({'name': 'b'}, id='other')}]"
    assert [report["root"]["name"] for report in run("wsjf", text).reports] == ["a", "b"]
    monkeypatch.setattr(Documents, "whole_up_to", 0)
    assert [report["root"]["name"] for report in run("wsjf", text).reports] == ["a", "b"]
    with pytest.raises(BadInput) as caught:
        run("wsjf", f'[{report_of({"name": "a"})}, {{"type": "T"}}]')
    assert caught.value.code == "WSJF-SHAPE"
    with pytest.raises(BadInput) as caught:
        run("wsjf", report_of({"name": "a" * 2_000}), {"max_document": 1_024})
    assert caught.value.code == "JSON-TOO-LARGE"


def convert_directly(text: str, tmp_path: Any) -> list[Any]:
    from dropmill.testing import FileSource, RecordingContext

    path = tmp_path / "x.json"
    path.write_text(text)
    return list(WsjfConverter({}).convert(FileSource.of(path), RecordingContext()))


@pytest.mark.parametrize(
    "text",
    ["{}", "[]", '{"type": "T"}', "[1]", "7", '{"type": "X", "sn": 1, "pn": 1, "result": 1, "start": 1, "root": {}}'],
)
def test_other_json_is_not_ours(text: str, tmp_path: Any) -> None:
    with pytest.raises(NotMine):
        convert_directly(text, tmp_path)


@pytest.mark.parametrize(
    ("text", "size", "level"),
    [
        (report_of({"name": "r"}), None, Level.CERTAIN),
        (
            report_of({"name": "r"}, uut=None)
            .replace('"uut"', '"x"')
            .replace('"T"', '"Q"')
            .replace("root", "miscInfos"),
            None,
            Level.LIKELY,
        ),
        ('{"root": {"stepType": "A", "totTime": 1, "steps": [{"numericMeas": [', 100_000, Level.LIKELY),
        ('{"root": {"stepType": "A", "totTime": 1, "steps": [{"numericMeas": [', None, None),
        ('{"a": 1}', None, None),
        ("<a/>", None, None),
        ("", None, None),
    ],
)
def test_sniffing(text: str, size: int | None, level: Level | None) -> None:
    data = text.encode()
    match = WsjfConverter({}).sniff(Head("a.json", size or len(data), data))
    assert (None if match is None else match.level) == level
