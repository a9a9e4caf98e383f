"""Conversions in real worker processes: what comes out, and what each foreseen end looks like."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest

from dropmill.api import Part
from dropmill.config.settings import ConverterChoice
from dropmill.conversion.outcomes import (
    Ambiguous,
    Converted,
    Fault,
    NoConverter,
    NotReady,
    Outcome,
    Refused,
    StagedReport,
    Waiting,
)
from dropmill.conversion.pool import ConversionPool
from dropmill.conversion.staged import StagedReports
from support.conversions import Inbox, bindings, running_pool


def body_of(report: StagedReport) -> bytes:
    body = report.body if report.path is None else Path(report.path).read_bytes()
    assert body is not None
    assert len(body) == report.size
    return body


def documents(outcome: Outcome) -> list[dict]:
    assert isinstance(outcome, Converted), outcome
    return [json.loads(body_of(report)) for report in outcome.reports]


async def test_a_file_becomes_its_reports_in_order(inbox: Inbox) -> None:
    outcome = await inbox.convert("sub/ünit.txt", "A\nB\n", "lines")

    assert isinstance(outcome, Converted)
    assert (outcome.converter, outcome.version) == ("lines", "1.2.3")
    first, second = documents(outcome)
    assert [report.key for report in outcome.reports] == ["A", "B"]
    assert first["unit"]["serial"] == "A"
    assert second["source"]["index"] == 1
    assert second["source"]["of"] == 2
    assert first["source"]["path"] == "sub/ünit.txt"
    assert first["source"]["converter"] == {"name": "lines", "version": "1.2.3", "distribution": "acme"}
    assert first["counts"] == {"total": 1, "passed": 1}
    assert dict(outcome.reports[0].fields) == {"outcome": "passed", "serial": "A"}
    assert first["reportId"] == outcome.reports[0].report_id != second["reportId"]
    assert outcome.wall > 0
    assert outcome.peak_memory > 1_000_000


async def test_the_same_file_again_makes_the_same_bytes(inbox: Inbox) -> None:
    job = inbox.job("a.txt", "A\nA\n", "lines")
    first, again = await inbox.run(job), await inbox.run(job)

    assert documents(first) == documents(again)
    assert len({report["reportId"] for report in documents(first)}) == 2


async def test_a_name_that_is_no_utf8_is_kept_as_bytes(inbox: Inbox) -> None:
    name = os.fsdecode(b"m\xfcll.txt")
    (document,) = documents(await inbox.convert(name, "A\n", "lines"))

    assert document["source"]["path"] == "m�ll.txt"
    assert base64.b64decode(document["source"]["pathBytes"]) == b"m\xfcll.txt"


async def test_a_large_report_is_staged_in_a_file(inbox: Inbox, pool: ConversionPool) -> None:
    outcome = await inbox.fault("bytes 500000")

    assert isinstance(outcome, Converted)
    (report,) = outcome.reports
    assert report.body is None
    assert report.path is not None
    assert body_of(report) == b"x" * 500_000
    await pool.discard(outcome)
    assert not Path(report.path).exists()


async def test_very_many_reports_wait_on_disk(inbox: Inbox, pool: ConversionPool) -> None:
    outcome = await inbox.fault("many 3000 600")

    assert isinstance(outcome, Converted)
    reports = outcome.reports
    assert isinstance(reports, StagedReports)
    assert reports.spooled
    assert len(reports) == 3000
    assert [report.key for report in reports] == [f"S{number}" for number in range(3000)]
    assert sum(report.size for report in reports) == reports.size
    assert json.loads(body_of(reports[2999]))["unit"]["serial"] == "S2999"
    assert reports[-1] == reports[2999]
    assert [report.key for report in reports[1998:2001]] == ["S1998", "S1999", "S2000"]
    with pytest.raises(IndexError):
        reports[3000]
    assert json.loads(body_of(reports[0]))["source"]["of"] is None
    assert reports.folder is not None
    await pool.discard(outcome)
    assert not reports.folder.exists()


async def test_streamed_steps_are_whole_and_counted(inbox: Inbox) -> None:
    (document,) = documents(await inbox.fault("steps 20000"))

    assert len(document["root"]["steps"]) == 20_000
    assert document["counts"] == {"total": 20_000, "passed": 19_999, "failed": 1}
    assert document["outcome"] == "failed"
    assert document["source"]["of"] == 1


async def test_warnings_stay_with_file_and_report(inbox: Inbox) -> None:
    outcome = await inbox.fault("warn 150")

    assert isinstance(outcome, Converted)
    assert len(outcome.warnings) == 101
    assert outcome.warnings[0] == {"code": "ODD", "message": "warning 0", "line": 0}
    assert "50 further warnings" in outcome.warnings[100]["message"]
    shown = documents(outcome)[0]["source"]["warnings"]
    assert shown[0] == {"code": "ODD", "message": "warning 0", "where": "line 0"}
    assert shown[100] == outcome.warnings[100]


async def test_attachments_travel_in_the_report(inbox: Inbox) -> None:
    (document,) = documents(await inbox.fault("attach"))

    (attachment,) = document["attachments"]
    assert attachment["size"] == 2
    assert base64.b64decode(attachment["base64"]) == b"\0\1"


async def test_a_converter_may_have_a_path_with_the_right_suffix(inbox: Inbox) -> None:
    outcome = await inbox.convert("some dir/odd name.faulty", "path\n", "faulty")

    (document,) = documents(outcome)
    assert document["unit"]["serial"] == "odd name.faulty"
    assert document["operator"] == "path"


async def test_a_document_type_of_its_own(inbox: Inbox) -> None:
    assert documents(await inbox.convert("a.weather", "21.5", "weather")) == [{"temperature": 21.5}]
    refused = await inbox.convert("a.weather", "99", "weather")

    assert isinstance(refused, Refused)
    assert refused.code == "DM-V004"
    assert "$.temperature" in refused.message


async def test_bad_input_is_refused_with_its_line(inbox: Inbox) -> None:
    outcome = await inbox.fault("bad_input")

    assert isinstance(outcome, Refused)
    assert (outcome.code, outcome.message, outcome.line) == ("NO-HEADER", "the header is missing", 3)
    assert outcome.record["plugin"] == "faulty"
    assert outcome.record["warnings"] == [{"code": "ODD", "message": "something was odd", "line": 1}]
    assert outcome.record["file"]["size"] == 10


async def test_retry_later_is_not_ready(inbox: Inbox) -> None:
    outcome = await inbox.fault("later")

    assert outcome == NotReady(reason="the licence server is away", after=12.5, converter="faulty")


@pytest.mark.parametrize(
    ("text", "code", "part"),
    [
        ("invalid", "DM-V004", "$.outcome"),
        ("nan duration", "DM-V004", "$.duration"),
        ("no_report", "DM-V007", "a dict, not a Report"),
        ("nothing", "DM-V002", "no report"),
    ],
)
async def test_what_is_no_valid_report_is_refused(inbox: Inbox, text: str, code: str, part: str) -> None:
    outcome = await inbox.fault(text)

    assert isinstance(outcome, Refused)
    assert outcome.code == code
    assert part in outcome.message


async def test_nan_is_kept_where_the_schema_has_a_place_for_it(inbox: Inbox) -> None:
    (document,) = documents(await inbox.fault("nan value"))

    assert document["root"]["steps"][0]["measurements"][0]["value"] == {"nonFinite": "NaN"}


# --- selection -----------------------------------------------------------------------------------------------------------


def lines(level: str, prefix: str = "", minimum: str | None = None) -> ConverterChoice:
    return ConverterChoice(id="lines", options={"level": level, "prefix": prefix}, min_level=minimum)


async def test_nobody_reads_it(inbox: Inbox) -> None:
    by_name = await inbox.convert("a.xyz", "A\n", "lines", "faulty")
    assert isinstance(by_name, NoConverter)
    assert set(by_name.considered) == {"lines", "faulty"}

    by_sniff = await inbox.convert("a.txt", "A\n", lines("LIKELY", prefix="B"))
    assert isinstance(by_sniff, NoConverter)
    assert by_sniff.considered == {"lines": "not its file"}

    by_level = await inbox.convert("a.txt", "A\n", lines("POSSIBLE", minimum="certain"))
    assert isinstance(by_level, NoConverter)
    assert "below the folder's certain" in by_level.considered["lines"]


async def test_magic_bytes_decide_before_any_worker_is_asked(inbox: Inbox) -> None:
    assert isinstance(await inbox.convert("a.bin", "xxMAGIC\n", "magic"), Converted)
    refused = await inbox.convert("a.bin", "MAGIC\n", "magic")
    assert isinstance(refused, NoConverter)
    assert "first bytes" in refused.considered["magic"]


async def test_the_highest_level_wins_and_order_breaks_ties(tmp_path: Path, scratch: Path) -> None:
    made = bindings()
    for name in ("low", "high"):
        made[name] = type(made["lines"])(
            made["lines"].spec.__class__(name, "faulty_converters:Lines", made["lines"].spec.accepts), name, "acme", "1"
        )
    low = ConverterChoice(id="low", options={"level": "WEAK"})
    high = ConverterChoice(id="high", options={"level": "CERTAIN"})
    equal = ConverterChoice(id="low", options={"level": "CERTAIN"})
    async with running_pool(scratch, made) as pool:
        inbox = Inbox(tmp_path, pool)
        assert (await inbox.convert("a.txt", "A\n", low, high)).converter == "high"  # type: ignore[union-attr]
        assert (await inbox.convert("a.txt", "A\n", equal, high)).converter == "low"  # type: ignore[union-attr]


async def test_equals_without_an_order_are_ambiguous(tmp_path: Path, scratch: Path) -> None:
    made = {name: binding for name, binding in bindings().items() if name == "lines"}
    twin = made["lines"]
    made["twin"] = type(twin)(twin.spec.__class__("twin", twin.spec.factory, twin.spec.accepts), "twin", "acme", "1")
    async with running_pool(scratch, made) as pool:
        outcome = await Inbox(tmp_path, pool).convert("a.txt", "A\n")
    assert outcome == Ambiguous(candidates=["lines", "twin"])


async def test_not_mine_moves_on_before_the_first_report_only(tmp_path: Path, scratch: Path) -> None:
    made = bindings()
    first = type(made["nosniff"])(
        made["nosniff"].spec.__class__("first", "faulty_converters:NoSniff", made["nosniff"].spec.accepts),
        "first",
        "acme",
        "1",
    )
    made["first"] = first
    async with running_pool(scratch, made) as pool:
        inbox = Inbox(tmp_path, pool)
        gives_up = ConverterChoice(id="first", options={"not_mine": True})
        assert (await inbox.convert("a.ns", "A\n", gives_up, "nosniff")).converter == "nosniff"  # type: ignore[union-attr]

        alone = await inbox.convert("a.ns", "A\n", gives_up)
        assert alone == NoConverter(considered={"first": "on second thought"})

        late = await inbox.fault("not_mine_late")
        assert isinstance(late, Fault)
        assert "after 1 reports" in late.message


async def test_candidates_of_several_distributions_are_asked_each_in_its_worker(tmp_path: Path, scratch: Path) -> None:
    made = bindings()
    other = made["lines"]
    spec = other.spec.__class__("foreign", "faulty_converters:Lines", other.spec.accepts)
    made["foreign"] = type(other)(spec, "foreign", "elsewhere", "9")
    async with running_pool(scratch, made) as pool:
        inbox = Inbox(tmp_path, pool)
        foreign = ConverterChoice(id="foreign", options={"level": "CERTAIN"})
        won = await inbox.convert("a.txt", "A\n", lines("WEAK"), foreign)
        assert (won.converter, won.version) == ("foreign", "9")  # type: ignore[union-attr]

        nobody = await inbox.convert(
            "a.txt", "A\n", lines("WEAK", prefix="B"), ConverterChoice(id="foreign", options={"prefix": "C"})
        )
        assert isinstance(nobody, NoConverter)
        assert set(nobody.considered) == {"lines", "foreign"}

        tie = await inbox.run(inbox.job("a.txt", "A\n"))  # all converters, no order; badsniff fails to answer
        assert isinstance(tie, Fault)
        assert tie.plugin == "badsniff"


async def test_a_candidate_that_fails_to_answer_may_be_the_owner(inbox: Inbox) -> None:
    unsure = await inbox.convert("a.txt", "A\n", lines("LIKELY"), "badsniff")
    assert isinstance(unsure, Fault)
    assert unsure.plugin == "badsniff"
    assert "LookupError: sniffing fails" in unsure.message
    assert "test_converters" not in unsure.record["exception"]["traceback"]

    certain = await inbox.convert("a.txt", "A\n", lines("CERTAIN"), "badsniff")
    assert isinstance(certain, Converted)
    (warning,) = certain.warnings
    assert warning["code"] == "DM-V017"
    assert "badsniff" in warning["message"]


async def test_a_candidate_that_dies_while_it_is_asked(inbox: Inbox) -> None:
    outcome = await inbox.convert("a.txt", "kill\n", lines("LIKELY"), "badsniff")

    assert isinstance(outcome, Fault)
    assert (outcome.plugin, outcome.kind) == ("badsniff", "crash")


async def test_a_converter_that_cannot_be_made_is_a_fault_each_time(inbox: Inbox) -> None:
    for _ in range(2):
        outcome = await inbox.convert("a.um", "A\n", "unmakeable")
        assert isinstance(outcome, Fault)
        assert "no licence file" in outcome.message


async def test_the_admin_forces_a_converter(inbox: Inbox) -> None:
    forced = await inbox.convert("a.xyz", "A\n", "faulty", forced="lines")
    assert (forced.converter) == "lines"  # type: ignore[union-attr]

    unknown = await inbox.convert("a.xyz", "A\n", "faulty", forced="nowhere")
    assert isinstance(unknown, Waiting)
    assert unknown.plugin == "nowhere"


async def test_a_folder_waits_for_a_converter_that_is_not_loaded(inbox: Inbox) -> None:
    waiting = await inbox.convert("a.xyz", "A\n", "lines", "gone")
    assert isinstance(waiting, Waiting)
    assert waiting.plugin == "gone"

    assert isinstance(await inbox.convert("a.txt", "A\n", "lines", "gone"), Converted)


async def test_a_plugin_that_may_not_be_asked(inbox: Inbox) -> None:
    job = inbox.job("a.txt", "A\n", "lines")
    waiting = await inbox.run(job, blocked=lambda plugin: "it is left alone" if plugin == "lines" else None)
    assert waiting == Waiting(plugin="lines", reason="it is left alone")

    forced = await inbox.run(inbox.job("a.txt", "A\n", "lines", forced="lines"), blocked=lambda _: "no")
    assert forced == Waiting(plugin="lines", reason="no")

    certain = inbox.job("a.txt", "A\n", lines("CERTAIN"), "badsniff")
    other = await inbox.run(certain, blocked=lambda plugin: "no" if plugin == "badsniff" else None)
    assert isinstance(other, Converted)

    unsure = inbox.job("a.txt", "A\n", lines("LIKELY"), "badsniff")
    assert isinstance(await inbox.run(unsure, blocked=lambda plugin: "no" if plugin == "badsniff" else None), Waiting)


# --- files ---------------------------------------------------------------------------------------------------------------


async def test_a_file_that_is_gone_or_changed(inbox: Inbox) -> None:
    gone = inbox.job("a.txt", "A\n", "lines")
    Path(gone.place).unlink()
    outcome = await inbox.run(gone)
    assert isinstance(outcome, Refused)
    assert outcome.code == "DM-V030"

    Path(gone.place).parent.rmdir()
    outcome = await inbox.run(gone)
    assert isinstance(outcome, NotReady)
    assert outcome.code == "DM-V031"

    link = inbox.job("a.txt", "A\n", "lines")
    Path(link.place).unlink()
    Path(link.place).symlink_to("/etc/passwd")
    outcome = await inbox.run(link)
    assert isinstance(outcome, Refused)
    assert outcome.code == "DM-V033"

    folder = inbox.job("a.txt", "A\n", "lines")
    Path(folder.place).unlink()
    Path(folder.place).mkdir()
    outcome = await inbox.run(folder)
    assert isinstance(outcome, Refused)


async def test_a_file_that_grows_during_the_conversion_is_refused(inbox: Inbox, pool: ConversionPool) -> None:
    job = inbox.job("a.faulty", "sleep 0.3\n", "faulty")
    (prepared,) = await pool.prepare("inbox", [job])
    with open(job.place, "ab") as stream:
        stream.write(b"more")
    outcome = await pool.convert(prepared)

    assert isinstance(outcome, Refused)
    assert outcome.code == "DM-V033"


async def test_a_unit_of_several_files(inbox: Inbox, tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"A\n")
    (tmp_path / "two").write_bytes(b"B\n")
    parts = [(Part("one", 2, "1" * 64), str(tmp_path / "one")), (Part("two", 2, "2" * 64), str(tmp_path / "two"))]
    outcome = await inbox.convert("unit.txt", "", "lines", parts=parts)

    (document,) = documents(outcome)
    assert document["unit"]["serial"] == "A"
    assert document["source"]["parts"] == [{"path": "one", "sha256": "1" * 64}, {"path": "two", "sha256": "2" * 64}]


async def test_is_complete(inbox: Inbox, pool: ConversionPool) -> None:
    assert not await pool.is_complete(inbox.job("a.end", "A\n", "complete"))
    assert await pool.is_complete(inbox.job("a.end", "A\nEND\n", "complete"))
    assert await pool.is_complete(inbox.job("a.txt", "A\n", "lines"))
    gone = inbox.job("a.end", "A\n", "complete")
    Path(gone.place).unlink()
    assert await pool.is_complete(gone)


async def test_no_descriptor_is_left(inbox: Inbox, pool: ConversionPool) -> None:
    await inbox.convert("a.txt", "A\n", "lines")
    for _ in range(40):
        await inbox.convert("a.txt", "A\n", "lines")
        await inbox.convert("a.xyz", "A\n", "lines")
    await pool.close()
    open_files = [os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]
    assert not [target for target in open_files if target.endswith((".txt", ".xyz")) or "dropmill-worker" in target]
