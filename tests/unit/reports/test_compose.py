from __future__ import annotations

import base64
import hashlib
import json
import math
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from dropmill.api import Attachment, Part, Report
from dropmill.reports.compose import Draft, Payload
from dropmill.reports.errors import InvalidReport
from dropmill.reports.schema import Schemas

from .conftest import ORIGIN, Bench


def document(**more: Any) -> dict[str, Any]:
    return {"kind": "test", "outcome": "passed", **more}


def step(outcome: str = "passed", **more: Any) -> dict[str, Any]:
    return {"name": "s", "type": "test", "outcome": outcome, **more}


def finished(draft: Draft, of: int | None = 1, warnings: Any = ()) -> dict[str, Any]:
    payload = draft.finish(of, warnings)
    assert payload.body is not None
    assert payload.size == len(payload.body)
    assert payload.sha256 == hashlib.sha256(payload.body).hexdigest()
    made: dict[str, Any] = json.loads(payload.body)
    return made


def refused(bench: Bench, report: Any) -> InvalidReport:
    with pytest.raises(InvalidReport) as caught:
        bench.composer.draft(report)
    return caught.value


def test_the_core_fills_in_what_it_knows(bench: Bench) -> None:
    given = document(
        schemaVersion="9", reportId="mine", source={"path": "forged", "format": "acme", "formatVersion": "2"}
    )
    draft = bench.composer.draft(Report(given, key="S1"))
    made = finished(draft, 3, [{"code": "ODD", "message": "odd", "line": 7}, {"code": "B", "message": "b"}])

    assert made["schemaVersion"] == "1.0"
    assert made["reportId"] == draft.report_id
    assert made["source"] == {
        "path": "sub/a.csv",
        "sha256": "ab" * 32,
        "size": 3,
        "modified": "2017-07-14T02:40:00.250Z",
        "format": "acme",
        "formatVersion": "2",
        "converter": {"name": "csv", "version": "1.4", "distribution": "acme"},
        "index": 0,
        "of": 3,
        "warnings": [{"code": "ODD", "message": "odd", "where": "line 7"}, {"code": "B", "message": "b"}],
    }
    assert given["reportId"] == "mine", "the converter's document is left alone"


def test_a_converter_may_tell_of_its_parser(bench: Bench) -> None:
    source = {"converter": {"name": "forged", "parser": "lxml 5", "config": "strict"}}
    made = finished(bench.composer.draft(Report(document(source=source))))
    converter = {"name": "csv", "version": "1.4", "distribution": "acme", "parser": "lxml 5", "config": "strict"}
    assert made["source"]["converter"] == converter


def test_names_that_are_no_utf8_and_parts(schemas: Schemas) -> None:
    name = os.fsdecode(b"m\xfcll.csv")
    bench = Bench(schemas, replace(ORIGIN, name=name, parts=(Part(name, 1, "cd" * 32),)))
    made = finished(bench.composer.draft(Report(document())))
    assert made["source"]["path"] == "m\ufffdll.csv"
    assert base64.b64decode(made["source"]["pathBytes"]) == b"m\xfcll.csv"
    assert made["source"]["parts"] == [{"path": "m\ufffdll.csv", "sha256": "cd" * 32}]


def test_counts_are_of_leaves_and_only_where_missing(bench: Bench) -> None:
    root = step(
        type="group",
        steps=[step("failed"), step(type="group", steps=[step(), step("skipped", type="action")]), step(type="group")],
    )
    assert finished(bench.composer.draft(Report(document(root=root))))["counts"] == {
        "total": 3,
        "failed": 1,
        "passed": 1,
        "skipped": 1,
    }
    assert finished(bench.composer.draft(Report(document(root=root, counts={"mine": 1}))))["counts"] == {"mine": 1}
    assert "counts" not in finished(bench.composer.draft(Report(document())))
    assert finished(bench.composer.draft(Report(document(root=step()))))["counts"] == {"total": 1, "passed": 1}


def test_fields_have_defaults_that_the_converter_may_replace(bench: Bench) -> None:
    given = document(unit={"serial": "S1", "partNumber": None}, start="2026-01-02")
    draft = bench.composer.draft(Report(given, fields={"station": "ICT 1", "outcome": "gut", "yield": 0.5}))
    assert dict(draft.fields) == {
        "outcome": "gut",
        "serial": "S1",
        "start": "2026-01-02",
        "station": "ICT 1",
        "yield": 0.5,
    }
    assert dict(bench.composer.draft(Report(document(unit=None))).fields) == {"outcome": "passed"}


@pytest.mark.parametrize(
    "fields",
    [
        {"a": math.nan},
        {"a": [1]},
        {"a": b"x"},
        {1: "a"},
        {f"f{number}": 1 for number in range(65)},
        {"a": "x" * 20_000},
    ],
)
def test_fields_are_plain_few_and_short(bench: Bench, fields: Any) -> None:
    assert refused(bench, Report(document(), fields=fields)).code == "DM-V008"


def test_fields_with_undecodable_text_are_refused(bench: Bench) -> None:
    assert refused(bench, Report(document(), fields={"a": "\udc80"})).code == "DM-V005"


def test_ordinals_and_keys_make_ids(bench: Bench) -> None:
    drafts = [bench.composer.draft(Report(document(), key=key)) for key in (None, None, "S1", "S1")]
    assert len({draft.report_id for draft in drafts}) == 4
    assert [draft.key for draft in drafts] == [None, None, "S1", "S1#2"]
    assert [finished(draft)["source"]["index"] for draft in drafts] == [0, 1, 2, 3]


@pytest.mark.parametrize("key", [7, "x" * 1001, "\udc80"])
def test_a_key_is_short_text(bench: Bench, key: Any) -> None:
    assert refused(bench, Report(document(), key=key)).code == "DM-V007"


def test_attachments_are_embedded(bench: Bench) -> None:
    described = [{"id": "log", "name": "?", "path": "C:\\log.txt"}, "broken"]
    files = [
        Attachment(id="log", name="log.txt", data=b"text", media_type="text/plain"),
        Attachment(id="pic", name="p.png", data=b"\x89"),
    ]
    assert refused(bench, Report(document(attachments=described), attachments=files)).path == "$.attachments[1]"

    made = finished(bench.composer.draft(Report(document(attachments=described[:1]), attachments=files)))
    log, picture = made["attachments"]
    assert log["path"] == "C:\\log.txt"
    assert (log["mediaType"], log["size"], base64.b64decode(log["base64"])) == ("text/plain", 4, b"text")
    assert log["sha256"] == hashlib.sha256(b"text").hexdigest()
    assert picture["mediaType"] == "application/octet-stream"


# --- streamed steps --------------------------------------------------------------------------------------------------------


def streamed(bench: Bench, draft: Draft) -> dict[str, Any]:
    payload: Payload = draft.finish(1, [{"code": "ODD", "message": "odd"}])
    file = bench.files[-1]
    assert payload.body is None
    assert payload.path == file.path
    assert file.closed
    assert payload.size == len(file.data)
    assert payload.sha256 == hashlib.sha256(file.data).hexdigest()
    made: dict[str, Any] = json.loads(file.data)
    return made


def test_streamed_and_whole_reports_are_the_same(bench: Bench, schemas: Schemas) -> None:
    steps = [step("failed" if number == 3 else "passed", duration=number) for number in range(5000)]
    head = document(root=step(type="group"), operator="me")
    stream = bench.composer.draft(
        Report(head, steps=iter(steps), attachments=[Attachment(id="a", name="a", data=b"1")])
    )
    whole = Bench(schemas, ORIGIN).composer.draft(
        Report(
            {**head, "root": {**head["root"], "steps": steps}}, attachments=[Attachment(id="a", name="a", data=b"1")]
        )
    )
    assert stream.held < 10_000
    assert streamed(bench, stream) == finished(whole, 1, [{"code": "ODD", "message": "odd"}])
    assert stream.fields == whole.fields


def test_the_document_is_read_after_its_steps(bench: Bench) -> None:
    head = document(root=step("unknown", type="group"))

    def steps() -> Iterator[dict[str, Any]]:
        yield step("failed")
        head["outcome"] = "failed"
        head["root"] = step("failed", type="group")

    made = streamed(bench, bench.composer.draft(Report(head, steps=steps())))
    assert made["outcome"] == made["root"]["outcome"] == "failed"
    assert made["counts"] == {"total": 1, "failed": 1}


def test_non_finite_values_are_marked_while_streaming(bench: Bench) -> None:
    measurement = {"name": "u", "value": math.nan, "status": "failed"}
    report = Report(document(root=step(type="group")), steps=[step(measurements=[measurement])])
    made = streamed(bench, bench.composer.draft(report))
    assert made["root"]["steps"][0]["measurements"][0]["value"] == {"nonFinite": "NaN"}


def test_no_steps_at_all(bench: Bench) -> None:
    made = streamed(bench, bench.composer.draft(Report(document(root=step(type="group")), steps=())))
    assert made["root"]["steps"] == []
    assert made["counts"] == {"total": 0}


@pytest.mark.parametrize(
    ("report", "code", "path"),
    [
        (Report(document(root=step(type="group")), steps=[step(), step("bad")]), "DM-V004", "$.root.steps[1].outcome"),
        (Report(document(root=step(type="group"), outcome="bad"), steps=[step()]), "DM-V004", "$.outcome"),
        (Report(document(root={"name": "r"}), steps=[]), "DM-V004", "$.root"),
        (Report(document(), steps=[]), "DM-V007", "$.root"),
        (Report(document(root=step(steps=[step()])), steps=[]), "DM-V007", "$.root"),
    ],
)
def test_a_streamed_report_that_is_refused_closes_its_file(bench: Bench, report: Report, code: str, path: str) -> None:
    error = refused(bench, report)
    assert (error.code, error.path) == (code, path)
    assert all(file.closed for file in bench.files)


def test_what_the_steps_raise_comes_out(bench: Bench) -> None:
    def steps() -> Iterator[dict[str, Any]]:
        yield step()
        raise LookupError("in the middle")

    with pytest.raises(LookupError):
        bench.composer.draft(Report(document(root=step(type="group")), steps=steps()))
    assert bench.files[0].closed


# --- other documents -------------------------------------------------------------------------------------------------------


def test_bytes_pass_as_they_are(bench: Bench) -> None:
    draft = bench.composer.draft(Report(b"\0\1", media_type="application/octet-stream", schema=None, fields={"a": 1}))
    assert draft.finish(1, [{"code": "A", "message": "a"}]).body == b"\0\1"
    assert dict(draft.fields) == {"a": 1}
    assert draft.schema is None
    view: Any = memoryview(b"xy")
    assert bench.composer.draft(Report(view, schema=None)).finish(1, ()).body == b"xy"


def test_json_bytes_are_held_to_the_schema_they_claim(bench: Bench) -> None:
    draft = bench.composer.draft(
        Report(b'{"t": 1}', media_type="application/vnd.acme+json; v=1", schema="urn:test:weather")
    )
    assert draft.finish(1, ()).body == b'{"t": 1}'
    assert refused(bench, Report(b"{}", schema="urn:test:weather")).code == "DM-V004"
    assert refused(bench, Report(b"<xml/>", media_type="text/xml")).code == "DM-V007"


def test_a_document_of_another_schema_is_not_filled_in(bench: Bench) -> None:
    draft = bench.composer.draft(Report({"t": 21}, schema="urn:test:weather"))
    assert finished(draft) == {"t": 21}
    assert dict(draft.fields) == {}


@pytest.mark.parametrize(
    ("report", "code"),
    [
        (Report({"t": 1}, schema=None), "DM-V007"),
        (Report({"t": 1}, schema="urn:nobody"), "DM-V006"),
        (Report({"t": 1}, schema="urn:test:weather", steps=[]), "DM-V007"),
        (Report(b"x", schema=None, attachments=[Attachment(id="a", name="a", data=b"")]), "DM-V007"),
        (Report("text"), "DM-V007"),  # type: ignore[arg-type]
        (Report(document(), media_type="json"), "DM-V007"),
        (Report(document(), media_type="text/plain\r\nX: 1"), "DM-V007"),
        ({"kind": "test"}, "DM-V007"),
    ],
)
def test_parts_that_do_not_fit_are_refused(bench: Bench, report: Any, code: str) -> None:
    assert refused(bench, report).code == code
