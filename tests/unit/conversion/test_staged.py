from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from dropmill.conversion.outcomes import StagedReport
from dropmill.conversion.publication import publication
from dropmill.conversion.staged import StagedReports
from dropmill.conversion.worker.staging import RECORD, SPOOL
from dropmill.queue.records import NewReport


def header(number: int, body: bytes, **more: Any) -> dict[str, Any]:
    digest = hashlib.sha256(body).hexdigest()
    facts = {"id": f"r{number}", "key": None, "type": "a/b", "schema": None, "fields": {"n": number}, "size": len(body)}
    return {**facts, "sha256": digest, **more}


def staged(tmp_path: Path, sent: int, spooled: int) -> StagedReports:
    with (tmp_path / SPOOL).open("wb") as stream:
        for number in range(sent, sent + spooled):
            large = number % 5 == 4
            body = b"" if large else b"body %d" % number
            text = json.dumps(header(number, body, **({"file": f"large-{number}"} if large else {}))).encode()
            stream.write(RECORD.pack(len(text), len(body)) + text + body)
    given = [(header(number, b"body %d" % number), b"body %d" % number) for number in range(sent)]
    return StagedReports(given, tmp_path, sent + spooled, 1234)


def test_it_is_a_sequence_wherever_its_reports_are(tmp_path: Path) -> None:
    reports = staged(tmp_path, 3, 8)
    assert len(reports) == 11
    assert [report.report_id for report in reports] == [f"r{number}" for number in range(11)]
    assert [reports[number] for number in range(-11, 11)] == [*reports, *reports]
    assert reports[2:5] == list(reports)[2:5]
    assert reports[3].body == b"body 3"
    assert (reports[4].body, reports[4].path) == (None, str(tmp_path / "large-4"))
    for number in (11, -12):
        with pytest.raises(IndexError):
            reports[number]
    assert reports.size == 1234
    assert reports.spooled


def test_in_memory_alone() -> None:
    reports = StagedReports([(header(0, b"x"), b"x")], None, 1, 1)
    assert not reports.spooled
    assert list(reports) == [reports[0]]
    assert reports.folder is None


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/b", ".."])
def test_a_report_lies_in_its_folder_or_nowhere(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="outside"):
        StagedReports([(header(0, b"", file=name), b"")], tmp_path, 1, 0)
    with pytest.raises(ValueError, match="outside"):
        StagedReports([(header(0, b"", file="x"), b"")], None, 1, 0)


def test_a_publication_reads_bodies_when_asked(tmp_path: Path) -> None:
    made = publication(staged(tmp_path, 2, 5), ["a", "b"])
    assert all(isinstance(report, NewReport) for report in made)
    assert [report.ordinal for report in made] == list(range(7))
    assert [report.uid for report in made] == [f"r{number}" for number in range(7)]
    assert made[0].lanes == made[6].lanes == ["a", "b"]
    assert made[3].body == made[3].body == b"body 3"
    assert (made[4].body, made[4].staged) == (None, str(tmp_path / "large-4"))
    assert made[6].fields == {"n": 6}
    assert made[6].sha256 == hashlib.sha256(made[6].body or b"").hexdigest()
    assert "body" not in {key: value for key, value in vars(made[5]).items() if value == b"body 5"}

    (tmp_path / SPOOL).write_bytes(b"")
    with pytest.raises(OSError, match="cut short"):
        _ = made[6].body


def test_a_plain_sequence_will_do() -> None:
    report = StagedReport(
        report_id="r", key=None, media_type="a/b", schema=None, fields={}, size=1, sha256="s", body=b"x"
    )
    (made,) = publication([report], ["a"])
    assert (made.uid, made.body, made.staged, made.lanes) == ("r", b"x", None, ["a"])
