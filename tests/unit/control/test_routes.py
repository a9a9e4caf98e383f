"""A request's parameters and body: everything wrong is told at once, nothing wrong gets through."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropmill.control.errors import BadRequest
from dropmill.control.filters import delivery_query, file_query
from dropmill.control.routes import Answer, Call, Parameter, Route, read_body, read_query
from dropmill.queue.reader import DeliveryQuery, FileQuery


async def _nothing(call: Call) -> Answer:
    raise AssertionError


def route(*parameters: Parameter, body: dict[str, Any] | None = None, in_path: tuple[Parameter, ...] = ()) -> Route:
    return Route(
        method="POST" if body else "GET",
        path="/v1/x",
        name="x",
        summary="",
        handler=_nothing,
        answer={},
        parameters=parameters,
        in_path=in_path,
        body=body,
    )


EVERYTHING = route(
    Parameter(name="text", kind="path", summary="a path"),
    Parameter(name="plain", summary="some text"),
    Parameter(name="number", kind="integer", least=1, most=9, default=5, summary="1 to 9"),
    Parameter(name="least", kind="integer", least=3, summary="from 3"),
    Parameter(name="flag", kind="flag", default=False, summary="or not"),
    Parameter(name="when", kind="time", summary="a moment"),
    Parameter(name="state", many=True, choices=["ready", "dead"], summary="a state"),
)


def test_defaults() -> None:
    assert read_query(EVERYTHING, b"", {}) == {
        "text": None,
        "plain": None,
        "number": 5,
        "least": None,
        "flag": False,
        "when": None,
        "state": [],
    }


def test_values() -> None:
    query = b"text=a+b%20c%2B&number=9&least=3&flag&when=2026-11-24T13:00:00Z&state=dead&state=ready"
    assert read_query(EVERYTHING, query, {}) == {
        "text": "a b c+",
        "plain": None,
        "number": 9,
        "least": 3,
        "flag": True,
        "when": 1795525200.0,
        "state": ["dead", "ready"],
    }


@pytest.mark.parametrize(("text", "value"), [("1", True), ("true", True), ("0", False), ("No", False), ("", True)])
def test_flags(text: str, value: bool) -> None:
    assert read_query(EVERYTHING, f"flag={text}".encode(), {})["flag"] is value


def test_times() -> None:
    assert read_query(EVERYTHING, b"when=1795525200.5", {})["when"] == 1795525200.5
    assert read_query(EVERYTHING, b"when=2026-11-24T14:00:00%2B01:00", {})["when"] == 1795525200.0


def test_bytes_that_are_no_text_round_trip() -> None:
    value = read_query(EVERYTHING, b"text=/in/%FFname%C3%A4", {})["text"]
    assert value.encode("utf-8", "surrogateescape") == b"/in/" + b"\xffname" + "ä".encode()


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (b"nunber=1", "did you mean 'number'"),
        (b"zzz=1", "there is no parameter 'zzz'"),
        (b"number=0", "1 to 9 is expected"),
        (b"number=10", "1 to 9 is expected"),
        (b"number=x", "whole number"),
        (b"number=-1", "whole number"),
        (b"number=%D9%A3", "whole number"),
        (b"number=" + b"9" * 5000, "whole number"),
        (b"least=2", "3 or more"),
        (b"flag=maybe", "true or false"),
        (b"when=yesterday", "ISO 8601"),
        (b"when=2026-11-24T13:00:00", "needs its offset"),
        (b"when=nan", "0 to"),
        (b"when=inf", "0 to"),
        (b"when=-1", "0 to"),
        (b"when=9999-01-01T00:00:00Z", "0 to"),
        (b"plain=%ff", "cannot be written in UTF-8"),
        (b"text=%00", "holds a NUL"),
        (b"state=deed", "did you mean 'dead'"),
        (b"state=zzzz", "one of ready, dead"),
        (b"text=a&text=b", "given 2 times"),
    ],
)
def test_what_is_wrong_is_told(query: bytes, words: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read_query(EVERYTHING, query, {})
    assert words in caught.value.problems[0].what
    assert caught.value.problems[0].code == "DM-H002"


def test_everything_wrong_is_told_at_once() -> None:
    with pytest.raises(BadRequest) as caught:
        read_query(EVERYTHING, b"number=0&flag=x&typo=1&state=a&state=b", {})
    assert len(caught.value.problems) == 5
    assert "5 problems" in str(caught.value)


def test_required_and_path_parameters() -> None:
    one = route(
        Parameter(name="path", required=True, summary="a path"),
        in_path=(Parameter(name="id", kind="integer", least=0, summary="a number"),),
    )
    assert read_query(one, b"path=/x", {"id": "12"}) == {"path": "/x", "id": 12}
    with pytest.raises(BadRequest) as caught:
        read_query(one, b"", {"id": "x"})
    assert [problem.where for problem in caught.value.problems] == ["query: path", "path: id"]


@given(st.binary(max_size=200))
def test_no_query_is_anything_but_read_or_refused(query: bytes) -> None:
    try:
        values = read_query(EVERYTHING, query, {})
    except BadRequest as error:
        assert error.problems
        json.dumps([problem.as_dict() for problem in error.problems])
    else:
        assert 1 <= values["number"] <= 9
        assert values["when"] is None or math.isfinite(values["when"])


BODY = route(
    body={
        "type": "object",
        "additionalProperties": False,
        "required": ["paths"],
        "properties": {"paths": {"type": "array", "items": {"type": "string"}}, "n": {"type": "integer"}},
    }
)


def test_body() -> None:
    assert read_body(BODY, b'{"paths": ["a"]}') == {"paths": ["a"]}
    assert read_body(EVERYTHING, b"whatever") == {}


@pytest.mark.parametrize(
    ("data", "words", "where"),
    [
        (b"{", "not JSON", "body"),
        (b"\xff", "not JSON", "body"),
        (b'{"paths": [NaN]}', "NaN is not JSON", "body"),
        (b"[" * 100_000, "not JSON", "body"),
        (b"", "'paths' is a required property", "body"),
        (b"[]", "is not of type 'object'", "body"),
        (b'{"paths": [1]}', "1 is not of type 'string'", "body.paths[0]"),
        (b'{"paths": [], "m": 1}', "Additional properties", "body"),
    ],
)
def test_what_is_wrong_with_a_body_is_told(data: bytes, words: str, where: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read_body(BODY, data)
    problem = caught.value.problems[0] if caught.value.problems else caught.value.problem
    assert words in problem.what
    assert problem.where == where


def test_everything_wrong_with_a_body_is_told_at_once() -> None:
    with pytest.raises(BadRequest) as caught:
        read_body(BODY, b'{"paths": [1, 2], "n": "x"}')
    assert [problem.where for problem in caught.value.problems] == ["body.n", "body.paths[0]", "body.paths[1]"]


def test_filters_from_checked_values() -> None:
    assert file_query({"folder": ["a"], "state": [], "reason": None, "limit": 5}) == FileQuery(folder=("a",))
    wanted = delivery_query({"state": ["pending", "dead", "failed"]})
    assert wanted.state == ("ready", "leased", "delayed", "dead")
    assert DeliveryQuery().state == ()
