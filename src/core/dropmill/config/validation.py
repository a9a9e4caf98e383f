"""Holds a document to its schema: what does not fit, where, and which rule it breaks.

Of alternatives (`oneOf`, `anyOf`) the branch that was meant is followed, so that one mistake is one finding. The validator's own
messages are never passed on: they repeat values, which may be secrets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError

from dropmill.config.annotations import follow
from dropmill.config.positions import KeyPath
from dropmill.config.vocabulary import Schema
from dropmill.config.wording import invalid_url

__all__ = ["Finding", "findings"]


@dataclass(frozen=True)
class Finding:
    """Something that a schema does not allow."""

    path: KeyPath
    keyword: str
    schema: Schema
    """The subschema that it breaks, references followed."""
    value: Any
    """As validated; may be a secret."""
    argument: Any
    """What the keyword says; for a missing or unknown key that key, for one that another key needs the other."""
    conditional: bool = False
    """Whether a key is missing only because of what another key says (which may be missing itself)."""


def findings(schema: Schema, value: Any, root: Schema) -> list[Finding]:
    """Everything about `value` that `schema` does not allow, the most telling branch of an alternative alone."""
    whole = {**schema, "$defs": root["$defs"]} if "$defs" in root else schema
    validator = Draft202012Validator(whole, format_checker=_checker())
    found: dict[tuple[KeyPath, str], Finding] = {}
    for error in validator.iter_errors(value):
        for finding in _flat(error, root):
            found.setdefault((finding.path, finding.keyword), finding)
    lacking = {each.path[:-1] for each in found.values() if each.keyword == "required" and not each.conditional}
    return [each for each in found.values() if not (each.conditional and each.path[:-1] in lacking)]


def _checker() -> FormatChecker:
    checker = FormatChecker(formats=())
    for name in ("uri", "uri-template"):
        checker.checks(name)(lambda value: not isinstance(value, str) or not invalid_url(value))
    return checker


def _flat(error: ValidationError, root: Schema) -> Iterator[Finding]:
    path: KeyPath = tuple(error.absolute_path)
    schema = follow(dict(error.schema), root) if isinstance(error.schema, dict) else {}
    keyword = str(error.validator)
    value: Any = error.instance
    if keyword in ("anyOf", "oneOf") and error.context:
        yield from _branches(error, path, schema, root)
    elif keyword == "additionalProperties":
        known = schema.get("properties", {})
        for key in value:
            if key not in known and not any(_matches(pattern, key) for pattern in schema.get("patternProperties", {})):
                yield Finding((*path, key), keyword, schema, value[key], key)
    elif keyword == "required":
        for key in schema.get("required", ()):
            if key not in value:
                yield Finding((*path, key), keyword, schema, None, key, conditional=_conditional(error))
    elif keyword == "dependentRequired":
        for cause, needed in schema["dependentRequired"].items():
            for key in needed if cause in value else ():
                if key not in value:
                    yield Finding((*path, key), keyword, schema, None, cause)
    elif "propertyNames" in error.absolute_schema_path:
        yield Finding((*path, str(error.instance)), "propertyNames", schema, error.instance, error.validator_value)
    else:
        yield Finding(path, keyword, schema, error.instance, error.validator_value)


def _conditional(error: ValidationError) -> bool:
    """Whether the rule stands in a `then` or `else` that speaks of the same value."""
    way = list(error.absolute_schema_path)
    here = len(way) - way[::-1].index("properties") if "properties" in way else 0
    return not {"then", "else"}.isdisjoint(way[here:])


def _matches(pattern: str, key: str) -> bool:
    return re.search(pattern, key) is not None


def _branches(error: ValidationError, path: KeyPath, schema: Schema, root: Schema) -> Iterator[Finding]:
    branches: dict[Any, list[ValidationError]] = {}
    for part in error.context or ():
        branches.setdefault(part.relative_schema_path[0], []).append(part)
    fitting = [found for found in branches.values() if not any(_wrong_type(part) for part in found)]
    if len(fitting) > 1:
        fitting = [found for found in fitting if not any(_other_word(part) for part in found)]
    if len(fitting) == 1:
        for part in fitting[0]:
            yield from _flat(part, root)
        return
    kinds = [kind for found in branches.values() for part in found if _wrong_type(part) for kind in _kinds(part)]
    if not fitting and kinds:
        yield Finding(path, "type", {"type": list(dict.fromkeys(kinds))}, error.instance, kinds)
    else:
        yield Finding(path, str(error.validator), schema, error.instance, None)


def _other_word(part: ValidationError) -> bool:
    """Whether the branch is for another value of the key that selects it."""
    return part.validator in ("const", "enum") and len(part.relative_path) <= 1


def _wrong_type(part: ValidationError) -> bool:
    return part.validator == "type" and not part.relative_path


def _kinds(part: ValidationError) -> list[str]:
    kinds: Any = part.validator_value
    return [kinds] if isinstance(kinds, str) else list(kinds)
