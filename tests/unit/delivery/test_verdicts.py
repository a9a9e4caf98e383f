"""Whatever a transport answers or raises, every lease gets exactly one verdict."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropmill.api import AuthRejected, Delivered, Duplicate, Rejected, Retry, Unavailable
from dropmill.delivery.backoff import Backoff
from dropmill.delivery.breaker import Cause
from dropmill.delivery.scrub import Scrubber
from dropmill.delivery.verdicts import Failed, Failing, GivenBack, Judge, Refusing, Sent, TimedOut, Working
from dropmill.queue.errors import PayloadDamaged
from dropmill.queue.records import Lease


def lease(number: int, attempt: int = 1) -> Lease:
    return Lease(
        id=number,
        fence=attempt,
        lane="d",
        key=f"r{number}.1",
        report_id=f"r{number}",
        media_type="application/json",
        size=2,
        sha256="",
        fields={},
        attempt=attempt,
        attempts_left=3,
        created_at=0.0,
        body=b"{}",
    )


def judge(*secrets: str) -> Judge:
    return Judge("reports", "http", Backoff(1.0, 300.0), Random(1), Scrubber(secrets))


BATCH = [lease(1), lease(2), lease(3), lease(4)]


def test_each_outcome_has_its_verdict() -> None:
    ending = judge().outcomes(
        BATCH,
        [
            Delivered("/x", details={"status": 201}),
            Duplicate("/y"),
            Retry("busy", 120, code="HTTP-503", details={"status": 503}),
            Rejected("HTTP-400", "bad"),
        ],
    )
    sent, duplicate, again, dead = ending.verdicts
    assert sent == Sent(BATCH[0], {"outcome": "sent", "ref": "/x", "details": {"status": 201}})
    assert duplicate == Sent(BATCH[1], {"outcome": "duplicate", "ref": "/y"})
    assert isinstance(again, Failed) and not again.permanent
    assert again.delay is not None and 120 <= again.delay <= 132
    assert again.error == {"code": "HTTP-503", "reason": "busy", "details": {"status": 503}, "after": 120}
    assert dead == Failed(BATCH[3], {"code": "HTTP-400", "reason": "bad"}, None, permanent=True)
    assert isinstance(ending.signal, Working)
    assert ending.counts == {"sent": 1, "duplicate": 1, "retry": 1, "rejected": 1}


def test_only_retries_are_a_failing_destination_and_the_longest_wish_counts() -> None:
    ending = judge().outcomes(BATCH[:2], [Retry("busy", 5), Retry("full", 90)])
    assert ending.signal == Failing("full", 90)
    assert judge().outcomes(BATCH[:1], [Rejected("X", "no")]).signal == Working()


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (None, "a NoneType instead of a sequence"),
        ("ok", "a str instead of a sequence"),
        (Delivered(), "a Delivered instead of a sequence"),
        ([], "0 outcomes for 2 items"),
        ([Delivered()] * 3, "3 outcomes for 2 items"),
        ([Delivered(), None], "a NoneType instead of an outcome"),
        ([Delivered(), Delivered], "a type instead of an outcome"),
        ([Delivered(), Retry("x", "soon")], "Retry with a str"),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_answer_is_the_transports_fault_and_all_are_sent_again(answer: Any, complaint: str) -> None:
    ending = judge().outcomes(BATCH[:2], answer)
    assert ending.fault
    assert [type(verdict) for verdict in ending.verdicts] == [Failed, Failed]
    error = ending.verdicts[0].error  # type: ignore[union-attr]
    assert error["code"] == "DM-D005" and complaint in error["reason"] and error["fault"] == "http"
    assert ending.counts == {"fault": 2}


def test_an_exception_is_a_fault_with_its_traceback() -> None:
    try:
        raise KeyError("hunter22")
    except KeyError as raised:
        ending = judge("hunter22").exception(BATCH, raised)
    assert ending.fault and len(ending.verdicts) == 4
    error = ending.verdicts[0].error  # type: ignore[union-attr]
    assert error["code"] == "DM-D004" and "KeyError" in error["reason"] and "test_verdicts" in error["traceback"]
    assert "hunter22" not in str(error)


def test_an_exception_that_cannot_be_printed_is_still_judged() -> None:
    class Rude(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    ending = judge().exception(BATCH[:1], Rude())
    assert "raised Rude" in ending.verdicts[0].error["reason"]  # type: ignore[union-attr]


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_even_exits_are_faults(error: BaseException) -> None:
    assert judge().exception(BATCH, error).fault


def test_time_over_is_no_fault_of_the_transport() -> None:
    ending = judge().exception(BATCH, TimedOut(60))
    assert not ending.fault and isinstance(ending.signal, Failing)
    assert ending.verdicts[0].error["code"] == "DM-D006"  # type: ignore[union-attr]
    assert ending.counts == {"timeout": 4}


def test_signals_about_the_destination_leave_the_leases_open() -> None:
    away = judge("hunter22").exception(BATCH, Unavailable("no route for hunter22", 30))
    assert isinstance(away.signal, Refusing)
    assert (away.signal.cause, away.signal.after, away.verdicts) == (Cause.UNAVAILABLE, 30, ())
    assert away.signal.problem.code == "DM-D001" and "hunter22" not in away.signal.problem.what
    locked = judge().exception(BATCH, AuthRejected("401"))
    assert isinstance(locked.signal, Refusing) and locked.signal.cause is Cause.AUTHENTICATION
    assert locked.signal.problem.code == "DM-D002"


def test_opening_and_probing_may_fail_in_any_way() -> None:
    assert judge().unusable(AuthRejected("401")).cause is Cause.AUTHENTICATION
    assert "no answer within 60 s" in judge().unusable(TimedOut(60)).problem.what
    fault = judge().unusable(ValueError("stray brace"))
    assert fault.cause is Cause.UNAVAILABLE and "ValueError: stray brace" in fault.problem.what


def test_a_damaged_payload_is_the_queues_fault_alone() -> None:
    damage = PayloadDamaged("the payload is not what was written")
    whole = judge().exception(BATCH[:2], RuntimeError("could not read"))
    ending = judge().damaged(BATCH[:2], [damage, None], whole)
    assert ending.signal is None and not ending.fault
    assert ending.verdicts[0].error["code"] == "DM-D008"  # type: ignore[union-attr]
    assert isinstance(ending.verdicts[1], GivenBack)
    part = judge().outcomes(BATCH[:2], [Delivered(), Retry("cut")])
    ending = judge().damaged(BATCH[:2], [None, damage], part)
    assert isinstance(ending.verdicts[0], Sent) and isinstance(ending.verdicts[1], Failed)
    assert ending.signal == Working()


def test_too_large_is_for_good() -> None:
    verdict = judge().too_large(lease(1), 1)
    assert verdict.permanent and verdict.error["code"] == "DM-D007"


outcomes = st.one_of(
    st.builds(Delivered, st.text()),
    st.builds(Duplicate, st.text()),
    st.builds(Retry, st.text(), st.none() | st.floats(0, 1e6)),
    st.builds(Rejected, st.text(), st.text()),
    st.none(),
    st.just(Delivered),
)
answers = st.one_of(st.lists(outcomes, max_size=6), st.tuples(outcomes, outcomes), st.none(), st.text())


@given(st.integers(1, 5), answers, st.integers(1, 100))
def test_total(size: int, answer: Any, attempt: int) -> None:
    batch = [lease(number, attempt) for number in range(size)]
    ending = judge().outcomes(batch, answer)
    assert [verdict.lease for verdict in ending.verdicts] == batch
    believed = isinstance(answer, list | tuple) and len(answer) == size
    for verdict, outcome in zip(ending.verdicts, answer if believed else [None] * size, strict=True):
        if isinstance(verdict, Sent):
            assert isinstance(outcome, Delivered | Duplicate)
        else:
            assert isinstance(verdict, Failed)
            assert verdict.permanent or verdict.delay is not None
            assert not verdict.permanent or isinstance(outcome, Rejected)
