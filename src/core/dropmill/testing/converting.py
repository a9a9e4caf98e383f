"""Runs one converter on one file in this process: options defaulted and checked, sniff asked, reports filled and validated.

It keeps to what the core does in a worker, so that a test that passes here converts there; it has none of a worker's limits,
and lets the author's exceptions through unchanged.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

import jsonschema

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
from dropmill.reports.compose import Composer, Draft
from dropmill.reports.errors import InvalidReport
from dropmill.reports.origin import Origin
from dropmill.reports.schema import Schemas

__all__ = [
    "HEAD_BYTES",
    "Conversion",
    "FileSource",
    "InvalidReport",
    "RecordingContext",
    "convert",
    "find_spec",
    "with_defaults",
]

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
        ValueError: The options are not valid; every error with its path.
        InvalidReport: A report breaks its schema, with the path of what is wrong.
        AssertionError: The converter broke the contract: yielded no report or no `Report`, or raised NotMine too late.
    """
    spec = find_spec(converter) if isinstance(converter, str) else converter
    settled = with_defaults(spec.options_schema, options or {})
    wrong = [
        f"{error.json_path.replace('$', 'options', 1)}: {error.message}"
        for error in jsonschema.Draft202012Validator(spec.options_schema).iter_errors(settled)
    ]
    if wrong:
        raise ValueError(f"{spec.id}: " + "; ".join(wrong))
    instance = _make(spec, settled)
    source, context = FileSource.of(path, name), RecordingContext()
    match = _sniff(instance, source)
    with TemporaryDirectory(prefix="dropmill-testing-") as folder:
        schemas = Schemas(spec.schemas) if spec.schemas else _plain_schemas()
        composer = Composer(_origin(spec, source, context), schemas, _Files(Path(folder)).create)
        records: list[Report] = []
        drafts: list[Draft] = []
        try:
            for record in instance.convert(source, context):
                drafts.append(composer.draft(record))
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
        documents = [_document(draft, record, context) for draft, record in zip(drafts, records, strict=True)]
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


def _origin(spec: ConverterSpec, source: FileSource, context: RecordingContext) -> Origin:
    return Origin(
        name=source.name,
        size=source.size,
        sha256=source.sha256,
        modified=source.modified,
        folder=context.folder,
        occurrence=0,
        converter=spec.id,
        version="0",
        distribution="test",
    )


def _document(draft: Draft, record: Report, context: RecordingContext) -> Any:
    payload = draft.finish(None, context.warnings[:100])
    body = payload.body if payload.path is None else payload.path.read_bytes()
    return body if isinstance(record.document, bytes) else json.loads(body or b"")


@cache
def _plain_schemas() -> Schemas:
    return Schemas()


class _Files:
    """Makes the files that streamed reports are written to."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def create(self) -> _File:
        self._count += 1
        return _File(self._folder / f"{self._count}.json")


class _File:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._stream = path.open("wb")

    def write(self, data: bytes) -> None:
        self._stream.write(data)

    def close(self) -> None:
        self._stream.close()
