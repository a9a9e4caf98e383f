"""Frozen descriptions by which a plugin registers what it offers.

Records grow only by keyword fields with defaults, so that a plugin written today loads tomorrow. A spec names its class by
a string, `"module:Class"`: the agent reads the spec, and only the process that does the work imports the class.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["NO_OPTIONS", "Accepts", "ConverterSpec", "Magic", "PolicySpec", "TransportCaps", "TransportSpec"]

NO_OPTIONS: Mapping[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
"""The options schema of a plugin that has no options."""


@dataclass(frozen=True)
class Magic:
    """Bytes that stand at a fixed place of every file of a format."""

    bytes: bytes
    offset: int = 0


@dataclass(frozen=True)
class Accepts:
    """Which files a converter may be asked about, decided from name, size and the first 64 KiB without running it."""

    globs: tuple[str, ...]
    """Patterns against the file's name, case-insensitive (`*.xml`, `TEST-*.xml`); one must match."""
    magic: tuple[Magic, ...] = ()
    """Where any are given, one must match."""
    min_bytes: int = 0
    max_bytes: int | None = None


@dataclass(frozen=True)
class ConverterSpec:
    """A converter: files in, reports out. The class has the methods of `dropmill.api.Converter`."""

    id: str
    """Unique among converters: `[a-z][a-z0-9_-]*`."""
    factory: str
    """`"package.module:Class"`, imported in the worker process alone."""
    accepts: Accepts
    options_schema: Mapping[str, Any] = field(default_factory=lambda: NO_OPTIONS)
    """JSON Schema 2020-12 of an object with `additionalProperties: false` and a description for every option.

    Beyond the standard: `"writeOnly": true` marks a text as a secret, which the admin gives as `{ env = "NAME" }` or
    `{ file = "path" }`; `"x-path": true` marks a path, which the core keeps out of watched folders; `"x-unit": "seconds"` or
    `"bytes"` lets a number be written as `"5 min"` or `"10 GB"` too; `"x-hint"` says in words what a pattern asks for.
    """
    atomic: bool = True
    """All reports of a file are published together, or none."""
    timeout: float = 60.0
    """Seconds without progress before the conversion is ended; progress extends it to ten times this at most."""
    summary: str = ""
    """One line for `dropmill plugins list`."""
    schemas: tuple[Mapping[str, Any], ...] = ()
    """JSON Schemas (2020-12) of document types of its own, each with an `$id` that reports name as their `schema`."""


@dataclass(frozen=True)
class TransportCaps:
    """What a transport's destination can take; the core keeps to it."""

    max_batch: int = 1
    """Items in one `send`."""
    max_bytes: int | None = None
    """Payload bytes in one `send`, all items together."""
    idempotency: Literal["key", "natural", "none"] = "none"
    """`key`: the receiver drops a repeated idempotency key; `natural`: sending twice leaves one; `none`: neither."""
    ordered: bool = False
    """The destination depends on order: one batch at a time, a failed item holds up those behind it."""
    max_in_flight: int | None = None
    """Most `send` calls at the same time; None: as the admin configures."""


@dataclass(frozen=True)
class TransportSpec:
    """A transport: reports to a destination. The class has the methods of `dropmill.api.Transport`."""

    id: str
    factory: str
    caps: TransportCaps = field(default_factory=TransportCaps)
    options_schema: Mapping[str, Any] = field(default_factory=lambda: NO_OPTIONS)
    summary: str = ""


@dataclass(frozen=True)
class PolicySpec:
    """A queue-full policy. The class has the methods of `dropmill.api.QueuePolicy`."""

    id: str
    factory: str
    options_schema: Mapping[str, Any] = field(default_factory=lambda: NO_OPTIONS)
    summary: str = ""
