"""Filters: what the query string, a bulk action's body and the command line all narrow a list by.

People's words stand beside the exact states: *pending* is ready, leased and delayed; *failed* deliveries are dead ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dropmill.control.routes import LATEST, Parameter
from dropmill.queue.records import DeliveryState, FileState

if TYPE_CHECKING:
    from dropmill.queue.reader import DeliveryQuery, FileQuery

__all__ = [
    "DELIVERY_PARAMETERS",
    "DELIVERY_STATES",
    "FILE_PARAMETERS",
    "FILE_STATES",
    "PAGE_PARAMETERS",
    "body_schema",
    "delivery_query",
    "file_query",
]

DELIVERY_STATES: Mapping[str, Sequence[str]] = {
    **{str(state): (str(state),) for state in DeliveryState},
    "pending": (str(DeliveryState.READY), str(DeliveryState.LEASED), str(DeliveryState.DELAYED)),
    "failed": (str(DeliveryState.DEAD),),
}
FILE_STATES = tuple(str(state) for state in FileState)

_SINCE = Parameter(name="since", kind="time", summary="last changed at or after this moment")
_UNTIL = Parameter(name="until", kind="time", summary="last changed before this moment")

FILE_PARAMETERS = (
    Parameter(name="folder", many=True, summary="name of a folder"),
    Parameter(name="state", many=True, choices=FILE_STATES, summary="state of the file"),
    Parameter(name="reason", summary="exact reason, as in `queue full`"),
    Parameter(name="name", kind="path", summary="pattern of the file's name: * and ? as in a shell"),
    Parameter(name="converter", summary="id of the converter that had it"),
    Parameter(name="code", summary="code of its failure"),
    _SINCE,
    _UNTIL,
)
DELIVERY_PARAMETERS = (
    Parameter(name="destination", many=True, summary="name of a destination"),
    Parameter(name="state", many=True, choices=list(DELIVERY_STATES), summary="state of the delivery"),
    Parameter(name="folder", many=True, summary="folder of its file"),
    Parameter(name="file", summary="id of its file"),
    Parameter(name="code", summary="code of its last failure"),
    _SINCE,
    _UNTIL,
)
PAGE_PARAMETERS = (
    Parameter(name="after", summary="the `next` of the page before"),
    Parameter(name="limit", kind="integer", least=1, most=1000, default=100, summary="most items in the page"),
)


def file_query(values: Mapping[str, Any]) -> FileQuery:
    """Of files, from checked values; what is missing matches everything."""
    from dropmill.queue.reader import FileQuery

    return FileQuery(**_given(values, FILE_PARAMETERS))


def delivery_query(values: Mapping[str, Any]) -> DeliveryQuery:
    """Of deliveries, from checked values, people's words for states resolved."""
    from dropmill.queue.reader import DeliveryQuery

    given = _given(values, DELIVERY_PARAMETERS)
    if "destination" in given:
        given["lane"] = given.pop("destination")
    if "state" in given:
        given["state"] = tuple(dict.fromkeys(state for word in given["state"] for state in DELIVERY_STATES[word]))
    return DeliveryQuery(**given)


def _given(values: Mapping[str, Any], parameters: Sequence[Parameter]) -> dict[str, Any]:
    return {
        parameter.name: tuple(value) if parameter.many else value
        for parameter in parameters
        if (value := values.get(parameter.name)) not in (None, [], ())
    }


def body_schema(parameters: Sequence[Parameter], *, states: Sequence[str]) -> dict[str, Any]:
    """The same filter as part of a JSON body. `states`: those that the action applies to."""
    properties: dict[str, Any] = {}
    for parameter in parameters:
        one: dict[str, Any] = {"type": "string"}
        if parameter.kind == "time":
            one = {"type": "number", "minimum": 0, "maximum": LATEST}
        if parameter.name == "state":
            one = {"enum": list(states)}
        described = {"description": parameter.summary}
        properties[parameter.name] = (
            {"type": "array", "items": one, **described} if parameter.many else {**one, **described}
        )
    return {"type": "object", "additionalProperties": False, "properties": properties}
