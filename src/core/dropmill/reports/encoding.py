"""Documents as JSON bytes, with nothing changed on the way.

orjson writes NaN and the infinities as `null` without a word. Here a number that is not finite becomes `{"nonFinite": "NaN"}`
(the schema then says whether such a thing may stand there), and what JSON cannot hold is refused with its path. Invariant: a
`null` in the output was None in the document.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

import jsonschema_rs
import orjson

from dropmill.reports.errors import InvalidReport, json_path, shorten

__all__ = ["encode", "is_finite", "plain"]

_OPTIONS = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS
_MAX_DEPTH = 200
_PATH = 500

# A JSON number is never NaN, so the validator finds what is not finite far faster than a loop in Python would.
_FINITE = jsonschema_rs.Draft202012Validator(
    {
        "$defs": {
            "finite": {
                "anyOf": [
                    {"type": ["null", "boolean", "number", "string"]},
                    {"type": "array", "items": {"$ref": "#/$defs/finite"}},
                    {"type": "object", "additionalProperties": {"$ref": "#/$defs/finite"}},
                ]
            }
        },
        "$ref": "#/$defs/finite",
    }
)


def encode(document: Any) -> bytes:
    """A plain document (see `plain`) as compact JSON.

    Raises:
        InvalidReport: `DM-V005`, something in it is not plain.
    """
    try:
        return orjson.dumps(document, option=_OPTIONS)
    except orjson.JSONEncodeError as error:
        raise InvalidReport(
            f"the document cannot be written as JSON: {error}", code="DM-V005", value=shorten(document)
        ) from None


def is_finite(document: Any) -> bool:
    """Whether a document of plain values holds no NaN and no infinity.

    Raises:
        ValueError: it is not of plain values.
    """
    return _FINITE.is_valid(document)


def plain(value: Any, path: tuple[str | int, ...] = ()) -> Any:
    """A copy of a document that holds only what JSON knows: dict, list, str, int, finite float, bool, None.

    Mappings and sequences of any kind, enums, dates, and numbers of other libraries (whatever has `tolist`) are brought to that;
    what is not finite becomes `{"nonFinite": "NaN" | "Infinity" | "-Infinity"}`.

    Raises:
        InvalidReport: `DM-V005`, with the path of what JSON cannot hold.
    """
    if value is None or value is True or value is False:
        return value
    kind = type(value)
    if kind is str:
        return _text(value, path)
    if kind is int:
        if not -(2**63) <= value < 2**64:
            raise _refuse("a whole number of more than 64 bits", value, path)
        return value
    if kind is float:
        return value if math.isfinite(value) else {"nonFinite": _name(value)}
    if len(path) >= _MAX_DEPTH:
        raise _refuse(f"nesting deeper than {_MAX_DEPTH} levels", value, path[:20])
    if isinstance(value, Mapping):
        return {_key(key, path): plain(member, (*path, str(key))) for key, member in value.items()}
    if isinstance(value, (list, tuple)) or (
        isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray))
    ):
        return [plain(member, (*path, index)) for index, member in enumerate(value)]
    return plain(_simpler(value, path), path)


def _simpler(value: Any, path: tuple[str | int, ...]) -> Any:
    """What an unusual value stands for, one step nearer to a plain one."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    tolist = getattr(value, "tolist", None)
    if callable(tolist):
        made = tolist()
        if type(made) is not type(value):
            return made
    for base in (str, int, float):
        if isinstance(value, base):
            return base(value)
    raise _refuse(f"a value of type {type(value).__module__}.{type(value).__qualname__}", value, path)


def _key(key: Any, path: tuple[str | int, ...]) -> str:
    if not isinstance(key, str):
        raise _refuse("a key that is no text", key, path)
    return _text(str(key), (*path, key))


def _text(value: str, path: tuple[str | int, ...]) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _refuse("text with undecodable bytes (lone surrogates)", value, path) from None
    return value


def _name(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _refuse(what: str, value: Any, path: tuple[str | int, ...]) -> InvalidReport:
    shown = shorten(value)
    return InvalidReport(
        f"{what} cannot be written as JSON: {shown}",
        code="DM-V005",
        path=json_path(path)[:_PATH],
        value=shown,
        todo="the converter must turn it into text, a number, a list or a mapping",
    )
