"""From what a converter yields to a finished payload: fill in, validate, encode, embed, hash.

A report is made in two steps, since how many reports a file has, and what was odd about it, is known only at the end:
`Composer.draft` validates and encodes everything but `source.of` and `source.warnings`, `Draft.finish` adds these. Streamed
steps go straight to a file, one by one. Invariant: what `finish` answers was validated as a whole, and its size and sha256 are
those of its bytes.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from dropmill.api import Attachment, Report
from dropmill.reports.encoding import encode
from dropmill.reports.errors import InvalidReport, shorten
from dropmill.reports.ids import KeyCounter, report_id
from dropmill.reports.origin import Origin, counts_of, default_fields, tally
from dropmill.reports.schema import REPORT, REPORT_VERSION, Schemas

__all__ = ["Composer", "Draft", "Payload", "StagingFile"]

_MAX_FIELDS = 64
_MAX_FIELD_BYTES = 16_384
_MAX_KEY = 1_000
_FLUSH = 262_144
_JSON = ("application/json", "+json")


class StagingFile(Protocol):
    """A file in the task's folder that a large payload is written to."""

    path: Path

    def write(self, data: bytes) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Payload:
    """A finished report: bytes in memory, or a closed file."""

    body: bytes | None
    path: Path | None
    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A validated report that lacks nothing but its file's totals."""

    report_id: str
    key: str | None
    media_type: str
    schema: str | None
    fields: Mapping[str, Any]
    _head: bytes
    """The payload, or its last part where `_stream` holds what comes before."""
    _source: dict[str, Any] | None
    """None: the payload is complete."""
    _stream: _Stream | None = None

    @property
    def held(self) -> int:
        """Bytes that it keeps in memory."""
        return len(self._head)

    def finish(self, of: int | None, warnings: Sequence[Mapping[str, Any]]) -> Payload:
        """Complete the payload. Call it once.

        Args:
            of: How many reports the file has, where that is known.
            warnings: What the converter warned of, each `{code, message, line?}`.
        """
        tail = self._head
        if self._source is not None:
            source = {**self._source, "of": of}
            if warnings:
                source["warnings"] = [_warning(warning) for warning in warnings]
            tail = b'%s,"source":%s}' % (tail[:-1], encode(source))
        if self._stream is not None:
            return self._stream.finish(tail)
        return Payload(body=tail, path=None, size=len(tail), sha256=hashlib.sha256(tail).hexdigest())


class Composer:
    """Makes the drafts of one file's reports, in order.

    Args:
        origin: The file and the converter.
        schemas: What documents are held to.
        create: Opens a file for a payload that is streamed.
    """

    def __init__(self, origin: Origin, schemas: Schemas, create: Callable[[], StagingFile]) -> None:
        self._origin = origin
        self._schemas = schemas
        self._create = create
        self._keys = KeyCounter()
        self._ordinal = 0

    def draft(self, report: Report) -> Draft:
        """Validate and encode the next report.

        Raises:
            InvalidReport: see there.
            OSError: a streamed payload cannot be written.
            Exception: whatever the converter's `steps` raise.
        """
        if not isinstance(report, Report):
            raise InvalidReport(
                f"the converter yielded a {type(report).__name__}, not a Report", code="DM-V007", value=shorten(report)
            )
        key = report.key
        if key is not None and not _is_key(key):
            raise InvalidReport(
                f"a report's key is text of at most {_MAX_KEY} characters that UTF-8 can hold",
                code="DM-V007",
                value=shorten(key),
            )
        ordinal, self._ordinal = self._ordinal, self._ordinal + 1
        key = self._keys.distinct(key)
        identity = report_id(
            sha256=self._origin.sha256,
            folder=self._origin.folder,
            converter=self._origin.converter,
            key=key,
            ordinal=ordinal,
            occurrence=self._origin.occurrence,
        )
        document = report.document
        defaults: Mapping[str, Any] = {}
        source = stream = None
        if isinstance(document, (bytes, bytearray, memoryview)):
            head = self._bytes(bytes(document), report)
        elif not isinstance(document, Mapping):
            raise InvalidReport(
                f"a report's document is a mapping or bytes, not {type(document).__name__}",
                code="DM-V007",
                value=shorten(document),
            )
        elif report.schema != REPORT:
            head = self._foreign(document, report)
        elif report.steps is None:
            defaults, head, source = self._whole(document, report.attachments, identity, ordinal)
        else:
            stream = _Stream(self._create())
            try:
                defaults, head, source = self._streamed(stream, document, report, identity, ordinal)
            except BaseException:
                stream.close()
                raise
        return Draft(
            report_id=identity,
            key=key,
            media_type=_media_type(report.media_type),
            schema=report.schema,
            fields=_fields({**defaults, **report.fields}),
            _head=head,
            _source=source,
            _stream=stream,
        )

    def _bytes(self, document: bytes, report: Report) -> bytes:
        _forbid(report, "bytes")
        if report.schema is not None:
            if not report.media_type.split(";")[0].strip().endswith(_JSON):
                raise InvalidReport(
                    f"bytes of type {report.media_type} cannot be held to the schema {report.schema}",
                    code="DM-V007",
                    todo="the converter must give schema=None",
                )
            self._schemas.check_text(report.schema, document)
        return document

    def _foreign(self, document: Mapping[str, Any], report: Report) -> bytes:
        _forbid(report, f"a document of the schema {report.schema}")
        if report.schema is None:
            raise InvalidReport(
                "a document that is no bytes needs a schema",
                code="DM-V007",
                todo="the converter must name or declare one",
            )
        return self._schemas.render(report.schema, document)[1]

    def _whole(
        self, document: Mapping[str, Any], attachments: Sequence[Attachment], identity: str, ordinal: int
    ) -> tuple[Mapping[str, Any], bytes, dict[str, Any]]:
        filled: dict[str, Any] = {"schemaVersion": REPORT_VERSION, "reportId": identity}
        filled.update(document)
        filled["schemaVersion"], filled["reportId"] = REPORT_VERSION, identity
        filled["source"] = source = self._origin.source(document.get("source"), ordinal)
        if attachments:
            filled["attachments"] = _attach(filled.get("attachments", ()), attachments)
        checked, head = self._schemas.render(REPORT, filled, "source")
        root = checked.get("root")
        if "counts" not in checked and root is not None:
            head = b'%s,"counts":%s}' % (head[:-1], encode(counts_of(root)))
        return default_fields(checked), head, source

    def _streamed(
        self, stream: _Stream, document: Mapping[str, Any], report: Report, identity: str, ordinal: int
    ) -> tuple[Mapping[str, Any], bytes, dict[str, Any]]:
        root = document.get("root")
        if not isinstance(root, Mapping) or root.get("steps"):
            raise InvalidReport(
                "a report whose steps are streamed needs a root without steps",
                code="DM-V007",
                path="$.root",
                value=shorten(root),
            )
        assert report.steps is not None
        counts = self._stream_steps(stream, report.steps, identity)
        # Only now: a converter may complete the document (its outcome, its counts) while it goes through the steps.
        filled: dict[str, Any] = {**document, "schemaVersion": REPORT_VERSION, "reportId": identity}
        filled["root"] = {key: member for key, member in document["root"].items() if key != "steps"}
        filled["source"] = source = self._origin.source(document.get("source"), ordinal)
        filled.setdefault("counts", counts)
        if report.attachments:
            filled["attachments"] = _attach(filled.get("attachments", ()), report.attachments)
        checked, _ = self._schemas.render(REPORT, filled, "source")
        fixed = ("schemaVersion", "reportId", "root", "source")
        rest = encode({key: member for key, member in checked.items() if key not in fixed})
        stream.write(b"]," + encode(checked["root"])[1:])
        return default_fields(checked), b"," + rest[1:], source

    def _stream_steps(self, stream: _Stream, steps: Iterable[Mapping[str, Any]], identity: str) -> dict[str, int]:
        counts = {"total": 0}
        stream.write(
            b'{"schemaVersion":"%s","reportId":"%s","root":{"steps":[' % (REPORT_VERSION.encode(), identity.encode())
        )
        separator = b""
        for number, step in enumerate(steps):
            checked, encoded = self._schemas.render_step(step, number)
            tally(checked, counts)
            stream.write(separator + encoded)
            separator = b","
        return counts


class _Stream:
    """A payload on its way into a file: buffered, hashed and counted."""

    def __init__(self, file: StagingFile) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._size = 0
        self._buffer = bytearray()

    def write(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) >= _FLUSH:
            self._flush()

    def finish(self, tail: bytes) -> Payload:
        self.write(tail)
        self._flush()
        self._file.close()
        return Payload(body=None, path=self._file.path, size=self._size, sha256=self._hash.hexdigest())

    def close(self) -> None:
        self._file.close()

    def _flush(self) -> None:
        data = bytes(self._buffer)
        self._buffer.clear()
        self._hash.update(data)
        self._size += len(data)
        self._file.write(data)


def _warning(warning: Mapping[str, Any]) -> Mapping[str, Any]:
    """As the schema has it."""
    shown = {"code": warning["code"], "message": warning["message"]}
    return shown if warning.get("line") is None else {**shown, "where": f"line {warning['line']}"}


def _is_key(key: object) -> bool:
    if not isinstance(key, str) or len(key) > _MAX_KEY:
        return False
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True


def _forbid(report: Report, what: str) -> None:
    if report.steps is not None or report.attachments:
        raise InvalidReport(
            f"{what} can have neither streamed steps nor attachments",
            code="DM-V007",
            todo=f"they belong to documents of the schema {REPORT}",
        )


def _attach(described: Any, attachments: Iterable[Attachment]) -> list[Any]:
    """The report's `attachments`: what the document says of them, and their bytes."""
    entries: list[Any] = [dict(entry) if isinstance(entry, Mapping) else entry for entry in described]
    known = {entry.get("id"): entry for entry in entries if isinstance(entry, dict)}
    for attachment in attachments:
        entry = known.get(attachment.id)
        if entry is None:
            known[attachment.id] = entry = {"id": attachment.id}
            entries.append(entry)
        entry.update(
            name=attachment.name,
            mediaType=attachment.media_type,
            size=len(attachment.data),
            sha256=hashlib.sha256(attachment.data).hexdigest(),
            base64=base64.b64encode(attachment.data).decode("ascii"),
        )
    return entries


def _media_type(text: str) -> str:
    if not isinstance(text, str) or not text.isascii() or not text.isprintable() or "/" not in text or len(text) > 200:
        raise InvalidReport("a report's media type is text like application/json", code="DM-V007", value=shorten(text))
    return text


def _fields(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields, if they are few, short and plain.

    Raises:
        InvalidReport: `DM-V008`.
    """
    if len(fields) > _MAX_FIELDS:
        raise InvalidReport(
            f"a report has at most {_MAX_FIELDS} fields, not {len(fields)}", code="DM-V008", path="fields"
        )
    for name, value in fields.items():
        finite = (
            value is None or isinstance(value, (str, bool, int)) or (isinstance(value, float) and value - value == 0)
        )
        if not isinstance(name, str) or not finite:
            raise InvalidReport(
                f"a field is text, a finite number, a truth value or None: {shorten(name)} is {shorten(value)}",
                code="DM-V008",
                path=f"fields.{shorten(name, 80)}",
                value=shorten(value),
            )
    if len(encode(dict(fields))) > _MAX_FIELD_BYTES:
        raise InvalidReport(
            f"a report's fields take at most {_MAX_FIELD_BYTES} bytes together", code="DM-V008", path="fields"
        )
    return fields
