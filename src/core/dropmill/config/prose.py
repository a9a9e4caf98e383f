"""Writes values as TOML and kinds of values in words, for the sample and the reference."""

from __future__ import annotations

import json
import re
from typing import Any

from dropmill.config.annotations import follow
from dropmill.config.quantities import write
from dropmill.config.vocabulary import Schema
from dropmill.config.wording import alternatives, bounds

__all__ = ["default", "kind", "sentence", "toml"]

_KINDS = {
    "string": "text",
    "number": "number",
    "integer": "whole number",
    "boolean": "true or false",
    "array": "list",
    "object": "table",
}


def toml(value: Any, schema: Schema | None = None) -> str:
    """A value as it would stand in the file; quantities with their unit."""
    if schema is not None and "x-unit" in schema and isinstance(value, int | float) and not isinstance(value, bool):
        return json.dumps(write(value, schema["x-unit"]))
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return f"[{', '.join(toml(item) for item in value)}]"
    if isinstance(value, dict):
        inner = ", ".join(f"{_key(key)} = {toml(item)}" for key, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    return str(value)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key)


def kind(schema: Schema, root: Schema) -> str:
    """What a value may be: `duration, more than 0 s and at most 1 d`."""
    schema = follow(schema, root)
    if schema.get("x-secret") or schema.get("writeOnly"):
        return "secret"
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return alternatives(f"`{value}`" for value in schema["enum"])
    for keyword in ("oneOf", "anyOf"):
        if keyword in schema and "type" not in schema:
            return alternatives(kind(part, root) for part in schema[keyword])
    if "x-unit" in schema:
        what = "size" if schema["x-unit"] == "bytes" else "duration"
    elif schema.get("x-path"):
        what = "path"
    elif schema.get("format") in ("uri", "uri-template"):
        what = "URL"
    else:
        kinds = schema.get("type", "object" if "properties" in schema else [])
        what = alternatives(_KINDS.get(each, each) for each in ([kinds] if isinstance(kinds, str) else kinds))
    if what == "list" and isinstance(schema.get("items"), dict):
        return f"list of {kind(schema['items'], root)}"
    limits = bounds(schema)
    return f"{what}, {limits}" if limits else what


def sentence(text: str) -> str:
    """A summary as a sentence."""
    return text[:1].upper() + text[1:] + "." * (not text.endswith("."))


def default(schema: Schema, root: Schema) -> str:
    """The default as TOML, or in words, or nothing."""
    schema = follow(schema, root)
    if "default" in schema:
        return f"`{toml(schema['default'], schema)}`"
    return str(schema.get("x-default", ""))
