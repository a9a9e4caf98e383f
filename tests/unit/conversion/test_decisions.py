from __future__ import annotations

from dataclasses import replace

import pytest

from dropmill.conversion.decisions import Fail, Park, Publish, Release, decide, our_own_fault, put_off, waiting
from dropmill.conversion.outcomes import Ambiguous, Converted, Fault, NoConverter, NotReady, Refused, Waiting
from dropmill.queue.records import FileIdentity, FileRecord, FileState, ParkReason

FILE = FileRecord(
    id="f1", folder="inbox", name="a.csv", place="/w/a.csv", origin="/i/a.csv", state=FileState.CONVERTING, reason="",
    identity=FileIdentity(1, 2, 3, 4, 5), sha256="", occurrence=0, claimed_at=0.0, updated_at=0.0, attempts=0, not_before=0.0,
    converter=None, error=None, target=None, pending=0, dead=0, tags={},
)  # fmt: skip
AGAIN = replace(FILE, attempts=1)
FAULT = Fault(
    plugin="acme",
    code="DM-V012",
    kind="crash",
    message="it crashed",
    converter="csv",
    version="1",
    record={"exitCode": 3},
)


def test_reports_are_published() -> None:
    outcome = Converted(reports=[], converter="csv", version="1")
    assert decide(FILE, outcome) == Publish(outcome=outcome, converter="csv 1")


def test_a_refused_file_fails_with_its_record() -> None:
    refused = Refused(code="NO-HEADER", message="no header", line=3, converter="csv", version="1", record={"line": 3})
    made = decide(AGAIN, refused)
    error = {"line": 3, "attempt": 2, "next": "dropmill retry f1"}
    assert made == Fail(code="NO-HEADER", reason="no header", error=error, converter="csv 1")
    unread = decide(FILE, Refused(code="DM-V030", message="gone"))
    assert isinstance(unread, Fail)
    assert unread.converter is None


def test_the_first_fault_is_charged_and_tried_again() -> None:
    made = decide(FILE, FAULT)
    assert isinstance(made, Release)
    assert made.charge
    assert made.after == 1.0
    assert made.reason == "fault of the plugin acme"
    assert made.event == "conversion.faulted"
    assert made.details == {"exitCode": 3, "attempt": 1, "next": "it is converted once more"}


@pytest.mark.parametrize("left_alone", [None, "it faulted too often"])
def test_the_second_is_poison(left_alone: str | None) -> None:
    made = decide(AGAIN, FAULT, left_alone=left_alone)
    assert isinstance(made, Park)
    assert (made.reason, made.converter) == (ParkReason.POISON, "csv 1")
    assert made.error["attempt"] == 2
    assert "dropmill retry f1" in made.error["next"]


def test_a_first_fault_that_opens_the_breaker_waits_for_the_plugin() -> None:
    made = decide(FILE, FAULT, left_alone="it faulted too often")
    assert isinstance(made, Park)
    assert made.reason == ParkReason.WAITING_FOR_PLUGIN
    assert made.error["plugin"] == "acme"
    assert made.error["fault"] == "it crashed"
    assert made.error["exitCode"] == 3
    assert made.error["code"] == "DM-V023"


def test_a_cancelled_conversion_costs_nothing() -> None:
    made = decide(AGAIN, replace(FAULT, kind="cancelled"))
    assert made == Release(reason="the conversion was cancelled")


def test_not_ready() -> None:
    assert decide(FILE, NotReady(reason="later", after=7.0, converter="csv")) == put_off("later", 7.0, "DM-V034", "csv")
    assert decide(FILE, NotReady(reason="disk", after=7.0, code="DM-V031")) == put_off("disk", 7.0, "DM-V031")
    made = put_off("later", 7.0, "DM-V034")
    assert (made.reason, made.after, made.charge, made.event) == ("not ready", 7.0, False, "file.put_off")


def test_nobody_several_or_not_now() -> None:
    nobody = decide(FILE, NoConverter(considered={"csv": "its name"}))
    assert isinstance(nobody, Fail)
    assert (nobody.code, nobody.error["considered"]) == ("DM-V001", {"csv": "its name"})
    several = decide(FILE, Ambiguous(candidates=["a", "b"]))
    assert isinstance(several, Park)
    assert several.reason == ParkReason.AMBIGUOUS
    assert "--converter a" in several.error["next"]
    assert decide(FILE, Waiting(plugin="acme", reason="open")) == waiting("acme", "open")


def test_an_error_of_our_own_is_bounded_too() -> None:
    first, second = our_own_fault(FILE, OSError("x")), our_own_fault(AGAIN, OSError("x"))
    assert isinstance(first, Release)
    assert first.charge
    assert isinstance(second, Park)
    assert second.reason == ParkReason.POISON
    assert second.error["code"] == "DM-V019"
