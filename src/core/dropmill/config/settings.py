"""The configuration as frozen values: what the TOML file says, completed by defaults, paths absolute, secrets still references.

Only `dropmill.config.load` makes these. Durations are seconds, sizes bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

__all__ = [
    "AgentSettings",
    "ControlSettings",
    "ConversionSettings",
    "ConverterChoice",
    "DestinationSettings",
    "FolderSettings",
    "LogSettings",
    "PluginPin",
    "PluginSettings",
    "QueueSettings",
    "Settings",
    "ShutdownSettings",
]


@dataclass(frozen=True, kw_only=True)
class AgentSettings:
    state: Path
    name: str = "dropmill"
    """Tells several agents on one machine apart, in logs, receipts and process tags."""


@dataclass(frozen=True, kw_only=True)
class LogSettings:
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "text"] = "auto"


@dataclass(frozen=True, kw_only=True)
class PluginPin:
    """An enabled entry point; distribution and version only where the admin pins them."""

    name: str
    distribution: str | None = None
    version: str | None = None


@dataclass(frozen=True, kw_only=True)
class PluginSettings:
    enable: Sequence[PluginPin]
    on_error: Literal["quarantine", "fail"] = "quarantine"


@dataclass(frozen=True, kw_only=True)
class QueueSettings:
    max_items: int = 100_000
    max_bytes: int = 10_000_000_000
    min_free_disk: int = 100_000_000
    high_water: float = 0.9
    low_water: float = 0.75
    when_full: str = "reject"
    policy: Mapping[str, Any] = field(default_factory=dict)
    max_claimed: int = 10_000
    """Claimed files that are not converted yet; intake waits above it."""
    max_dead: int = 100_000
    retention: float = 30 * 86400.0
    """How long finished files, reports, receipts and events can be explained."""


@dataclass(frozen=True, kw_only=True)
class ConversionSettings:
    workers: int = 2
    memory: int = 1_073_741_824
    """Address-space growth allowed to a worker process."""
    recycle_after: int = 200
    """Conversions after which a worker process is replaced."""
    max_output: int = 10_000_000_000
    """Bytes of reports that one file may become."""


@dataclass(frozen=True, kw_only=True)
class ShutdownSettings:
    graceful: float = 60.0
    """Seconds from the signal in which work in flight may finish."""
    force: float = 120.0
    """Seconds from the signal after which whatever is left is cancelled."""


@dataclass(frozen=True, kw_only=True)
class ControlSettings:
    socket: Path
    """The Unix socket of the control API."""


@dataclass(frozen=True, kw_only=True)
class ConverterChoice:
    """A converter as a folder uses it: options are complete (defaults, `[converter.ID]`, the folder's own) and validated."""

    id: str
    options: Mapping[str, Any]
    min_level: str | None = None


@dataclass(frozen=True, kw_only=True)
class FolderSettings:
    name: str
    path: Path
    converters: Sequence[ConverterChoice]
    """In the admin's order, which breaks ties."""
    destinations: Sequence[str]
    settle: float = 2.0
    rescan: float = 60.0
    stuck_after: float = 600.0
    """Seconds after which a file that never settles, or that a writer keeps open, is reported."""
    include: Sequence[str] = ("*",)
    exclude: Sequence[str] = ()
    recursive: bool = False
    zero_byte: Literal["wait", "take", "quarantine"] = "wait"
    ready: Literal["settled", "marker"] = "settled"
    marker_suffixes: Sequence[str] = (".done", ".ready")
    order: Literal["oldest", "newest", "name"] = "oldest"
    duplicates: Literal["process", "skip", "quarantine"] = "process"
    done: Path
    """Where finished files go; absolute, by default `<path>/done`."""
    failed: Path
    tags: Mapping[str, str] = field(default_factory=dict)
    priority: int = 0


@dataclass(frozen=True, kw_only=True)
class DestinationSettings:
    name: str
    transport: str
    options: Mapping[str, Any]
    """Complete and validated; secrets resolved only by `dropmill.config.secrets`."""
    concurrency: int = 4
    """1 to 100 `send` calls at a time."""
    retries: int = 20
    """0 to 100 further attempts after the first."""
    timeout: float = 60.0
    """Seconds that one `send` may take."""
    backoff: float = 1.0
    """Seconds before the first retry, at most; doubles up to `backoff_cap`, with full jitter."""
    backoff_cap: float = 300.0
    probe_every: float = 30.0
    """Seconds between probes while the lane is paused by an unavailable destination."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A whole, valid configuration."""

    file: Path
    base: Path
    """The config file's folder: relative paths stand below it."""
    agent: AgentSettings
    log: LogSettings
    plugins: PluginSettings
    queue: QueueSettings
    conversion: ConversionSettings
    shutdown: ShutdownSettings
    control: ControlSettings
    folders: Sequence[FolderSettings]
    destinations: Sequence[DestinationSettings]
