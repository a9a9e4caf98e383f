"""`dropmill.testing.convert` does what a worker does, and catches an author's mistakes."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dropmill.api import Accepts, BadInput, ConvertContext, ConverterSpec, Head, Level, Match, NotMine, Report, Source
from dropmill.testing import FileSource, InvalidReport, RecordingContext, convert

DOCUMENT = {"kind": "data", "outcome": "passed"}


class Plain:
    """Does as its options say."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = options

    def convert(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        what = self.options["do"]
        stream = source.open()
        if what != "leak":
            stream.close()
        context.warn("ODD", f"{self.options['word']} it is", line=3)
        context.progress(0.5)
        if what == "nothing":
            return
        if what == "refuse":
            raise BadInput("BAD", "bad")
        if what == "garbage":
            yield {"kind": "data"}  # type: ignore[misc]
        if what == "bytes":
            yield Report(b"\x00raw", media_type="application/x-raw", schema=None)
        elif what == "own":
            yield Report({"temperature": 20}, schema="urn:test:weather:1")
        elif what == "steps":
            document: dict[str, Any] = {**DOCUMENT, "root": {"name": "r", "type": "group", "outcome": "passed"}}
            yield Report(document, steps=({"name": str(n), "type": "test", "outcome": "passed"} for n in range(3)))
        else:
            yield Report({**DOCUMENT, "outcome": "fine" if what == "invalid" else "passed"}, key="k")
        if what == "late":
            raise NotMine


class Sniffing(Plain):
    def sniff(self, head: Head) -> Match | None:
        return Match(Level.LIKELY, head.name) if head.data.startswith(b"mine") else None


WEATHER = {"$id": "urn:test:weather:1", "type": "object", "properties": {"temperature": {"type": "number"}}}
OPTIONS = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "do": {
            "enum": ["nothing", "refuse", "garbage", "bytes", "own", "steps", "invalid", "late", "leak", "report"],
            "default": "report",
        },
        "word": {"type": "string", "default": "so"},
    },
}


@pytest.fixture(autouse=True)
def module(monkeypatch: pytest.MonkeyPatch) -> None:
    made = ModuleType("acme_converters")
    made.Plain, made.Sniffing = Plain, Sniffing  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "acme_converters", made)


def spec(name: str = "Plain") -> ConverterSpec:
    return ConverterSpec("acme", f"acme_converters:{name}", Accepts(("*",)), OPTIONS, schemas=(WEATHER,))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "x.acme"
    path.write_bytes(b"mine")
    return path


def test_a_report_is_complete_and_validated(file: Path) -> None:
    result = convert(spec(), file, name="other.acme")
    (report,) = result.reports
    assert (report["schemaVersion"], report["outcome"], report["source"]["path"]) == ("1.0", "passed", "other.acme")
    assert report["source"]["warnings"] == [{"code": "ODD", "message": "so it is", "where": "line 3"}]
    assert result.warnings == [{"code": "ODD", "message": "so it is", "line": 3}]
    assert (result.match, result.records[0].key) == (None, "k")
    assert convert(spec(), file).reports[0]["reportId"] == report["reportId"]


def test_streamed_steps_bytes_and_own_schemas(file: Path) -> None:
    (report,) = convert(spec(), file, {"do": "steps"}).reports
    assert [step["name"] for step in report["root"]["steps"]] == ["0", "1", "2"]
    assert convert(spec(), file, {"do": "bytes"}).reports == [b"\x00raw"]
    assert convert(spec(), file, {"do": "own"}).reports == [{"temperature": 20}]


def test_sniff_is_asked_first(file: Path) -> None:
    assert convert(spec("Sniffing"), file).match == Match(Level.LIKELY, "x.acme")
    file.write_bytes(b"yours")
    with pytest.raises(NotMine):
        convert(spec("Sniffing"), file)


def test_signals_pass_unchanged(file: Path) -> None:
    with pytest.raises(BadInput) as caught:
        convert(spec(), file, {"do": "refuse"})
    assert caught.value.code == "BAD"


@pytest.mark.parametrize(
    ("what", "told"),
    [("nothing", "yielded no report"), ("late", "after its first report"), ("leak", "1 stream")],
)
def test_mistakes_of_an_author_are_named(what: str, told: str, file: Path) -> None:
    with pytest.raises(AssertionError, match=told):
        convert(spec(), file, {"do": what})


@pytest.mark.parametrize(("what", "told"), [("invalid", "fine"), ("garbage", "not a Report")])
def test_a_report_that_breaks_its_schema_is_named(what: str, told: str, file: Path) -> None:
    with pytest.raises(InvalidReport, match=told):
        convert(spec(), file, {"do": what})


def test_options_are_checked_all_at_once(file: Path) -> None:
    with pytest.raises(ValueError, match=r"options\.word.*") as caught:
        convert(spec(), file, {"word": 3, "wrod": "x"})
    assert "wrod" in str(caught.value)


def test_a_source_and_a_context_alone(file: Path) -> None:
    source = FileSource.of(file)
    assert (source.name, source.size, len(source.sha256), source.local_path()) == ("x.acme", 4, 64, str(file))
    for call in (source.open, source.local_path):
        with pytest.raises(KeyError, match="no part"):
            call("a")
    context = RecordingContext()
    context.progress()
    with pytest.raises(ValueError, match="from 0 to 1"):
        context.progress(2)
