"""How a conversion can end, as values; the dispatcher turns each into one transition of the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = [
    "Ambiguous",
    "Converted",
    "Fault",
    "NoConverter",
    "NotReady",
    "Outcome",
    "Refused",
    "StagedReport",
    "Waiting",
]


@dataclass(frozen=True, kw_only=True)
class StagedReport:
    """A finished, validated report, not yet published."""

    report_id: str
    key: str | None
    media_type: str
    schema: str | None
    fields: Mapping[str, Any]
    size: int
    sha256: str
    body: bytes | None
    """Where it is small (64 KiB or less); else None and `path` names a file in the task's folder."""
    path: str | None = None


@dataclass(frozen=True, kw_only=True)
class Converted:
    """All reports of the file, in order."""

    reports: Sequence[StagedReport]
    converter: str
    """Spec id."""
    version: str
    """Of the distribution that the converter came from."""
    warnings: Sequence[Mapping[str, Any]] = ()
    wall: float = 0.0
    cpu: float = 0.0
    peak_memory: int = 0


@dataclass(frozen=True, kw_only=True)
class Refused:
    """The file cannot be read: its own fault (`BadInput`), or its reports are not valid."""

    code: str
    message: str
    line: int | None = None
    converter: str | None = None
    version: str | None = None
    record: Mapping[str, Any] = field(default_factory=dict)
    """The failure's record (`docs/errors.md`): what goes into `NAME.reason.json`."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """The plugin's fault. The file is tried once more, then parked as poison."""

    plugin: str
    """Entry-point name."""
    code: str
    """`DM-V010` to `DM-V016`, by kind."""
    kind: Literal["error", "timeout", "crash", "oom", "limit", "protocol", "cancelled"]
    message: str
    converter: str
    version: str
    record: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class NotReady:
    """`RetryLater`, or something that is neither the file's fault nor a plugin's."""

    reason: str
    after: float
    """Seconds."""
    converter: str | None = None
    code: str | None = None
    """`DM-V...` where the trouble is the machine's."""


@dataclass(frozen=True, kw_only=True)
class NoConverter:
    """Nobody accepts the file; `considered` says why not, one entry a converter of the folder."""

    considered: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Ambiguous:
    """Several accept it equally, and the admin gave no order."""

    candidates: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """The converter that the file is for cannot be asked now: it is not loaded, or its plugin's breaker is open."""

    plugin: str
    """Its plugin, or the converter's id where no loaded plugin offers it."""
    reason: str


Outcome = Converted | Refused | Fault | NotReady | NoConverter | Ambiguous | Waiting
