"""The schemas of documents, each compiled once, and the clear error that says what breaks one.

`urn:dropmill:report:1` is always there; a converter may declare more (`ConverterSpec.schemas`). Formats (`date-time`, `uuid`)
are checked. No schema is ever fetched from anywhere.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from typing import Any

import jsonschema_rs
import orjson

from dropmill.reports.encoding import encode, is_finite, plain
from dropmill.reports.errors import InvalidReport, json_path, shorten

__all__ = ["REPORT", "REPORT_VERSION", "Schemas", "report_schema"]

REPORT = "urn:dropmill:report:1"
REPORT_VERSION = "1.0"

_MESSAGE = 600


@cache
def report_schema() -> Mapping[str, Any]:
    """The JSON Schema of `urn:dropmill:report:1`."""
    schema: Mapping[str, Any] = orjson.loads(
        resources.files("dropmill.reports").joinpath("report.schema.json").read_bytes()
    )
    return schema


class Schemas:
    """Validators by `$id`.

    Raises:
        InvalidReport: `DM-V006`, a declared schema has no `$id`, takes the report's, or is no valid JSON Schema.
    """

    def __init__(self, declared: Iterable[Mapping[str, Any]] = ()) -> None:
        report = report_schema()
        self._validators: dict[str, jsonschema_rs.Draft202012Validator] = {REPORT: _compile(report)}
        self._step = _compile({"$ref": "#/$defs/step", "$defs": report["$defs"]})
        for schema in declared:
            name = schema.get("$id")
            if not isinstance(name, str) or name in self._validators:
                raise InvalidReport(
                    f"a converter declares a schema under the $id {name!r}, which is missing or taken", code="DM-V006"
                )
            try:
                self._validators[name] = _compile(schema)
            except (ValueError, jsonschema_rs.ValidationError) as error:
                raise InvalidReport(
                    f"the declared schema {name!r} is no valid JSON Schema: {shorten(str(error), _MESSAGE)}",
                    code="DM-V006",
                ) from None

    def render(self, schema: str, document: Mapping[str, Any], held: str | None = None) -> tuple[Any, bytes]:
        """Validate a document and encode it; where values had to be brought to JSON's (see `encoding.plain`), a plain copy.

        Args:
            schema: The `$id` that the document is to be held to.
            document: All of it.
            held: A member that counts for validation but is left out of the bytes; the caller writes it later.

        Raises:
            InvalidReport: `DM-V004` with path and value; `DM-V005`, not JSON; `DM-V006`, the schema is not known.
        """
        validator = self._validators.get(schema)
        if validator is None:
            raise InvalidReport(
                f"nobody declared the schema {schema!r}",
                code="DM-V006",
                todo=f"the converter's spec must list it in `schemas`; declared are {', '.join(sorted(self._validators))}",
            )
        return _render(validator, schema, document, (), held)

    def render_step(self, step: Any, number: int) -> tuple[Any, bytes]:
        """Validate and encode one step of a report, the `number`-th of its root."""
        return _render(self._step, REPORT, step, ("root", "steps", number), None)

    def check_text(self, schema: str, text: bytes) -> None:
        """Validate JSON that a converter wrote itself.

        Raises:
            InvalidReport: as `render`.
        """
        try:
            document = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise InvalidReport(
                f"bytes that are declared as JSON are none: {error}",
                code="DM-V005",
                todo="give the report another media_type and schema=None, or correct the converter",
            ) from None
        self.render(schema, document)


def _compile(schema: Mapping[str, Any]) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(dict(schema), validate_formats=True, retriever=_refuse)


def _refuse(uri: str) -> Any:
    raise ValueError(f"{uri} is not part of the schema, and no schema is fetched from anywhere")


def _render(
    validator: jsonschema_rs.Draft202012Validator,
    schema: str,
    document: Any,
    at: tuple[str | int, ...],
    held: str | None,
) -> tuple[Any, bytes]:
    with contextlib.suppress(ValueError, InvalidReport):  # a type, a key or a text that JSON does not know
        if validator.is_valid(document):
            encoded = encode(_without(document, held))
            if b"null" not in encoded or is_finite(document):
                return document, encoded
    document = plain(document, at)
    error = next(validator.iter_errors(document), None)
    if error is None:
        return document, encode(_without(document, held))
    message = error.message if len(error.message) <= _MESSAGE else error.message[: _MESSAGE - 1] + "…"
    raise InvalidReport(
        f"the report breaks its schema {schema}: {message}",
        path=json_path((*at, *error.instance_path)),
        value=shorten(error.instance, 120),
        todo="the converter must be corrected, or the file holds what its format does not allow",
    )


def _without(document: Any, held: str | None) -> Any:
    return document if held is None else {key: member for key, member in document.items() if key != held}
