"""The words that the core's and the plugins' option schemas are written in, beyond JSON Schema 2020-12.

    x-unit: "bytes" | "seconds"   a number that may also be written as a text: "10 GB", "5 min"
    x-path: true                  a path; the core keeps it out of watched folders
    x-hint: text                  what a value must look like, in words, shown instead of the bare pattern
    x-secret: true                (core only) the shape of a reference to a secret, which stands wherever a schema says writeOnly
    x-default: text               (core only) a default that depends on other settings, in words

Everything here returns schemas; nothing keeps state.
"""

from __future__ import annotations

from typing import Any

from dropmill.config.quantities import PATTERNS, Unit

__all__ = [
    "NAME",
    "SECRET",
    "Schema",
    "accepting_text",
    "array",
    "choice",
    "flag",
    "name",
    "number",
    "quantity",
    "table",
    "text",
]

Schema = dict[str, Any]

NAME = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
"""What folders, destinations and agents may be called: it goes into paths, addresses and metrics."""

_NAME_HINT = "letters, digits, dots, dashes and underscores, a letter or digit first, 64 at most"

_PATH_HINT = "a path: without ~, which only shells know, and without control characters"

SECRET: Schema = {
    "type": "object",
    "description": "Where a secret is kept; it never stands in this file.",
    "x-secret": True,
    "properties": {
        "env": {
            "type": "string",
            "pattern": "^[A-Za-z_][A-Za-z0-9_]*$",
            "x-hint": "the name of an environment variable",
            "description": "The environment variable that holds it.",
        },
        "file": {
            "type": "string",
            "minLength": 1,
            "pattern": r"^[^~\x00-\x1f][^\x00-\x1f]*$",
            "x-hint": _PATH_HINT,
            "description": "The file that holds it; a line end at its end is left out.",
        },
    },
    "additionalProperties": False,
    "minProperties": 1,
    "maxProperties": 1,
}
"""A reference to a secret: `{ env = "NAME" }` or `{ file = "path" }`."""


def table(description: str, properties: dict[str, Schema], *, required: tuple[str, ...] = (), **more: Any) -> Schema:
    """A closed table."""
    schema: Schema = {
        "type": "object",
        "description": description,
        "properties": properties,
        "additionalProperties": False,
    }
    if required:
        schema["required"] = list(required)
    return schema | more


def array(description: str, items: Schema, **more: Any) -> Schema:
    return {"type": "array", "description": description, "items": items, **more}


def text(description: str, **more: Any) -> Schema:
    return {"type": "string", "description": description, **more}


def name(description: str, **more: Any) -> Schema:
    return text(description, pattern=NAME, **{"x-hint": _NAME_HINT}, **more)


def path(description: str, **more: Any) -> Schema:
    pattern = r"^[^~\x00-\x1f][^\x00-\x1f]*$"
    return text(description, minLength=1, pattern=pattern, **{"x-path": True, "x-hint": _PATH_HINT}, **more)


def flag(description: str, **more: Any) -> Schema:
    return {"type": "boolean", "description": description, **more}


def choice(description: str, values: tuple[str, ...], **more: Any) -> Schema:
    return {"type": "string", "description": description, "enum": list(values), **more}


def number(description: str, kind: str = "integer", **more: Any) -> Schema:
    return {"type": kind, "description": description, **more}


def quantity(description: str, unit: Unit, **more: Any) -> Schema:
    """A size (whole bytes) or duration (seconds)."""
    kind = "integer" if unit == "bytes" else "number"
    return accepting_text({"type": kind, "description": description, "x-unit": unit, **more})


def accepting_text(schema: Schema) -> Schema:
    """A schema with `x-unit`, made to take texts as well as numbers."""
    kinds = schema.get("type", "number")
    kinds = [kinds] if isinstance(kinds, str) else list(kinds)
    return {
        **schema,
        "type": kinds if "string" in kinds else [*kinds, "string"],
        "pattern": schema.get("pattern", PATTERNS[schema["x-unit"]]),
    }
