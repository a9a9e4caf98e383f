"""The runner in this process: everything but the ends of a process. What needs one is in tests/integration/conversion."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path
from typing import Any

import pytest

from dropmill.conversion.staged import StagedReports
from dropmill.conversion.worker.frames import Kind, ProtocolError
from dropmill.conversion.worker.page import Cancelled
from dropmill.conversion.worker.staging import SPOOL
from dropmill.conversion.worker.task import Call

from .conftest import Workplace


def test_one_report(workplace: Workplace) -> None:
    kind, answer = workplace.run("A\n", "lines")
    assert kind is Kind.OK
    assert answer["result"] == "converted"
    assert (answer["key"], answer["reports"], answer["folder"], answer["spooled"]) == ("lines", 1, False, False)
    assert answer["wall"] > 0
    assert answer["peak"] > 0
    ((header, body),) = workplace.reports
    assert json.loads(body)["reportId"] == header["id"]
    assert header["size"] == len(body) == answer["bytes"]
    assert workplace.page.call == 0


def test_of_is_filled_in_while_all_reports_are_at_hand(workplace: Workplace) -> None:
    workplace.run("A\nB\nC\n", "lines")
    assert [json.loads(body)["source"]["of"] for _, body in workplace.reports] == [3, 3, 3]

    workplace.fault("many 65")
    assert {json.loads(body)["source"]["of"] for _, body in workplace.reports} == {None}

    workplace.fault("many 3 200000")
    names = [header["file"] for header, _ in workplace.reports]
    bodies = [(workplace.folder / "3" / name).read_bytes() for name in names]
    assert [json.loads(body)["source"]["of"] for body in bodies] == [None] * 3


def test_very_many_reports_go_to_the_spool(workplace: Workplace) -> None:
    _, answer = workplace.fault("many 1500")
    assert (answer["reports"], answer["spooled"], answer["folder"]) == (1500, True, True)
    assert len(workplace.reports) == 1000
    assert (workplace.folder / "1" / SPOOL).stat().st_size > 500 * 400


def test_levels_minimum_and_order(workplace: Workplace) -> None:
    for level in ("WEAK", "CERTAIN"):
        workplace.define(level.lower(), "faulty_converters:Lines", level=level)
    assert workplace.run("A\n", "weak", "certain")[1]["key"] == "certain"
    assert workplace.run("A\n", "nosniff", "weak")[1]["key"] == "nosniff"
    assert workplace.run("A\n", ["nosniff", 1, None], "weak")[1]["key"] == "nosniff"

    _, answer = workplace.run("A\n", ["weak", 2, 3])
    assert answer["result"] == "nobody"
    assert answer["considered"] == {"weak": "weak, below the folder's likely: it begins as it should"}

    _, answer = workplace.run("A\n", "weak", ["nosniff", 1, None], ordered=False)
    assert (answer["result"], answer["keys"]) == ("tie", ["weak", "nosniff"])


def test_a_broken_candidate_counts_unless_another_is_certain(workplace: Workplace) -> None:
    workplace.define("certain", "faulty_converters:Lines", level="CERTAIN")
    kind, answer = workplace.run("A\n", "lines", "badsniff")
    assert (kind, answer["key"], answer["kind"]) == (Kind.ERROR, "badsniff", "error")
    kind, answer = workplace.run("A\n", "certain", "badsniff")
    assert (kind, answer["result"]) == (Kind.OK, "converted")
    assert answer["failed"] == {"badsniff": "LookupError: sniffing fails"}


def test_asking_only(workplace: Workplace) -> None:
    _, answer = workplace.run("A\n", "lines", "badsniff", "nosniff", "magic", mode="sniff")
    (lines, broken, nosniff, magic) = answer["answers"]
    assert lines == [3, "it begins as it should", None]
    assert broken[0] is None
    assert broken[2]["exception"]["type"] == "LookupError"
    assert nosniff == [2, "its name fits", None]
    assert magic[0] == 3


def test_a_wrong_answer_of_sniff_is_a_fault(workplace: Workplace) -> None:
    workplace.define("wrong", "faulty_converters:WrongSniff")
    workplace.define("not", "faulty_converters:NotMineSniff")
    kind, answer = workplace.run("A\n", "wrong")
    assert (kind, answer["message"]) == (Kind.ERROR, "TypeError: sniff answered a str, not a Match or None")
    assert workplace.run("A\n", "not")[1]["considered"] == {"not": "signalled"}


def test_completeness(workplace: Workplace) -> None:
    assert workplace.run("A\n", "complete", mode="complete")[1]["complete"] is False
    assert workplace.run("A\nEND\n", "complete", "lines", mode="complete")[1]["complete"] is True


def test_not_mine_goes_on_to_the_next(workplace: Workplace) -> None:
    workplace.define("shy", "faulty_converters:NoSniff", not_mine=True)
    kind, answer = workplace.run("A\n", "shy", "lines", mode="convert")
    assert (kind, answer["key"], answer["considered"]) == (Kind.OK, "lines", {"shy": "on second thought"})
    assert workplace.run("A\n", "shy", mode="convert")[1]["result"] == "nobody"
    kind, answer = workplace.fault("not_mine_late")
    assert kind is Kind.ERROR
    assert "NotMine was raised after 1 reports" in answer["message"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bad_input", {"result": "refused", "code": "NO-HEADER", "message": "the header is missing", "line": 3}),
        ("later", {"result": "later", "reason": "the licence server is away", "after": 12.5}),
        ("nothing", {"result": "refused", "code": "DM-V002"}),
        ("invalid", {"result": "refused", "code": "DM-V004", "path": "$.outcome", "value": "'splendid'"}),
    ],
)
def test_foreseen_ends(workplace: Workplace, text: str, expected: dict[str, Any]) -> None:
    kind, answer = workplace.fault(text)
    assert kind is Kind.OK
    assert {key: answer[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("raise", "ValueError: boo \\udcff"),
        ("exit", "SystemExit: goodbye"),
        ("interrupt", "KeyboardInterrupt: "),
        ("wrong_signal", "dropmill.api._errors.Unavailable: not for converters, which no converter may raise"),
        ("unknown_thing", "AttributeError: 'Faulty' object has no attribute 'do_unknown_thing'"),
        ("recurse", "RecursionError: maximum recursion depth exceeded"),
    ],
)
def test_faults(workplace: Workplace, text: str, message: str) -> None:
    kind, answer = workplace.fault(text)
    assert (kind, answer["kind"]) == (Kind.ERROR, "error")
    assert answer["message"].startswith(message)
    assert "faulty_converters.py" in answer["exception"]["traceback"]
    assert len(answer["exception"]["traceback"]) < 20_000


def test_a_fault_makes_a_new_instance(workplace: Workplace) -> None:
    workplace.define("counting", "faulty_converters:Counting")
    first, second = (workplace.run("A\n", "counting")[1]["message"] for _ in range(2))
    assert first == second == "ValueError: use 1"


def test_out_of_memory(workplace: Workplace) -> None:
    workplace.define("hungry", "faulty_converters:Hungry")
    assert workplace.run("A\n", "hungry")[1]["kind"] == "oom"
    kind, answer = workplace.run("A\n", "hungry", mode="sniff")
    assert (kind, answer["kind"], answer["message"]) == (Kind.ERROR, "oom", "out of memory: while sniffing")


def test_what_cleaning_up_raises_does_not_hide_the_end(workplace: Workplace) -> None:
    workplace.define("untidy", "faulty_converters:Untidy")
    assert workplace.run("A\n", "untidy")[1]["code"] == "DM-V004"


def test_reports_may_come_as_a_list(workplace: Workplace) -> None:
    workplace.define("listing", "faulty_converters:Listing")
    assert workplace.run("A\n", "listing")[1]["reports"] == 2


def test_trouble_with_the_file_is_not_the_converters(workplace: Workplace, tmp_path: Path) -> None:
    header = workplace.header(b"A\n", "lines", mode="convert")
    call = Call.read(header, b"a.txt", [os.open(tmp_path, os.O_RDONLY)])
    for mode in ("convert", "choose"):
        header["mode"] = mode
        call = Call.read(header, b"a.txt", [os.open(tmp_path, os.O_RDONLY)])
        kind, answer = workplace.runner.run(call, lambda header, body: None)
        assert (kind, answer["result"], answer["code"]) == (Kind.OK, "trouble", "DM-V031")


def test_a_full_disk_is_nobodys_fault(workplace: Workplace) -> None:
    workplace.folder.joinpath("1").write_text("in the way")
    kind, answer = workplace.fault("bytes 100000")
    assert (kind, answer["result"], answer["code"]) == (Kind.OK, "trouble", "DM-V032")


def test_a_file_may_become_so_much_and_no_more(tmp_path: Path) -> None:
    workplace = Workplace(tmp_path, max_output=10_000)
    for text in ("many 100", "bytes 10001", "bytes 100000"):
        kind, answer = workplace.fault(text)
        assert (kind, answer["kind"]) == (Kind.ERROR, "limit")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (70_000, hard))
    try:
        kind, answer = Workplace(tmp_path / ".." / tmp_path.name).fault("bytes 80000")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (kind, answer["kind"]) == (Kind.ERROR, "limit")


def test_a_file_that_changed_meanwhile_is_refused(workplace: Workplace) -> None:
    kind, answer = workplace.run("A\n", "lines", size=1)
    assert (kind, answer["code"]) == (Kind.OK, "DM-V033")


def test_cancelling(workplace: Workplace) -> None:
    kind, answer = workplace.run("A\n", "lines", before=workplace.page.cancel)
    assert (kind, answer["result"]) == (Kind.OK, "cancelled")
    workplace.define("cancelled", "faulty_converters:Lines", prefix="")
    assert workplace.reports == []


def test_calls_and_modes_that_make_no_sense(workplace: Workplace) -> None:
    with pytest.raises(ProtocolError, match="unknown mode"):
        workplace.run("A\n", "lines", mode="guess")
    with pytest.raises(ProtocolError, match="no SETUP frame described"):
        workplace.run("A\n", "nowhere")
    for broken in (
        {},
        {"n": 1},
        workplace.header(b"", ["lines", 9, None]),
        workplace.header(b"", "lines", parts=[[1, ""]]),
    ):
        with pytest.raises(ProtocolError, match="cannot be read"):
            Call.read(broken, b"a", [])
    with pytest.raises(ProtocolError, match="does not describe"):
        workplace.bench.add({"key": "x"})


def test_names_and_parts_are_read_from_the_body(workplace: Workplace) -> None:
    call = Call.read(workplace.header(b"", "lines", parts=[[1, "aa"], [2, "bb"]]), b"\xff.txt\0one\0two", [])
    assert call.name == "\udcff.txt"
    assert [(part.name, part.size, part.sha256) for part in call.parts] == [("one", 1, "aa"), ("two", 2, "bb")]


def test_a_document_type_of_its_own(workplace: Workplace) -> None:
    assert workplace.run("21.5", "weather", name=b"a.weather")[1]["result"] == "converted"
    assert workplace.run("99", "weather", name=b"a.weather")[1]["code"] == "DM-V004"


def test_warnings_beyond_the_hundredth_are_counted(workplace: Workplace) -> None:
    _, answer = workplace.fault("warn 150")
    assert len(answer["warnings"]) == 101
    assert answer["warnings"][7] == {"code": "ODD", "message": "warning 7", "line": 7}
    assert answer["warnings"][100]["message"] == "50 further warnings were left out"
    assert len(workplace.fault("warn 100")[1]["warnings"]) == 100


def test_progress_is_told_by_the_converter(workplace: Workplace) -> None:
    seen = []
    beat = workplace.page.beat

    def watched(done: float | None = None) -> None:
        seen.append(done)
        beat(done)

    workplace.page.beat = watched  # type: ignore[method-assign]
    workplace.fault("progress 0.1")
    told = [done for done in seen if done is not None]
    assert told
    assert told == sorted(told)


def test_large_reports_in_the_spool_lie_in_files_of_their_own(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dropmill.conversion.worker.staging._SENT", 2)
    _, answer = workplace.fault("many 5 70000")
    reports = StagedReports(workplace.reports, workplace.folder / "1", 5, answer["bytes"])
    assert [report.key for report in reports] == [f"S{number}" for number in range(5)]
    assert all(report.path is not None and Path(report.path).stat().st_size == report.size for report in reports)


def test_local_paths_and_attachments(workplace: Workplace) -> None:
    assert workplace.run("path\n", "faulty", name=b"odd name.faulty")[1]["reports"] == 1
    assert json.loads(workplace.reports[0][1])["unit"]["serial"] == "odd name.faulty"
    assert workplace.fault("attach")[1]["reports"] == 1


def test_output_is_progress_and_a_place_to_be_cancelled(workplace: Workplace) -> None:
    workplace.fault("steps 1")
    before = workplace.page.work
    workplace.fault("steps 20000")
    assert workplace.page.work > before + 3

    class Impatient:
        """Cancels the call once some output was made."""

        def __init__(self) -> None:
            self.calls = 0

        def __call__(self, done: float | None = None) -> None:
            self.calls += 1
            if self.calls == 4:
                raise Cancelled

    workplace.page.beat = Impatient()  # type: ignore[method-assign]
    assert workplace.fault("steps 50000")[1]["result"] == "cancelled"
