"""One table of what the API can be asked: each route declares its parameters and body once, and from that come the checks, the
OpenAPI document and the documentation's tests.

A request is checked whole: every unknown, missing or unreadable parameter is named in one answer.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Literal
from urllib.parse import unquote_to_bytes

from dropmill.control.errors import BadRequest
from dropmill.foundation.errors import Problem
from dropmill.foundation.similar import closest

__all__ = ["LARGEST", "LATEST", "Answer", "Call", "Kind", "Parameter", "Route", "read_body", "read_query", "read_time"]

Kind = Literal["text", "path", "integer", "flag", "time"]
"""A `path` (or a name of a file) may hold bytes that are no UTF-8, as surrogate escapes; a `text` may not."""

LATEST = 1e11
"""Seconds since the epoch: about the year 5138. What is beyond is a mistake, and no store takes any number."""
LARGEST = 2**63 - 1
"""Of whole numbers."""

_PATHS = frozenset({"paths", "name"})
"""Members of bodies that hold paths or names of files."""


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One parameter of the query string or the path."""

    name: str
    summary: str
    kind: Kind = "text"
    choices: Sequence[str] = ()
    many: bool = False
    """May be given several times; any of them matches."""
    required: bool = False
    default: Any = None
    least: int | None = None
    most: int | None = None


@dataclass(frozen=True, kw_only=True)
class Call:
    """A request that passed the checks."""

    values: Mapping[str, Any]
    """Parameters by name, with defaults; lists where they may be many."""
    body: Mapping[str, Any]


@dataclass(frozen=True)
class Answer:
    """What a handler answers: JSON, unless `media_type` says otherwise."""

    body: Any
    status: int = 200
    media_type: str = "application/json"


@dataclass(frozen=True, kw_only=True)
class Route:
    """One thing to ask."""

    method: Literal["GET", "POST"]
    path: str
    name: str
    """The OpenAPI operation's id."""
    summary: str
    handler: Callable[[Call], Awaitable[Answer]]
    answer: Mapping[str, Any]
    """JSON Schema of a good answer."""
    parameters: Sequence[Parameter] = ()
    in_path: Sequence[Parameter] = ()
    body: Mapping[str, Any] | None = None
    """JSON Schema of the request's body."""
    statuses: Mapping[int, str] = field(default_factory=dict)
    """Answers besides 200 and the common problems, and when they come."""
    own_shape: Sequence[int] = ()
    """Those of `statuses` that have the good answer's shape rather than a problem's."""
    while_stopping: bool = True
    """Whether it may still be asked once the agent stops; what would start something may not."""

    @cached_property
    def validator(self) -> Any:
        """Of the body."""
        from jsonschema import Draft202012Validator

        return Draft202012Validator(self.body or {})


def read_query(route: Route, query: bytes, path: Mapping[str, str]) -> dict[str, Any]:
    """The parameters of a request, checked.

    Raises:
        BadRequest: with every problem at once.
    """
    problems: list[Problem] = []
    given: dict[str, list[str]] = {}
    for name, text in _pairs(query):
        given.setdefault(name, []).append(text)
    known = {parameter.name: parameter for parameter in route.parameters}
    for name in given.keys() - known.keys():
        near = closest(name, known)
        problems.append(
            Problem(
                code="DM-H002",
                what=f"there is no parameter {name!r}" + (f"; did you mean {near!r}?" if near else ""),
                where=f"query: {name}",
                todo=f"this route has: {', '.join(known) or 'none'}",
            )
        )
    values: dict[str, Any] = {}
    for parameter in route.parameters:
        values[parameter.name] = _values(parameter, given.get(parameter.name, []), "query", problems)
    for parameter in route.in_path:
        values[parameter.name] = _values(parameter, [path[parameter.name]], "path", problems)
    _refuse(route, problems)
    return values


def read_body(route: Route, data: bytes) -> Mapping[str, Any]:
    """The request's body, checked against the route's schema.

    Raises:
        BadRequest: with every problem at once.
    """
    if route.body is None:
        return {}
    try:
        body = json.loads(data or b"{}", parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is not JSON: {error}", where="body", todo="send a JSON object") from None
    problems = [
        Problem(
            code="DM-H002",
            what=error.message[:300],
            where="body"
            + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path),
        )
        for error in sorted(route.validator.iter_errors(body), key=lambda error: list(map(str, error.absolute_path)))
    ]
    problems += [
        Problem(code="DM-H002", what=f"{text[:100]!r} {wrong}", where=where)
        for where, name, text in _texts(body, "body", "")
        if (wrong := _unusable(text, path=name in _PATHS))
    ]
    _refuse(route, problems)
    assert isinstance(body, dict)
    return body


def _texts(value: Any, where: str, name: str) -> Iterator[tuple[str, str, str]]:
    """Every text in a body, with its place and the member that it stands in."""
    if isinstance(value, str):
        yield where, name, value
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from _texts(part, f"{where}[{number}]", name)
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _texts(part, f"{where}.{key}", key)


def _unusable(text: str, *, path: bool) -> str:
    """Why a text cannot be what it should be; empty: it can."""
    try:
        text.encode("utf-8", "surrogateescape" if path else "strict")
    except UnicodeEncodeError:
        return "cannot be written in UTF-8"
    return "holds a NUL" if path and "\0" in text else ""


def _refuse(route: Route, problems: Sequence[Problem]) -> None:
    if problems:
        raise BadRequest(
            problems[0].what if len(problems) == 1 else f"the request has {len(problems)} problems",
            where=f"{route.method} {route.path}",
            todo="correct what is listed; GET /v1/openapi.json describes every route",
            problems=tuple(problems),
        )


def _pairs(query: bytes) -> Iterable[tuple[str, str]]:
    """Names and values; undecodable bytes become surrogate escapes, as in every path of ours."""
    for part in query.split(b"&"):
        if part:
            name, _, text = part.partition(b"=")
            yield _decoded(name), _decoded(text)


def _decoded(text: bytes) -> str:
    return unquote_to_bytes(text.replace(b"+", b" ")).decode("utf-8", "surrogateescape")


def _values(parameter: Parameter, given: Sequence[str], part: str, problems: list[Problem]) -> Any:
    where = f"{part}: {parameter.name}"
    if not given:
        if parameter.required:
            problems.append(
                Problem(code="DM-H002", what=f"{parameter.name} is missing", where=where, todo=parameter.summary)
            )
        return [] if parameter.many else parameter.default
    if len(given) > 1 and not parameter.many:
        problems.append(Problem(code="DM-H002", what=f"{parameter.name} is given {len(given)} times", where=where))
    values = []
    for text in given:
        try:
            values.append(_value(parameter, text))
        except ValueError as error:
            problems.append(
                Problem(code="DM-H002", what=f"{text[:100]!r}: {error}", where=where, todo=parameter.summary)
            )
    if parameter.many:
        return values
    return values[0] if values else None


def _value(parameter: Parameter, text: str) -> Any:
    if parameter.kind == "integer":
        if not text.isascii() or not text.isdecimal() or len(text) > 18:
            raise ValueError("a whole number is expected")
        number = int(text)
        least, most = parameter.least, parameter.most
        if (least is not None and number < least) or (most is not None and number > most):
            raise ValueError(f"{least} to {most} is expected" if most is not None else f"{least} or more is expected")
        return number
    if parameter.kind == "flag":
        try:
            return {"": True, "1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[
                text.lower()
            ]
        except KeyError:
            raise ValueError("true or false is expected") from None
    if parameter.kind == "time":
        return read_time(text)
    if wrong := _unusable(text, path=parameter.kind == "path"):
        raise ValueError(f"it {wrong}")
    if parameter.choices and text not in parameter.choices:
        near = closest(text, parameter.choices)
        hint = f"; did you mean {near!r}?" if near else ""
        raise ValueError(f"one of {', '.join(parameter.choices)} is expected{hint}")
    return text


def read_time(text: str) -> float:
    """Seconds since the epoch, from that or from ISO 8601.

    Raises:
        ValueError
    """
    try:
        number = float(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError("seconds since the epoch, or ISO 8601 with an offset is expected") from None
        if moment.tzinfo is None:
            raise ValueError("a time needs its offset, as in 2026-11-24T13:00:00Z") from None
        number = moment.timestamp()
    if not 0 <= number <= LATEST:
        raise ValueError(f"0 to {LATEST:.0f} is expected")
    return number


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
