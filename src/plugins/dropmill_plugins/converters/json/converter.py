"""The converter `json`: documents to reports by a declared mapping, as they are where they are reports, else kept as `data`.

Strict by RFC 8259. It never repairs: what is no JSON, or not what the mapping says, refuses the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from dropmill.api import BadInput, ConvertContext, Head, Level, Match, Report, Source
from dropmill_plugins.converters.common.digest import WarningDigest
from dropmill_plugins.converters.common.encodings import marked_encoding
from dropmill_plugins.converters.common.steps import misc_entry, shown
from dropmill_plugins.converters.common.strict_json import Doubled, Inexact, StrictDecoder
from dropmill_plugins.converters.json.documents import Document, Documents
from dropmill_plugins.converters.json.flattening import flatten
from dropmill_plugins.converters.json.mapping import Plan, is_mapped
from dropmill_plugins.converters.json.options import DEFAULT_MAX_DOCUMENT, KINDS
from dropmill_plugins.converters.json.reading import read_reports

__all__ = ["JsonConverter"]

_REPORT_VERSION = "1.0"
_FROM_SOURCE = ("format", "formatVersion", "encoding")


class JsonConverter:
    """JSON and NDJSON; see `docs/converters.md` for the mapping and the shape of a `data` report."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._mode = options.get("documents", "auto")
        self._limit = options.get("max_document", DEFAULT_MAX_DOCUMENT)
        self._passes = options.get("pass_through", True)
        self._plan = Plan.of(options) if is_mapped(options) else None

    def sniff(self, head: Head) -> Match | None:
        """POSSIBLE where an object or array begins, WEAK for any other text named as JSON: no format names itself here."""
        encoding = marked_encoding(head.data) or "utf-8"
        text = head.data[:256].decode(encoding, "replace").lstrip(" \t\r\n")
        if text[:1] in ("{", "["):
            return Match(Level.POSSIBLE, "begins as a JSON object or array")
        if b"\0" in head.data[:256] and encoding == "utf-8":
            return None
        if text[:1] == "<":
            return None
        return Match(Level.WEAK, "named as JSON") if head.data else None

    def convert(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        """One report a document, a line or an item."""
        if source.size == 0:
            raise BadInput("JSON-EMPTY", "the file is empty")
        decoder = StrictDecoder()
        documents = Documents(source, decoder, self._limit)
        warnings = WarningDigest(context)
        mode = self._mode
        if mode == "auto":
            mode = "lines" if documents.are_lines() else "one"
        if mode == "one" and self._plan is None and documents.is_large_array():
            yield self._large_array(source, documents, warnings)
            return
        found = (
            documents.lines()
            if mode == "lines"
            else documents.items()
            if mode == "items"
            else iter([documents.whole()])
        )
        name = shown(source.name)
        empty = True
        for document in found:
            for report in self._reports(document, decoder, name, warnings):
                empty = False
                yield report
        if empty:
            raise BadInput("JSON-EMPTY", "there is no document, or no record, in the file")
        warnings.close()

    def _reports(
        self, document: Document, decoder: StrictDecoder, name: str, warnings: WarningDigest
    ) -> Iterator[Report]:
        value, line = document.value, document.line
        if self._passes and isinstance(value, dict) and _is_report(value):
            yield _passed_on(value, line, odd=decoder.odd > 0)
        elif self._plan is not None:
            for made in read_reports(self._plan, value, name, line):
                yield Report(made, fields={"line": line})
        else:
            yield _data(value, line, name, warnings)

    def _large_array(self, source: Source, documents: Documents, warnings: WarningDigest) -> Report:
        document = _data_document(shown(source.name))
        fields: dict[str, int] = {}

        def steps() -> Iterator[dict[str, Any]]:
            count = 0
            for item in documents.items():
                yield _item(item.value, count, warnings, item.line)
                count += 1
            fields["items"] = count
            warnings.close()

        return Report(document, steps=steps(), fields=fields)


def _data_document(name: str) -> dict[str, Any]:
    root: dict[str, Any] = {"name": name, "type": "group", "outcome": "unknown"}
    return {"kind": "data", "outcome": "unknown", "startPrecision": "unknown", "root": root}


def _data(value: Any, line: int, name: str, warnings: WarningDigest) -> Report:
    """A document as a `data` report: the elements of an array as steps, any other value as measurements of the root."""
    document = _data_document(name)
    root = document["root"]
    if isinstance(value, list) and value:
        root["steps"] = [_item(item, index, warnings, line) for index, item in enumerate(value)]
        return Report(document, fields={"line": line, "items": len(value)})
    root["measurements"] = flatten(value, "", warnings.warn, line)
    return Report(document, fields={"line": line})


def _item(value: Any, index: int, warnings: WarningDigest, line: int) -> dict[str, Any]:
    pointer = f"/{index}"
    found = flatten(value, pointer, warnings.warn, line)
    return {"name": pointer, "type": "action", "outcome": "unknown", "measurements": found}


def _is_report(value: Mapping[str, Any]) -> bool:
    return "schemaVersion" in value and "outcome" in value and value.get("kind") in KINDS


def _passed_on(value: Mapping[str, Any], line: int, *, odd: bool) -> Report:
    """A report as it is. The core gives it an id and a source of its own; what it said of these stays in `misc`."""
    if value["schemaVersion"] != _REPORT_VERSION:
        told = str(value["schemaVersion"])[:40]
        raise BadInput(
            "JSON-REPORT-VERSION", f"the report is of schema version {told!r}, not {_REPORT_VERSION}", line=line
        )
    document = dict(_ordinary(value, line) if odd else value)
    document.pop("schemaVersion")
    identity = document.pop("reportId", None)
    source = document.pop("source", None)
    misc = document.get("misc", [])
    if isinstance(misc, list):
        kept = list(misc)
        if identity is not None:
            kept.append(misc_entry("original.reportId", str(identity)))
        if source is not None:
            kept.append(misc_entry("original.source", json.dumps(source, ensure_ascii=False), "application/json"))
        if kept:
            document["misc"] = kept
    if isinstance(source, Mapping):
        document["source"] = {key: source[key] for key in _FROM_SOURCE if isinstance(source.get(key), str)}
    return Report(document, key=identity[:200] if isinstance(identity, str) and identity else None)


def _ordinary(value: Any, line: int) -> Any:
    """A copy without what a report cannot hold.

    Raises:
        BadInput: A repeated name, or a number too large for any.
    """
    if isinstance(value, Doubled):
        raise BadInput(
            "JSON-DUPLICATE-NAME", f"the report names {min(value.repeated)[:60]!r} more than once", line=line
        )
    if isinstance(value, dict):
        return {key: _ordinary(member, line) for key, member in value.items()}
    if isinstance(value, list):
        return [_ordinary(member, line) for member in value]
    if isinstance(value, Inexact):
        if value.number is None:
            raise BadInput(
                "JSON-NUMBER", f"the report holds the number {value.text[:40]}, which is too large", line=line
            )
        return value.number
    return value
