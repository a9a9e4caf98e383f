"""What passes between the core and a converter."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Protocol, runtime_checkable

__all__ = ["Attachment", "ConvertContext", "Converter", "Head", "Level", "Match", "Part", "Report", "Source"]


class Level(enum.IntEnum):
    """How sure a converter is that a file is its own. The highest wins; the admin's order breaks ties."""

    WEAK = 1
    """Nothing speaks against it (any text file)."""
    POSSIBLE = 2
    """The syntax fits (some XML, some JSON object)."""
    LIKELY = 3
    """The structure fits (the root element, the key columns)."""
    CERTAIN = 4
    """The format names itself (a namespace, a schema id, a magic number)."""


@dataclass(frozen=True)
class Match:
    """The answer of `sniff`: a level and why, for `explain`."""

    level: Level
    reason: str = ""


@dataclass(frozen=True)
class Head:
    """The start of a file, read once by the core."""

    name: str
    """The file's name, without folders; undecodable bytes as surrogate escapes."""
    size: int
    """Bytes in the whole file."""
    data: bytes
    """The first 64 KiB, or all of a shorter file."""

    @property
    def complete(self) -> bool:
        """Whether `data` is the whole file."""
        return len(self.data) >= self.size


@dataclass(frozen=True)
class Part:
    """One file of a unit of several."""

    name: str
    size: int
    sha256: str


@runtime_checkable
class Source(Protocol):
    """The file under conversion. Reading it counts as progress, and is where a cancelled conversion ends."""

    name: str
    """The file's name, without folders."""
    size: int
    """Bytes."""
    sha256: str
    """Of the content, 64 hexadecimal digits."""
    modified: float
    """Modification time, seconds since the epoch."""
    parts: Sequence[Part]
    """The files of the unit, where it has several; else empty."""

    def open(self, part: str | None = None) -> BinaryIO:
        """The content, buffered, read-only, at its start. Every call opens anew."""
        ...

    def local_path(self, part: str | None = None) -> str:
        """A path to the content, for libraries that insist on one; keeps the suffix. Valid until `convert` ends."""
        ...


@dataclass(frozen=True, kw_only=True)
class Attachment:
    """A file that goes along with a report: bytes, a name and a media type."""

    id: str
    name: str
    data: bytes
    media_type: str = "application/octet-stream"


@dataclass(frozen=True)
class Report:
    """One document made from a file.

    The core fills `schemaVersion`, `reportId` and `source` into a mapping, validates it against `schema` and encodes it.
    Bytes are passed on as they are.
    """

    document: Mapping[str, Any] | bytes
    steps: Iterable[Mapping[str, Any]] | None = field(default=None, kw_only=True)
    """Where given, the steps of `root.steps`, encoded and validated one by one, so that they never stand in memory at once.
    The rest of the document is read after the last of them: it may be completed (`outcome`, `duration`) on the way."""
    key: str | None = field(default=None, kw_only=True)
    """What names this report among those of the file (a serial number); None: its ordinal. Part of the report's id."""
    media_type: str = field(default="application/json", kw_only=True)
    schema: str | None = field(default="urn:dropmill:report:1", kw_only=True)
    """The document's JSON Schema by `$id`; None for bytes that have none."""
    fields: Mapping[str, str | int | float | bool | None] = field(default_factory=dict, kw_only=True)
    """For routing, templates and search (`serial`, `station`, ...); the core adds `outcome`, `serial`, `partNumber`, `start`."""
    attachments: Sequence[Attachment] = field(default=(), kw_only=True)


class ConvertContext(Protocol):
    """What a converter may tell and ask the core while it works."""

    folder: str
    """The name of the folder that the file was dropped into."""

    def warn(self, code: str, message: str, *, line: int | None = None) -> None:
        """Keep a warning with the file and its reports: something was odd, and this is how it was read. At most 100 a file."""
        ...

    def progress(self, done: float | None = None) -> None:
        """Say that work goes on where no reading shows it; `done` from 0 to 1. Raises when the conversion was cancelled."""
        ...


class Converter(Protocol):
    """A converter's class: synchronous, made once per worker process and options, used for many files one after another.

    Optional methods: `sniff(head) -> Match | None` (asked when more than one converter accepts a file, and before `convert`;
    None: not mine) and `is_complete(source) -> bool` (asked once a file has settled; False: still growing).
    """

    def __init__(self, options: Mapping[str, Any]) -> None: ...

    def convert(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        """Yield the file's reports, in order.

        Raises:
            BadInput: the file cannot be read.
            RetryLater: not now.
            NotMine: before the first report only.
        """
        ...
