"""Registers `json`: JSON documents and lines of them, mapped by pointers, kept as data, or passed on where they are reports."""

from __future__ import annotations

from collections.abc import Iterable

from dropmill.api import Accepts, ConverterSpec, hookimpl
from dropmill_plugins.converters.json.options import OPTIONS

__all__ = ["SPEC", "register_converters"]

SPEC = ConverterSpec(
    id="json",
    factory="dropmill_plugins.converters.json.converter:JsonConverter",
    accepts=Accepts(("*.json", "*.ndjson", "*.jsonl", "*.ldjson")),
    options_schema=OPTIONS,
    summary="JSON and NDJSON: a declared mapping to report fields, one report a document, line or item; reports pass",
)


@hookimpl
def register_converters() -> Iterable[ConverterSpec]:
    """The converter `json`."""
    return [SPEC]
