from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from dropmill.api import Level
from dropmill.config.settings import ConverterChoice
from dropmill.conversion.inputs import Job
from dropmill.conversion.outcomes import Ambiguous, Converted, Fault, NoConverter, NotReady, Refused
from dropmill.conversion.selection import Selector
from dropmill.conversion.ticket import Answer, Death, Ticket
from dropmill.conversion.verdicts import FAULT_CODES, opinions, outcome_of, sniff_fault
from support.conversions import bindings

MEMORY = 1_000


@pytest.fixture
async def ticket() -> Ticket:
    choices = [ConverterChoice(id="lines", options={}), ConverterChoice(id="faulty", options={}, min_level="likely")]
    return Ticket(
        group="acme",
        mode="choose",
        candidates=Selector(choices, bindings()).all(),
        header={},
        body=b"",
        descriptors=(),
        future=asyncio.get_running_loop().create_future(),
        submitted=0.0,
    )


JOB = Job(id="f1", place="/w/a.txt", name="a.txt", size=2, sha256="ab", folder="inbox", selector=Selector([], {}))
REPORT = {"id": "r", "key": None, "type": "application/json", "schema": None, "fields": {}, "size": 1, "sha256": "x"}


def answer(ticket: Ticket, result: Any, *, ok: bool = True, reports: Any = (), **header: Any) -> Answer:
    filled = {
        "key": ticket.candidates[0].key,
        "wall": 0.5,
        "cpu": 0.25,
        "peak": 7,
        "folder": False,
        "result": result,
        **header,
    }
    return Answer(ok=ok, header=filled, reports=reports, folder=Path("/scratch/1/1"), output="printed")


async def test_converted(ticket: Ticket) -> None:
    more = {
        "reports": 1,
        "bytes": 1,
        "spooled": False,
        "warnings": [{"code": "A"}],
        "failed": {ticket.candidates[1].key: "boo"},
    }
    header = {**answer(ticket, "converted").header, **more}
    given = Answer(ok=True, header=header, reports=[(REPORT, b"x")], folder=Path("/scratch/1/1"), output="")
    made = outcome_of(JOB, ticket, given, MEMORY)
    assert isinstance(made, Converted)
    assert (made.converter, made.version, made.wall, made.cpu, made.peak_memory) == ("lines", "1.2.3", 0.5, 0.25, 7)
    assert made.reports[0].body == b"x"
    assert made.warnings[0] == {"code": "A"}
    assert made.warnings[1]["code"] == "DM-V017"
    assert "faulty failed when asked for this file: boo" in made.warnings[1]["message"]


async def test_refused(ticket: Ticket) -> None:
    made = outcome_of(JOB, ticket, answer(ticket, "refused", code="X", message="m", line=4, value="v"), MEMORY)
    assert isinstance(made, Refused)
    assert (made.code, made.message, made.line, made.converter) == ("X", "m", 4, "lines")
    assert made.record["outcome"] == "refused"
    assert (made.record["value"], made.record["wall"]) == ("v", 0.5)
    assert made.record["file"] == {"id": "f1", "name": "a.txt", "folder": "inbox", "sha256": "ab", "size": 2}


@pytest.mark.parametrize(("given", "after"), [(5, 5.0), (-5, 0.0), (1e9, 86_400.0)])
async def test_later(ticket: Ticket, given: float, after: float) -> None:
    made = outcome_of(JOB, ticket, answer(ticket, "later", reason="r", after=given), MEMORY)
    assert made == NotReady(reason="r", after=after, converter="lines")


async def test_the_other_answers(ticket: Ticket) -> None:
    keys = [candidate.key for candidate in ticket.candidates]
    assert outcome_of(JOB, ticket, answer(ticket, "nobody", considered={keys[1]: "no"}), MEMORY) == NoConverter(
        considered={"lines": "not its file", "faulty": "no"}
    )
    assert outcome_of(JOB, ticket, answer(ticket, "tie", keys=keys), MEMORY) == Ambiguous(
        candidates=["lines", "faulty"]
    )
    trouble = outcome_of(JOB, ticket, answer(ticket, "trouble", code="DM-V032", message="full"), MEMORY)
    assert trouble == NotReady(reason="full", after=30.0, converter="lines", code="DM-V032")
    cancelled = outcome_of(JOB, ticket, answer(ticket, "cancelled"), MEMORY)
    assert isinstance(cancelled, Fault)
    assert cancelled.kind == "cancelled"


async def test_an_error_is_the_plugins_fault(ticket: Ticket) -> None:
    given = answer(ticket, None, ok=False, kind="error", message="ValueError: x", exception={"type": "ValueError"})
    made = outcome_of(JOB, ticket, given, MEMORY)
    assert isinstance(made, Fault)
    assert (made.plugin, made.code, made.kind, made.converter) == ("lines", "DM-V010", "error", "lines")
    assert made.record["exception"] == {"type": "ValueError"}
    assert made.record["output"] == "printed"
    assert made.record["limits"] == {"soft": 60.0, "hard": 600.0, "memory": MEMORY}


NONSENSE: list[Mapping[str, Any]] = [
    {"result": "surprise"},
    {"key": "nobody"},
    {"wall": "long"},
    {"wall": float("nan")},
    {"cpu": None},
    {"result": "converted"},
    {"result": "converted", "reports": 2, "bytes": 1, "spooled": False, "warnings": []},
    {"result": "converted", "reports": 0, "bytes": 1, "spooled": False, "warnings": [], "given": [(REPORT, b"")]},
    {"result": "converted", "reports": 1, "bytes": 1, "spooled": False, "warnings": [], "given": [({}, b"")]},
    {
        "result": "converted", "reports": 1, "bytes": 1, "spooled": False, "warnings": [], "folder": True,
        "given": [({**REPORT, "file": "../../etc/passwd"}, b"")],
    },
    {
        "result": "converted", "reports": 1, "bytes": 1, "spooled": False, "warnings": [],
        "given": [({**REPORT, "file": "report"}, b"")],
    },
    {"result": "tie", "keys": ["nobody"]},
    {"result": "later", "reason": "r", "after": "soon"},
    {"ok": False, "kind": "mood", "message": "m"},
    {"ok": False},
]  # fmt: skip


@pytest.mark.parametrize("header", NONSENSE)
async def test_an_answer_that_makes_no_sense_is_a_fault(ticket: Ticket, header: Mapping[str, Any]) -> None:
    header = dict(header)
    ok, given = header.pop("ok", True), header.pop("given", ())
    filled = {**answer(ticket, "nobody").header, **header}
    made = outcome_of(JOB, ticket, Answer(ok=ok, header=filled, reports=given, folder=Path("/s"), output="o"), MEMORY)
    assert isinstance(made, Fault)
    assert (made.kind, made.code) == ("protocol", "DM-V015")


@pytest.mark.parametrize("kind", [*FAULT_CODES, "unheard of"])
async def test_a_death_is_the_fault_of_whose_code_ran(ticket: Ticket, kind: str) -> None:
    death = Death(
        kind=kind, message="it died", candidate=1, signal="SIGSEGV", stack="stack", output="out", read=5, wall=1.5
    )
    made = outcome_of(JOB, ticket, death, MEMORY)
    assert isinstance(made, Fault)
    assert made.plugin == "faulty"
    assert made.kind == (kind if kind in FAULT_CODES else "crash")
    record = made.record
    assert (record["signal"], record["stack"], record["bytesRead"], record["wall"]) == ("SIGSEGV", "stack", 5, 1.5)
    assert "exitCode" not in record


async def test_opinions(ticket: Ticket) -> None:
    rows = [[3, "looks so", None], [None, "failed", {"message": "boo", "exception": {"type": "X"}}]]
    given = answer(ticket, "answers", answers=rows)
    one, other = opinions(ticket, given)
    assert (one.level, one.failed, other.failed) == (Level.LIKELY, False, True)
    assert other.minimum is Level.LIKELY
    made = sniff_fault(JOB, ticket, ticket.candidates[1], given, MEMORY)
    assert isinstance(made, Fault)
    assert (made.plugin, made.message, made.record["exception"]) == ("faulty", "boo", {"type": "X"})

    death = Death(kind="crash", message="it died", candidate=0)
    assert all(opinion.failed and opinion.reason == "it died" for opinion in opinions(ticket, death))
    assert isinstance(sniff_fault(JOB, ticket, ticket.candidates[1], death, MEMORY), Fault)
    error = answer(ticket, None, ok=False, kind="oom", message="full")
    assert all(opinion.reason == "full" for opinion in opinions(ticket, error))
    for nonsense in ([[3, "", 7], [9, "", None]], [[3, "", None]], 7, None):
        found = opinions(ticket, answer(ticket, "answers", answers=nonsense))
        assert len(found) == 2
        assert found[1].failed
