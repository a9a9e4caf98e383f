"""The ASGI application: the route table on Starlette, every request checked, every error a problem+json.

It holds no state of its own and keeps nothing waiting: what is on disk is read in a few threads of its own, so that a hung disk
cannot use up anybody else's. No change is called done before it is committed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute

from dropmill.control import openapi
from dropmill.control.errors import BadRequest, ControlError, MethodNotAllowed, NotFound, Stopping, TooLargeBody
from dropmill.control.problems import response_to
from dropmill.control.routes import Answer, Call, Route, read_body, read_query
from dropmill.foundation.errors import DropmillError

__all__ = ["application"]


def application(
    routes: Sequence[Route], *, version: str, stopping: Callable[[], bool], body_limit: int = 1_048_576
) -> Starlette:
    """Build the application.

    Args:
        routes: `reading.routes(...)` and `changing.routes(...)`.
        version: The agent's, for the OpenAPI document.
        stopping: Whether the agent is stopping: nothing new is taken then.
        body_limit: Bytes.
    """

    async def describe(_call: Call) -> Answer:
        return Answer(openapi.document(every, version))

    every = (
        *routes,
        Route(
            method="GET",
            path="/v1/openapi.json",
            name="openapi",
            summary="This description.",
            handler=describe,
            answer={"type": "object"},
        ),
    )
    return Starlette(
        routes=[
            StarletteRoute(path, _endpoint(by_method, stopping, body_limit), methods=list(by_method))
            for path, by_method in _by_path(every).items()
        ],
        exception_handlers={HTTPException: _http_exception},
    )


def _by_path(routes: Sequence[Route]) -> dict[str, dict[str, Route]]:
    found: dict[str, dict[str, Route]] = {}
    for route in routes:
        found.setdefault(route.path, {})[route.method] = route
    return found


def _endpoint(by_method: dict[str, Route], stopping: Callable[[], bool], body_limit: int) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        route = by_method["GET" if request.method == "HEAD" else request.method]
        try:
            if stopping() and not route.while_stopping:
                raise Stopping("the agent is stopping", todo="try again once it runs")
            values = read_query(route, request.scope["query_string"], request.path_params)
            body = read_body(route, await _body(request, body_limit)) if route.body is not None else {}
            answer = await route.handler(Call(values=values, body=body))
        except DropmillError as error:
            return response_to(error)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        return Response(_encode(answer.body), answer.status, media_type=answer.media_type)

    return endpoint


async def _body(request: Request, limit: int) -> bytes:
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise BadRequest(f"the body is {kind[:100]!r}", where="content-type", todo="send application/json", status=415)
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > limit:
            raise TooLargeBody(f"the body is larger than {limit} bytes", todo="send less at a time")
    return bytes(data)


def _encode(value: Any) -> bytes:
    """Escaped to ASCII, so that a path whose bytes are no text survives; a number that JSON has not becomes its name."""
    try:
        text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    except ValueError:
        text = json.dumps(_named(value), allow_nan=False, separators=(",", ":"))
    return text.encode()


def _named(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, dict):
        return {key: _named(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_named(part) for part in value]
    return value


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path
    todo = "GET /v1/openapi.json lists what there is"
    answer: ControlError
    if error.status_code == 405:
        answer = MethodNotAllowed(f"{request.method} is not what can be done here", where=path, todo=todo)
    else:
        answer = NotFound("there is nothing here", where=path, todo=todo)
    response = response_to(answer)
    response.headers.update(error.headers or {})
    return response
