"""The routes that change something: submit, retry, drop, pause, resume, rescan, stop.

Each answers after its commit, or with a problem and nothing changed. Those that would start something are refused once the
agent stops.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from dropmill.control import shapes, views
from dropmill.control.actions import RETRYABLE, Actions, Bulk
from dropmill.control.agent_view import AgentView, Pausable
from dropmill.control.errors import BadRequest
from dropmill.control.filters import DELIVERY_PARAMETERS, FILE_PARAMETERS, body_schema
from dropmill.control.routes import LARGEST, Answer, Call, Route
from dropmill.control.schemas import reference

__all__ = ["routes"]

MOST_PATHS = 1000
MOST_IDS = 1000

_TEXT = {"type": "string", "minLength": 1}
_FILE_IDS = {"type": "array", "items": _TEXT, "minItems": 1, "maxItems": MOST_IDS, "uniqueItems": True}
_DELIVERY_IDS = {**_FILE_IDS, "items": {"type": "integer", "minimum": 0, "maximum": LARGEST}}
_BULK = {
    "dryRun": {"type": "boolean", "description": "only count what matches"},
    "after": {"type": "string", "description": "the `next` of the answer before"},
}
_DEAD = body_schema(DELIVERY_PARAMETERS, states=["dead", "failed"])
_ONE_OF = [{"required": ["ids"]}, {"required": ["filter"]}]


def _object(properties: Mapping[str, Any], required: Sequence[str] = (), **more: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": dict(properties),
        "required": list(required),
        **more,
    }


_SUBMIT = _object(
    {
        "paths": {
            "type": "array",
            "items": _TEXT,
            "minItems": 1,
            "maxItems": MOST_PATHS,
            "description": "absolute paths of files, which are copied",
        },
        "folder": {
            **_TEXT,
            "description": "the folder whose converters and destinations apply; may be left out with one",
        },
    },
    ["paths"],
)
_FILES = {"properties": {"what": {"const": "files"}}, "required": ["what"]}
_RETRY = _object(
    {
        "what": {"enum": ["files", "deliveries"], "description": "what is tried again"},
        "ids": {"type": "array", "description": "of files or deliveries"},
        "filter": {"type": "object", "description": "instead of ids: as in the query of the list; {} is all of them"},
        "converter": {**_TEXT, "description": "id of the converter that must take the files"},
        **_BULK,
    },
    ["what"],
    **{
        "oneOf": _ONE_OF,
        "if": _FILES,
        "then": {
            "properties": {
                "ids": _FILE_IDS,
                "filter": body_schema(FILE_PARAMETERS, states=[str(state) for state in RETRYABLE]),
            }
        },
        "else": {"properties": {"ids": _DELIVERY_IDS, "filter": _DEAD, "converter": False}},
    },
)
_DROP = _object(
    {"ids": _DELIVERY_IDS, "filter": _DEAD, "reason": {**_TEXT, "description": "kept on record"}, **_BULK},
    oneOf=_ONE_OF,
)
_NAMED = _object(
    {
        "kind": {"enum": list(get_args(Pausable)), "description": "what it is"},
        "name": {**_TEXT, "description": "which one"},
    },
    ["kind", "name"],
)
_RESCAN = _object({"folder": {**_TEXT, "description": "all folders where it is left out"}})

_FULL = {429: "the queue is full; Retry-After says when to come back. Nothing was taken"}
_CONFLICT = {409: "one of the ids has nothing to retry or drop; nothing was changed"}


def routes(agent: AgentView, actions: Actions) -> Sequence[Route]:
    """Every route that changes something."""
    bulk = Bulk(actions, by="the API")

    async def submit(call: Call) -> Answer:
        paths = [Path(text) for text in call.body["paths"]]
        if relative := [str(path) for path in paths if not path.is_absolute()]:
            raise BadRequest(
                f"{relative[0]!r} is not an absolute path", where="body.paths", todo="the agent has a folder of its own"
            )
        return Answer(views.submitted(await agent.submit(paths, call.body.get("folder"))))

    async def retry(call: Call) -> Answer:
        return Answer(await bulk.retry(call.body))

    async def drop(call: Call) -> Answer:
        return Answer(await bulk.drop(call.body))

    async def pause(call: Call) -> Answer:
        if call.body["kind"] == "task":
            raise BadRequest(
                "a task cannot be paused", where="body.kind", todo="pause a folder, a destination or a plugin"
            )
        await agent.pause(call.body["kind"], call.body["name"])
        return Answer({"done": True})

    async def resume(call: Call) -> Answer:
        await agent.resume(call.body["kind"], call.body["name"])
        return Answer({"done": True})

    async def rescan(call: Call) -> Answer:
        await agent.rescan(call.body.get("folder"))
        return Answer({"done": True})

    async def stop(_call: Call) -> Answer:
        agent.stop()
        return Answer({"done": True})

    def post(
        path: str,
        name: str,
        summary: str,
        handler: Callable[[Call], Awaitable[Answer]],
        answer: type,
        body: Mapping[str, Any],
        **more: Any,
    ) -> Route:
        return Route(
            method="POST",
            path=path,
            name=name,
            summary=summary,
            handler=handler,
            answer=reference(answer),
            body=body,
            **{"while_stopping": False, **more},
        )

    changed, done = shapes.ChangedShape, shapes.DoneShape
    return (
        post(
            "/v1/submit",
            "submit",
            "Take copies of files into the queue.",
            submit,
            shapes.SubmittedShape,
            _SUBMIT,
            statuses=_FULL,
        ),
        post(
            "/v1/retry",
            "retry",
            "Convert failed and parked files again, or send dead letters again, by id or all that match a filter.",
            retry,
            changed,
            _RETRY,
            statuses=_CONFLICT,
        ),
        post(
            "/v1/drop",
            "drop",
            "Give dead letters up for good, by id or all that match a filter.",
            drop,
            changed,
            _DROP,
            statuses=_CONFLICT,
            while_stopping=True,
        ),
        post(
            "/v1/pause", "pause", "Pause a folder, a destination or a plugin.", pause, done, _NAMED, while_stopping=True
        ),
        post("/v1/resume", "resume", "End a pause, a quarantine or an open breaker.", resume, done, _NAMED),
        post("/v1/rescan", "rescan", "Look at a folder, or at all of them, now.", rescan, done, _RESCAN),
        post("/v1/stop", "stop", "Stop the agent, as SIGTERM does.", stop, done, _object({}), while_stopping=True),
    )
