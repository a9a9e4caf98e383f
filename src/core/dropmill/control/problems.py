"""Errors as HTTP answers: problem+json (RFC 9457), extended by the four fields of `Problem`: code, what, where, todo."""

from __future__ import annotations

import json
import math
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from dropmill.control.errors import BadRequest, ControlError
from dropmill.foundation.errors import DropmillError, Problem
from dropmill.queue.errors import NotHeld, QueueFull, SchemaTooNew, StoreBusy, StoreUnavailable, TooLarge

__all__ = ["MEDIA_TYPE", "body_of", "response_to", "status_of"]

MEDIA_TYPE = "application/problem+json"


def status_of(error: DropmillError) -> HTTPStatus:
    """The status that says best what a client can do about the error."""
    if isinstance(error, ControlError):
        return HTTPStatus(error.status)
    if isinstance(error, QueueFull):
        return HTTPStatus.TOO_MANY_REQUESTS
    if isinstance(error, TooLarge):
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    if isinstance(error, NotHeld):
        return HTTPStatus.CONFLICT
    if isinstance(error, StoreUnavailable | StoreBusy | SchemaTooNew):
        return HTTPStatus.SERVICE_UNAVAILABLE
    return HTTPStatus.UNPROCESSABLE_ENTITY


def body_of(problem: Problem, status: HTTPStatus, problems: tuple[Problem, ...] = ()) -> dict[str, Any]:
    """The JSON object of an error; `problems` lists the parts of one that has several."""
    body: dict[str, Any] = {
        "type": f"urn:dropmill:problem:{problem.code}",
        "title": status.phrase,
        "status": status.value,
        "detail": str(problem),
        **problem.as_dict(),
    }
    if problems:
        body["problems"] = [part.as_dict() for part in problems]
    return body


def response_to(error: DropmillError, *, close: bool = False) -> Response:
    """The whole answer, with Retry-After where waiting helps."""
    status = status_of(error)
    problems = error.problems if isinstance(error, BadRequest) else ()
    headers = {}
    if isinstance(error, QueueFull):
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
    elif status is HTTPStatus.SERVICE_UNAVAILABLE:
        headers["retry-after"] = "5"
    if close:
        headers["connection"] = "close"
    return Response(
        json.dumps(body_of(error.problem, status, problems)).encode(), status.value, headers, media_type=MEDIA_TYPE
    )
