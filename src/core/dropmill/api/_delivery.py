"""What passes between the core and a transport."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

__all__ = [
    "Delivered",
    "Duplicate",
    "Outcome",
    "Outgoing",
    "Rejected",
    "Retry",
    "Transport",
    "TransportContext",
]


@dataclass(frozen=True)
class Delivered:
    """The destination has it, durably, and said so."""

    ref: str = ""
    """What the destination calls it (a path, an id, an ETag): kept as the receipt."""
    details: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    """More of the answer, JSON-like and small (status, headers, a short excerpt), kept with the receipt; without secrets."""


@dataclass(frozen=True)
class Duplicate:
    """The destination had it already under this key: as good as delivered."""

    ref: str = ""
    details: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    """As of `Delivered`."""


@dataclass(frozen=True)
class Retry:
    """Not this time; the core backs off and tries again until the attempts are used up."""

    reason: str
    after: float | None = None
    """Seconds that the destination asked for (Retry-After); None: the core's back-off."""
    charged: bool = field(default=True, kw_only=True)
    """Whether an attempt is spent. False where the destination went away in the middle of a batch, after it took others."""
    code: str = field(default="RETRY", kw_only=True)
    """Short and stable, groups what failed alike: `HTTP-503`."""
    details: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    """More of the answer, kept with the attempt; without secrets."""


@dataclass(frozen=True)
class Rejected:
    """The destination will never take this item as it is: it becomes a dead letter."""

    code: str
    """Short and stable: `HTTP-400`."""
    reason: str
    details: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    """As of `Retry`."""


Outcome = Delivered | Duplicate | Retry | Rejected


class Outgoing(Protocol):
    """One report on its way to one destination."""

    key: str
    """Idempotency key: the same over crashes, retries and replays of the same bytes."""
    report_id: str
    media_type: str
    size: int
    """Payload bytes."""
    sha256: str
    """Of the payload."""
    fields: Mapping[str, Any]
    """The report's fields, and of its source: `folder`, `file` (name), `converter`."""
    attempt: int
    """1 for the first."""

    async def read(self) -> bytes:
        """The whole payload."""
        ...

    def chunks(self, size: int = 262_144) -> AsyncIterator[bytes]:
        """The payload in pieces, for destinations that can stream; every call starts anew."""
        ...


class TransportContext(Protocol):
    """What the core tells a transport when it opens."""

    destination: str
    """The configured name."""
    base: str
    """Folder that relative paths in options stand below: the config file's."""
    timeout: float
    """Seconds that one `send` may take; the core cancels it after that."""


class Transport(Protocol):
    """A transport's class: asynchronous, one instance a destination, several `send` calls at a time (see `TransportCaps`)."""

    def __init__(self, options: Mapping[str, Any]) -> None: ...

    async def open(self, context: TransportContext) -> None:
        """Make what sending needs (a session, a folder handle). Called again after `close`, when the lane restarts."""
        ...

    async def probe(self) -> None:
        """Find out, cheaply and without leaving a trace, whether the destination would take an item.

        Raises:
            Unavailable, AuthRejected: it would not.
        """
        ...

    async def send(self, batch: Sequence[Outgoing]) -> Sequence[Outcome]:
        """Send up to `max_batch` items and answer with exactly one outcome for each, in order.

        Any exception but the two below means: retry all of them.

        Raises:
            Unavailable, AuthRejected: the destination as a whole; no item is charged an attempt.
        """
        ...

    async def close(self) -> None:
        """Give back what `open` took. Never raises because the other side is gone."""
        ...
