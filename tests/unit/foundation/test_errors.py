"""Errors that a person may read."""

from __future__ import annotations

import json

import pytest

from dropmill.foundation.errors import DropmillError, Problem


def test_a_problem_reads_what_where_what_to_do() -> None:
    problem = Problem(code="DM-Q001", what="the queue is full", where="state/queue.db", todo="wait")
    assert str(problem) == "DM-Q001: the queue is full (state/queue.db) - wait"
    assert str(Problem(code="DM-Q001", what="the queue is full")) == "DM-Q001: the queue is full"
    assert json.loads(json.dumps(problem.as_dict())) == {
        "code": "DM-Q001",
        "what": "the queue is full",
        "where": "state/queue.db",
        "todo": "wait",
    }


def test_an_error_carries_its_problem() -> None:
    class Full(DropmillError):
        default_code = "DM-Q001"

    error = Full("no room", where="inbox", todo="wait")
    assert error.code == "DM-Q001"
    assert str(error) == "DM-Q001: no room (inbox) - wait"
    assert error.problem == Problem(code="DM-Q001", what="no room", where="inbox", todo="wait")
    assert Full("x", code="DM-Q002").code == "DM-Q002"
    assert DropmillError("x").code == "DM-A000"
    with pytest.raises(DropmillError, match="DM-Q001: no room"):
        raise error
