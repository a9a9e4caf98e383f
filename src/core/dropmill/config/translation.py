"""Says what is wrong in words of our own: what a value must be, what it is, and what to do.

A value is shown only where it can be no secret.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from dropmill.config.document import Document
from dropmill.config.normalization import get
from dropmill.config.positions import KeyPath
from dropmill.config.problems import ConfigProblem
from dropmill.config.validation import Finding
from dropmill.config.vocabulary import Schema
from dropmill.config.wording import (
    PASSWORD_IN_URL,
    REDACTED,
    alternatives,
    bounds,
    expected,
    invalid_url,
    password_in_url,
    render,
    sounds_secret,
)
from dropmill.foundation.similar import closest

__all__ = ["Translator"]

_RANGES = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_SIZES = {
    "minLength": "must have at least {} characters",
    "maxLength": "must have at most {} characters",
    "minItems": "must have at least {} entries",
    "maxItems": "must have at most {} entries",
    "minProperties": "must have at least {} keys",
    "maxProperties": "must have at most {} keys",
}
_KNOWN = 14


class Translator:
    """Turns findings into problems of a document.

    Args:
        document: Where values stand, and how they were written.
        secrets: Paths of values that are never shown.
    """

    def __init__(self, document: Document, secrets: Collection[KeyPath]) -> None:
        self._document = document
        self._secrets = secrets

    def problem(self, finding: Finding) -> ConfigProblem:
        """What is wrong, with which value, and what to do."""
        keyword, schema = finding.keyword, finding.schema
        if schema.get("x-secret"):
            return self._secret(finding)
        if keyword == "additionalProperties":
            return self._unknown(finding)
        if keyword == "required":
            return self._missing(finding)
        if keyword == "dependentRequired":
            what = f"is missing: {finding.argument} needs it"
            todo = f"add {finding.path[-1]}, or take {finding.argument} out"
            return self._document.problem(finding.path, "DM-C014", what, todo, at_key=True)
        if keyword == "type":
            return self._say(finding, "DM-C011", f"must be {expected(schema)}", f"write {_example(schema)}")
        if keyword in _RANGES:
            limits = bounds(schema)
            what = f"must be {limits}" if limits else f"must be a multiple of {finding.argument}"
            return self._say(finding, "DM-C012", what, "choose a value in that range")
        if keyword in ("enum", "const"):
            return self._choice(finding)
        if keyword in ("pattern", "format", "propertyNames"):
            return self._form(finding)
        if keyword in _SIZES:
            return self._size(finding)
        if keyword == "uniqueItems":
            return self._say(finding, "DM-C016", "lists the same entry twice", "take the repeated entry out")
        if keyword == "not" and finding.argument == {}:
            return self._say(finding, "DM-C017", "cannot be set together with the others here", "take it out")
        return self._say(
            finding,
            "DM-C017",
            "does not fit together: the options break a rule of their schema"
            + (f" ({schema['description']})" if "description" in schema else ""),
            "see the documentation of these options",
        )

    def _say(self, finding: Finding, code: str, what: str, todo: str, suggestion: str = "") -> ConfigProblem:
        return self._document.problem(
            finding.path, code, what, todo, value=self._shown(finding.path, finding.value), suggestion=suggestion
        )

    def _shown(self, path: KeyPath, value: Any) -> str:
        if any(path[:length] in self._secrets for length in range(len(path) + 1)):
            return REDACTED
        written = get(self._document.data, path)
        return render(value if written is None else written)

    def _secret(self, finding: Finding) -> ConfigProblem:
        todo = 'keep it elsewhere and refer to it: { env = "NAME" } or { file = "path" }'
        if finding.keyword == "type" and isinstance(finding.value, dict | list):
            return self._say(finding, "DM-C011", "must refer to a secret", todo)
        if finding.keyword == "type":
            return self._document.problem(
                finding.path, "DM-C032", "is a secret and must not stand in this file", todo, value=REDACTED
            )
        if finding.keyword == "additionalProperties":
            guess = closest(str(finding.argument), ("env", "file"))
            what = "is not known here"
            todo = f"did you mean {guess}?" if guess else todo
            return self._document.problem(
                finding.path, "DM-C010", what, todo, value=REDACTED, suggestion=guess, at_key=True
            )
        return self._say(finding, "DM-C016", "must name exactly one place, env or file", todo)

    def _unknown(self, finding: Finding) -> ConfigProblem:
        key = str(finding.argument)
        known = list(finding.schema.get("properties", {}))
        guess = closest(key, known)
        listed = ", ".join(known[:_KNOWN]) + (", ..." if len(known) > _KNOWN else "")
        if guess:
            todo = f"did you mean {guess}?"
        else:
            todo = f"take it out; known here are {listed}" if known else "take it out; there is nothing to set here"
        options = (
            "options" in finding.path
            or finding.path[0] in ("converter", "transport", "policy")
            or "policy" in finding.path
        )
        hidden = isinstance(finding.value, str) and (options or sounds_secret(key))
        return self._document.problem(
            finding.path,
            "DM-C010",
            "is not known here",
            todo,
            value=REDACTED if hidden else self._shown(finding.path, finding.value),
            suggestion=guess,
            at_key=True,
        )

    def _missing(self, finding: Finding) -> ConfigProblem:
        key = str(finding.argument)
        wanted = finding.schema.get("properties", {}).get(key, {})
        todo = f"add {key}"
        if "description" in wanted:
            todo += f": {wanted['description']}"
        return self._document.problem(finding.path, "DM-C014", "is missing", todo, at_key=True)

    def _choice(self, finding: Finding) -> ConfigProblem:
        values = finding.argument if isinstance(finding.argument, list) else [finding.argument]
        guess = (
            closest(finding.value, [value for value in values if isinstance(value, str)])
            if isinstance(finding.value, str)
            else ""
        )
        what = f"must be {alternatives(render(value) for value in values)}"
        todo = f"did you mean {render(guess)}?" if guess else "choose one of them"
        return self._say(finding, "DM-C013", what, todo, guess)

    def _form(self, finding: Finding) -> ConfigProblem:
        schema = finding.schema
        if "x-unit" in schema:
            what = f"cannot be read as {expected(schema)}"
            todo = (
                "units are B, kB, MB, GB, TB, KiB, MiB, GiB, TiB"
                if schema["x-unit"] == "bytes"
                else "units are ms, s, min, h, d"
            )
            return self._say(finding, "DM-C015", what, todo)
        if finding.argument in ("uri", "uri-template") or str(finding.argument).startswith("^https?://"):
            return self._url(finding)
        hint = schema.get("x-hint")
        if finding.value == "" and finding.keyword == "pattern":
            return self._say(finding, "DM-C016", "must not be empty", f"write {hint}" if hint else "give it a value")
        what = f"must be {hint}" if hint else f"does not have the form {finding.argument!r}"
        if finding.keyword == "propertyNames":
            what = "is no possible name here"
        return self._say(finding, "DM-C015", what, schema.get("description") or "correct it")

    def _url(self, finding: Finding) -> ConfigProblem:
        """A URL, whether its schema says so by its format or by a pattern for http and https."""
        text = str(finding.value)
        if password_in_url(text):
            what, todo = PASSWORD_IN_URL
            return self._document.problem(finding.path, "DM-C032", what, todo, value=REDACTED)
        scheme = text.partition(":")[0].lower()
        reason = invalid_url(text) or (
            "it must begin with http:// or https://"
            if scheme not in ("http", "https")
            else "its form is not allowed here"
        )
        return self._say(
            finding, "DM-C018", f"is no valid URL: {reason}", "write it in full, such as https://host/path"
        )

    def _size(self, finding: Finding) -> ConfigProblem:
        limit = finding.argument
        if finding.keyword in ("minLength", "minItems", "minProperties") and limit == 1:
            what = "must not be empty"
        else:
            what = _SIZES[finding.keyword].format(limit)
        return self._say(finding, "DM-C016", what, finding.schema.get("description") or "correct it")


def _example(schema: Schema) -> str:
    kinds = schema.get("type", ())
    kind = kinds if isinstance(kinds, str) else next(iter(kinds), "")
    if "default" in schema and not isinstance(schema["default"], dict | list):
        return f"it as in {render(schema['default'])}"
    return {
        "string": 'it in quotes: "..."',
        "number": "a number without quotes, such as 2.5",
        "integer": "a number without quotes or fraction, such as 2",
        "boolean": "true or false, without quotes",
        "array": 'a list: ["...", "..."]',
        "object": "a table: { ... }, or a [section] of its own",
    }.get(kind, "a value of that kind")
