"""Errors as HTTP answers, and JSON that every reader takes."""

from __future__ import annotations

import json

import pytest

from dropmill.api import QueueView
from dropmill.control.api import _encode
from dropmill.control.errors import BadRequest, Conflict, ControlError, NotFound, Stopping, TimedOut, TooLargeBody
from dropmill.control.problems import response_to, status_of
from dropmill.foundation.errors import DropmillError, Problem
from dropmill.queue.errors import (
    NotHeld,
    PayloadDamaged,
    QueueFull,
    SchemaTooNew,
    StoreBusy,
    StoreClosed,
    StoreUnavailable,
    TooLarge,
)

VIEW = QueueView(
    max_items=1,
    max_bytes=1,
    items=1,
    bytes=1,
    high_items=1,
    low_items=1,
    oldest_age=0.0,
    evictable_items=0,
    evictable_bytes=0,
)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ControlError("x"), 500),
        (BadRequest("x"), 422),
        (BadRequest("x", status=415), 415),
        (TooLargeBody("x"), 413),
        (NotFound("x"), 404),
        (Conflict("x"), 409),
        (Stopping("x"), 503),
        (TimedOut("x"), 504),
        (QueueFull("x", VIEW), 429),
        (TooLarge("x"), 413),
        (StoreUnavailable("x"), 503),
        (StoreClosed("x"), 503),
        (PayloadDamaged("x"), 503),
        (StoreBusy("x"), 503),
        (SchemaTooNew("x"), 503),
        (NotHeld("x"), 409),
        (DropmillError("x", code="DM-I002"), 422),
    ],
)
def test_statuses(error: DropmillError, status: int) -> None:
    assert status_of(error) == status
    response = response_to(error)
    shape = json.loads(response.body)
    assert (response.status_code, shape["status"], shape["code"]) == (status, status, error.code)
    assert response.headers["content-type"] == "application/problem+json"
    assert ("retry-after" in response.headers) == (status in (429, 503))


@pytest.mark.parametrize(("after", "text"), [(0.2, "1"), (5.0, "5"), (59.1, "60")])
def test_retry_after_is_whole_seconds_and_never_too_short(after: float, text: str) -> None:
    assert response_to(QueueFull("x", VIEW, retry_after=after)).headers["retry-after"] == text


def test_every_problem_is_in_the_answer() -> None:
    problem = Problem(code="DM-H002", what="a", where="b", todo="c")
    shape = json.loads(response_to(BadRequest("two", problems=(problem, problem))).body)
    assert shape["problems"] == [problem.as_dict()] * 2
    assert "problems" not in json.loads(response_to(NotFound("x")).body)


def test_json_that_every_reader_takes() -> None:
    odd = {"a": [float("nan"), float("inf"), {"b": -float("inf")}], "name": "caf\udce9 ä", "n": 2**70}
    text = _encode(odd).decode("ascii")
    assert json.loads(text) == {"a": ["NaN", "Infinity", {"b": "-Infinity"}], "name": "caf\udce9 ä", "n": 2**70}
