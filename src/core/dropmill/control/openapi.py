"""The OpenAPI 3.1 document, made from the route table and the shapes: it cannot promise what the routes do not check."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from dropmill.control import schemas, shapes
from dropmill.control.problems import MEDIA_TYPE
from dropmill.control.routes import Kind, Parameter, Route

__all__ = ["document"]

_COMMON = {
    400: "what came is not HTTP",
    404: "there is no such route or thing",
    413: "the body is larger than 1 MiB",
    422: "the request is not one that the route knows; `problems` lists everything that is wrong",
    431: "the headers are larger than 32 KiB",
    500: "the agent failed to answer",
    503: "the agent is stopping, its store cannot be read now, or it has too many connections",
    504: "no answer within 60 s",
}

_KINDS: Mapping[Kind, Mapping[str, Any]] = {
    "text": {"type": "string"},
    "path": {"type": "string", "description": "percent-encoded bytes; they need not be UTF-8"},
    "integer": {"type": "integer"},
    "flag": {"type": "boolean"},
    "time": {"type": ["number", "string"], "description": "seconds since the epoch, or ISO 8601 with an offset"},
}


def document(routes: Sequence[Route], version: str) -> dict[str, Any]:
    """The whole document."""
    paths: dict[str, Any] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    named = [getattr(shapes, name) for name in shapes.__all__]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "dropmill",
            "version": version,
            "description": "The control API of a dropmill agent, on its Unix socket.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "http://dropmill", "description": "the Unix socket; any Host is taken"}],
        "paths": paths,
        "components": {
            "schemas": {
                **schemas.components(named),
                "ProblemDetails": {
                    "type": "object",
                    "description": "An error (RFC 9457).",
                    "properties": {
                        "type": {"type": "string"},
                        "title": {"type": "string"},
                        "status": {"type": "integer"},
                        "detail": {"type": "string"},
                        "code": {"type": "string"},
                        "what": {"type": "string"},
                        "where": {"type": "string"},
                        "todo": {"type": "string"},
                        "problems": {"type": "array", "items": schemas.reference(shapes.ProblemShape)},
                    },
                    "required": ["type", "title", "status", "detail", "code", "what", "where", "todo"],
                },
            }
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    responses: dict[str, Any] = {"200": _good(route)}
    for status, when in {**_COMMON, **route.statuses}.items():
        responses[str(status)] = {
            "description": when,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}},
        }
    for status in route.own_shape:
        responses[str(status)] = {**_good(route), "description": route.statuses[status]}
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "parameters": [_parameter(part, "path") for part in route.in_path]
        + [_parameter(part, "query") for part in route.parameters],
        "responses": dict(sorted(responses.items())),
    }
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": route.body}}}
    return operation


def _good(route: Route) -> dict[str, Any]:
    return {"description": "done", "content": {"application/json": {"schema": route.answer}}}


def _parameter(parameter: Parameter, place: str) -> dict[str, Any]:
    schema = dict(_KINDS[parameter.kind])
    if parameter.least is not None:
        schema["minimum"] = parameter.least
    if parameter.most is not None:
        schema["maximum"] = parameter.most
    if parameter.choices:
        schema["enum"] = list(parameter.choices)
    if parameter.default is not None:
        schema["default"] = parameter.default
    if parameter.many:
        schema = {"type": "array", "items": schema}
    return {
        "name": parameter.name,
        "in": place,
        "required": parameter.required or place == "path",
        "description": re.sub(r"\s+", " ", parameter.summary),
        "schema": schema,
    }
