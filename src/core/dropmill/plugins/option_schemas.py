"""Checks a plugin's options schema: valid JSON Schema 2020-12, self-contained, closed, described, with defaults that fit.

What passes can be embedded in the schema of the whole configuration and walked without surprises: every reference leads somewhere
within it, and none leads back to itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema_rs

__all__ = ["flaws_of"]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_OPTION = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_MOST_DEPTH = 50
_FOREIGN = ("$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$vocabulary")
_UNITS = ("bytes", "seconds")
_SAME = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else")
"""Keywords whose subschemas speak of the same value."""
_MAPS = ("properties", "patternProperties", "$defs", "dependentSchemas")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_SINGLES = (
    "additionalProperties",
    "unevaluatedProperties",
    "unevaluatedItems",
    "items",
    "contains",
    "not",
    "if",
    "then",
    "else",
    "propertyNames",
)


def flaws_of(schema: dict[str, Any]) -> list[str]:
    """What is wrong with a schema (of plain JSON); empty where it can be used."""
    dialect = schema.get("$schema", _DIALECT)
    if dialect != _DIALECT:
        return [f"options_schema is written in {dialect!r}; JSON Schema 2020-12 is expected"]
    try:
        jsonschema_rs.meta.validate({"$schema": _DIALECT, **schema})
    except jsonschema_rs.ValidationError as error:
        where = "/".join(map(str, error.instance_path))
        return [f"options_schema is not valid JSON Schema 2020-12: at /{where}: {error.message[:200]}"]
    flaws = []
    if schema.get("type") != "object":
        flaws.append('options_schema does not say "type": "object"')
    if schema.get("additionalProperties") is not False:
        flaws.append('options_schema does not say "additionalProperties": false')
    flaws += _Rules(schema).walk(schema, "options_schema", 0)
    return flaws or list(_defaults(schema))


def _defaults(schema: Mapping[str, Any]) -> Iterator[str]:
    options = schema.get("properties", {})
    defaults = {
        name: option["default"] for name, option in options.items() if isinstance(option, dict) and "default" in option
    }
    if defaults:
        parts = {key: schema[key] for key in ("properties", "$defs") if key in schema}
        for flaw in jsonschema_rs.Draft202012Validator(parts).iter_errors(defaults):
            yield f"the default of option {flaw.instance_path[0]} does not fit its own schema: {flaw.message[:200]}"


class _Rules:
    """Our own rules, for the schema and everything in it."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root

    def walk(self, schema: Any, where: str, depth: int) -> Iterator[str]:
        if depth > _MOST_DEPTH:
            yield f"{where} is nested more than {_MOST_DEPTH} deep"
            return
        if not isinstance(schema, dict):
            return
        yield from self._words(schema, where)
        if "$ref" in schema:
            yield from self._reference(schema, where)
        for name, option in schema.get("properties", {}).items():
            if depth == 0 and not _OPTION.fullmatch(name):
                yield f"{where} has an option named {name!r}; letters, digits, - and _ are allowed, a letter first"
            if isinstance(option, dict) and not {"description", "const", "$ref"} & set(option):
                yield f"{where}: option {name} has no description"
        for keyword, value in schema.items():
            if keyword in _MAPS:
                for name, part in value.items():
                    yield from self.walk(part, f"{where}.{name}", depth + 1)
            elif keyword in _LISTS:
                for part in value:
                    yield from self.walk(part, where, depth + 1)
            elif keyword in _SINGLES:
                yield from self.walk(value, where, depth + 1)

    def _words(self, schema: Mapping[str, Any], where: str) -> Iterator[str]:
        for keyword in _FOREIGN:
            if keyword in schema:
                yield f"{where} uses {keyword}; an options schema refers to its own parts by #/ alone"
        for pattern in (schema.get("pattern", ""), *schema.get("patternProperties", ())):
            try:
                re.compile(pattern)
            except re.error as error:
                yield f"{where} has the pattern {pattern!r}, which cannot be read: {error}"
        if schema.get("writeOnly") is True:
            if schema.get("type") != "string":
                yield f'{where} is a secret (writeOnly) and does not say "type": "string"'
            if "default" in schema:
                yield f"{where} is a secret (writeOnly) with a default"
        if "x-path" in schema and not isinstance(schema["x-path"], bool):
            yield f"{where} says x-path = {schema['x-path']!r}; true or false is expected"
        if "x-unit" in schema and schema["x-unit"] not in _UNITS:
            yield f"{where} says x-unit = {schema['x-unit']!r}; {' or '.join(_UNITS)} is expected"
        if "x-hint" in schema and not isinstance(schema["x-hint"], str):
            yield f"{where} says x-hint = {schema['x-hint']!r}; a text is expected"

    def _reference(self, schema: Mapping[str, Any], where: str) -> Iterator[str]:
        reference = schema["$ref"]
        if reference != "#" and not reference.startswith("#/"):
            yield f"{where} refers to {reference!r}; an options schema refers to its own parts by #/ alone"
        elif self._target(reference) is None:
            yield f"{where} refers to {reference!r}, which does not exist"
        elif self._returns(schema, frozenset()):
            yield f"{where} refers to {reference!r}, which leads back to itself"

    def _target(self, reference: str) -> Any:
        found: Any = self._root
        for part in reference.removeprefix("#").split("/")[1:]:
            if not isinstance(found, dict):
                return None
            found = found.get(part.replace("~1", "/").replace("~0", "~"))
        return found

    def _returns(self, schema: Any, above: frozenset[int]) -> bool:
        """Whether a validator would come back to this schema with the same value, for ever."""
        if id(schema) in above:
            return True
        if not isinstance(schema, dict):
            return False
        above |= {id(schema)}
        parts = [part for keyword in _SAME if keyword in schema for part in _listed(schema[keyword])]
        if "$ref" in schema:
            parts.append(self._target(schema["$ref"]))
        return any(self._returns(part, above) for part in parts)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
