"""Filters: what the query string, a bulk action's body and the command line all narrow a list by, as values.

People's words stand beside the exact states: *pending* is ready, leased and delayed; *failed* deliveries are dead ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

from dropmill.control.routes import Parameter
from dropmill.queue.records import DeliveryState, FileState

__all__ = ["DELIVERY_PARAMETERS", "FILE_PARAMETERS", "PAGE_PARAMETERS", "DeliveryFilter", "FileFilter", "body_schema"]

DELIVERY_STATES: Mapping[str, Sequence[str]] = {
    **{str(state): (str(state),) for state in DeliveryState},
    "dropped": ("dropped",),
    "pending": (DeliveryState.READY, DeliveryState.LEASED, DeliveryState.DELAYED),
    "failed": (DeliveryState.DEAD,),
}
FILE_STATES = [str(state) for state in FileState]

_SINCE = Parameter(name="since", kind="time", summary="last changed at or after this moment")
_UNTIL = Parameter(name="until", kind="time", summary="last changed before this moment")

FILE_PARAMETERS = (
    Parameter(name="folder", many=True, summary="name of a folder"),
    Parameter(name="state", many=True, choices=FILE_STATES, summary="state of the file"),
    Parameter(name="reason", summary="exact reason, as in `queue full`"),
    Parameter(name="name", summary="pattern of the file's name: * and ? as in a shell"),
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


class _Filter:
    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """From checked values; what is missing matches everything."""
        names = {part.name for part in fields(cls)}  # type: ignore[arg-type]
        return cls(
            **{
                name: tuple(value) if isinstance(value, list) else value
                for name, value in values.items()
                if name in names and value not in (None, [])
            }
        )


@dataclass(frozen=True, kw_only=True)
class FileFilter(_Filter):
    """Of files; within a field any value matches, and all fields must."""

    folder: Sequence[str] = ()
    state: Sequence[str] = ()
    reason: str | None = None
    name: str | None = None
    converter: str | None = None
    code: str | None = None
    since: float | None = None
    until: float | None = None


@dataclass(frozen=True, kw_only=True)
class DeliveryFilter(_Filter):
    """Of deliveries."""

    destination: Sequence[str] = ()
    state: Sequence[str] = ()
    folder: Sequence[str] = ()
    file: str | None = None
    code: str | None = None
    since: float | None = None
    until: float | None = None

    @property
    def states(self) -> Sequence[str]:
        """Exact states, people's words resolved; none: any."""
        return tuple(dict.fromkeys(str(state) for word in self.state for state in DELIVERY_STATES[word]))


def body_schema(parameters: Sequence[Parameter], *, states: Sequence[str]) -> dict[str, Any]:
    """The same filter as part of a JSON body. `states`: those that the action applies to."""
    properties: dict[str, Any] = {}
    for parameter in parameters:
        one: dict[str, Any] = {"type": ["number"] if parameter.kind == "time" else ["string"]}
        if parameter.name == "state":
            one = {"enum": list(states)}
        described = {"description": parameter.summary}
        properties[parameter.name] = (
            {"type": "array", "items": one, **described} if parameter.many else {**one, **described}
        )
    return {"type": "object", "additionalProperties": False, "properties": properties}
