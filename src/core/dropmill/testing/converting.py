"""Runs one converter on one file in this process: options defaulted and checked, sniff asked, reports filled and validated.

It keeps to what the core does in a worker, so that a test that passes here converts there; it has none of a worker's limits,
and lets the author's exceptions through unchanged.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, BinaryIO

import jsonschema
import jsonschema_rs
import orjson

from dropmill.api import (
    ENTRY_POINT_GROUP,
    Converter,
    ConverterSpec,
    Head,
    Match,
    NotMine,
    Part,
    Report,
)

__all__ = ["HEAD_BYTES", "Conversion", "FileSource", "RecordingContext", "convert", "find_spec", "with_defaults"]

HEAD_BYTES = 65_536
"""What `sniff` gets to see of a file."""


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What came of a file."""

    reports: Sequence[Any]
    """The documents in order, complete and validated; bytes where the converter gave bytes."""
    warnings: Sequence[Mapping[str, Any]] = ()
    """`code`, `message` and, where one was given, `line`."""
    match: Match | None = None
    """What `sniff` answered; None where the converter has none."""
    records: Sequence[Report] = ()
    """The records as the converter yielded them; `steps` of a streamed one are used up."""


@dataclass
class FileSource:
    """A `dropmill.api.Source` of one file on disk."""

    path: Path
    name: str = ""
    size: int = 0
    sha256: str = ""
    modified: float = 0.0
    parts: Sequence[Part] = ()
    opened: list[BinaryIO] = field(default_factory=list)
    """Every stream that was handed out."""

    @classmethod
    def of(cls, path: str | os.PathLike[str], name: str | None = None) -> FileSource:
        """The file at `path`, under its own name or another."""
        path = Path(path)
        facts = path.stat()
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return cls(path, name or path.name, facts.st_size, digest, facts.st_mtime)

    def open(self, part: str | None = None) -> BinaryIO:
        """See `dropmill.api.Source`."""
        if part is not None:
            raise KeyError(f"{self.name} is a single file and has no part {part!r}")
        stream = self.path.open("rb")
        self.opened.append(stream)
        return stream

    def local_path(self, part: str | None = None) -> str:
        """See `dropmill.api.Source`."""
        if part is not None:
            raise KeyError(f"{self.name} is a single file and has no part {part!r}")
        return str(self.path)


@dataclass
class RecordingContext:
    """A `dropmill.api.ConvertContext` that keeps what it is told."""

    folder: str = "test"
    warnings: list[dict[str, Any]] = field(default_factory=list)
    progressed: int = 0

    def warn(self, code: str, message: str, *, line: int | None = None) -> None:
        """See `dropmill.api.ConvertContext`."""
        self.warnings.append({"code": code, "message": message} | ({} if line is None else {"line": line}))

    def progress(self, done: float | None = None) -> None:
        """See `dropmill.api.ConvertContext`."""
        if done is not None and not 0 <= done <= 1:
            raise ValueError(f"progress is from 0 to 1, not {done}")
        self.progressed += 1


def convert(
    converter: ConverterSpec | str,
    path: str | os.PathLike[str],
    options: Mapping[str, Any] | None = None,
    *,
    name: str | None = None,
) -> Conversion:
    """Convert a file as a worker would.

    Args:
        converter: A spec, or the id of an installed converter.
        path: The file.
        options: As an admin would configure them; checked against the spec's schema, and completed by its defaults.
        name: The file's name as the converter sees it; None: its own.

    Raises:
        BadInput, RetryLater, NotMine: As the converter raised them; NotMine also where `sniff` answers None.
        jsonschema.ValidationError: The options, or a report, are not valid.
        AssertionError: The converter broke the contract: yielded no report or no `Report`, or raised NotMine too late.
    """
    spec = find_spec(converter) if isinstance(converter, str) else converter
    settled = with_defaults(spec.options_schema, options or {})
    jsonschema.Draft202012Validator(spec.options_schema).validate(settled)
    instance = _make(spec, settled)
    source, context = FileSource.of(path, name), RecordingContext()
    match = _sniff(instance, source)
    records: list[Report] = []
    documents: list[Any] = []
    try:
        for record in instance.convert(source, context):
            assert isinstance(record, Report), f"{spec.id} yielded {type(record).__name__}, not a Report"
            documents.append(_finish(record, spec, source, len(records), context))
            records.append(record)
    except NotMine as signal:
        assert not records, f"{spec.id} raised NotMine after its first report"
        raise signal from None
    finally:
        left = [stream for stream in source.opened if not stream.closed]
        for stream in left:
            stream.close()
    assert records, f"{spec.id} yielded no report and did not say why"
    assert not left, f"{spec.id} left {len(left)} stream(s) of the source open"
    return Conversion(reports=documents, warnings=context.warnings, match=match, records=records)


def find_spec(converter: str) -> ConverterSpec:
    """The spec of an installed converter, by its id.

    Raises:
        LookupError: No entry point of this name offers it.
    """
    for point in entry_points(group=ENTRY_POINT_GROUP):
        if point.name != converter:
            continue
        register = getattr(point.load(), "register_converters", None)
        for spec in register() if register is not None else ():
            if isinstance(spec, ConverterSpec) and spec.id == converter:
                return spec
    raise LookupError(
        f"no installed plugin {converter!r} offers a converter of this id; is its distribution installed?"
    )


def with_defaults(schema: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with the schema's defaults where they say nothing."""
    settled = dict(options)
    for key, member in schema.get("properties", {}).items():
        if key not in settled and "default" in member:
            settled[key] = member["default"]
    return settled


def _make(spec: ConverterSpec, options: Mapping[str, Any]) -> Converter:
    module, _, name = spec.factory.partition(":")
    made: Converter = getattr(importlib.import_module(module), name)(options)
    return made


def _sniff(instance: Converter, source: FileSource) -> Match | None:
    sniff = getattr(instance, "sniff", None)
    if sniff is None:
        return None
    with source.path.open("rb") as stream:
        match: Match | None = sniff(Head(source.name, source.size, stream.read(HEAD_BYTES)))
    if match is None:
        raise NotMine("sniff: not this converter's file")
    return match


def _finish(record: Report, spec: ConverterSpec, source: FileSource, index: int, context: RecordingContext) -> Any:
    if isinstance(record.document, bytes):
        return record.document
    document = dict(record.document)
    if record.steps is not None:
        root = dict(document.get("root") or {})
        root["steps"] = [*root.get("steps", ()), *record.steps]
        document["root"] = root
    name = f"{source.sha256}/{context.folder}/{spec.id}/{record.key if record.key is not None else index}/1"
    document["schemaVersion"] = "1.0"
    document["reportId"] = str(uuid.uuid5(uuid.NAMESPACE_URL, name))
    document["source"] = {
        "path": source.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace"),
        "sha256": source.sha256,
        "size": source.size,
        "format": spec.id,
        "converter": {"name": spec.id, "version": "0"},
        "index": index,
        "warnings": [{"code": one["code"], "message": one["message"]} for one in context.warnings],
    }
    document = orjson.loads(orjson.dumps(document))
    _validator().validate(document)
    return document


@cache
def _validator() -> Any:
    schema = json.loads(resources.files("dropmill.reports").joinpath("report.schema.json").read_bytes())
    return jsonschema_rs.validator_for(schema, validate_formats=True)
