"""The queue's vocabulary as values: files, reports, deliveries, leases and what became of them.

All are frozen. Times are seconds since the epoch (UTC), sizes bytes, paths `str` with undecodable bytes as surrogate escapes.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "Acknowledged",
    "Claimed",
    "DeliveryState",
    "Disposal",
    "FileIdentity",
    "FileRecord",
    "FileState",
    "Gauges",
    "Lease",
    "NewFile",
    "NewReport",
    "ParkReason",
    "Published",
]


class FileState(enum.StrEnum):
    """Where a claimed file stands. (`waiting` files lie in the inbox and have no row.)"""

    CLAIMED = "claimed"
    CONVERTING = "converting"
    CONVERTED = "converted"
    PARKED = "parked"
    FAILED = "failed"
    FINISHED = "finished"


class ParkReason(enum.StrEnum):
    """Why a file is parked, or claimed but not converting."""

    AMBIGUOUS = "ambiguous"
    WAITING_FOR_PLUGIN = "waiting for plugin"
    NOT_READY = "not ready"
    POISON = "poison"
    QUEUE_FULL = "queue full"
    TOO_LARGE = "too large"


class DeliveryState(enum.StrEnum):
    """People see ready, leased and delayed as *pending* and dead as *failed*."""

    READY = "ready"
    LEASED = "leased"
    DELAYED = "delayed"
    SENT = "sent"
    DEAD = "dead"
    DROPPED = "dropped"
    """Given up for good, without its payload: a dead letter that was dropped by hand, or overtaken by a newer revision."""


@dataclass(frozen=True)
class FileIdentity:
    """What tells whether a path still holds the same file: five fields of stat(2)."""

    size: int
    mtime_ns: int
    ctime_ns: int
    device: int
    inode: int


@dataclass(frozen=True, kw_only=True)
class NewFile:
    """A file about to be claimed: the row is committed before it is moved."""

    id: str
    folder: str
    """The folder's configured name."""
    name: str
    """Path relative to the folder's root, as it was dropped."""
    place: str
    """Absolute path where it will lie once claimed (`<root>/.dropmill/work/<id>-<name>`): its own file name stays readable."""
    origin: str
    """Absolute path where it lay when it was claimed; the place to look when the claim was cut short."""
    identity: FileIdentity
    sha256: str
    tags: Mapping[str, str] = field(default_factory=dict)
    priority: int = 0
    """Higher first."""


@dataclass(frozen=True, kw_only=True)
class FileRecord:
    """A file's row."""

    id: str
    folder: str
    name: str
    place: str
    origin: str
    state: FileState
    reason: str
    """Why it is parked, failed or not converting yet; else empty."""
    identity: FileIdentity
    sha256: str
    occurrence: int
    """0 for the first file of this folder with this content, 1 for the next, ..."""
    claimed_at: float
    updated_at: float
    attempts: int
    """Conversions that ended by a plugin fault."""
    not_before: float
    converter: str | None
    """`id version` of what converted it (or failed to)."""
    error: Mapping[str, Any] | None
    """The failure's record; see `dropmill.conversion.outcomes`."""
    target: str | None
    """Where a move under way leads; None: no move is under way."""
    pending: int
    """Deliveries not finished."""
    dead: int
    """Deliveries that are dead letters."""
    tags: Mapping[str, str]
    forced_converter: str | None = None
    """Set by `retry --converter`."""

    @property
    def size(self) -> int:
        return self.identity.size


@dataclass(frozen=True, kw_only=True)
class NewReport:
    """A report to publish, with its payload in memory or in a staged file."""

    uid: str
    """`reportId`, or any unique text for an offer that has no file."""
    media_type: str
    schema: str | None
    fields: Mapping[str, Any]
    body: bytes | None
    """The payload, where it is small; else None and `staged` is the path of a file that holds it, which the store takes over."""
    staged: str | None = None
    size: int
    sha256: str
    lanes: Sequence[str]
    """Destinations."""
    ordinal: int = 0


@dataclass(frozen=True, kw_only=True)
class Published:
    """What a publication made."""

    file_id: str
    deliveries: int
    """New deliveries."""
    unchanged: int
    """Deliveries that existed already under the same key: nothing was queued again."""


@dataclass(frozen=True, kw_only=True)
class Lease:
    """A bounded right to deliver one item; every answer must carry its fence."""

    id: int
    fence: int
    lane: str
    key: str
    """Idempotency key: `reportId.revision`."""
    report_id: str
    media_type: str
    size: int
    sha256: str
    fields: Mapping[str, Any]
    attempt: int
    """1 for the first."""
    attempts_left: int
    created_at: float
    body: bytes | None
    """The payload of a small item; larger ones are read through `QueueStore.read`."""


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """A batch of leases and when to ask again."""

    leases: Sequence[Lease]
    next_at: float | None
    """When to ask again: when the lane's next delayed item is due, or earlier; None: nothing is delayed."""


@dataclass(frozen=True)
class Acknowledged:
    """Whether an answer counted. False: the lease was lost meanwhile (stale fence); it is on record and changed nothing."""

    counted: bool


@dataclass(frozen=True, kw_only=True)
class Disposal:
    """A file whose fate is settled and which is to be moved out of work/ (or from failed/ to done/)."""

    file: FileRecord
    outcome: str
    """`done` or `failed`."""


@dataclass(frozen=True, kw_only=True)
class Gauges:
    """What is in the store as of the last commit: kept in memory, exact, free to look at."""

    items: int = 0
    """Unfinished deliveries."""
    bytes: int = 0
    """Their payloads; a report on its way to two destinations counts twice."""
    leased: int = 0
    dead: int = 0
    claimed: int = 0
    """Files claimed (confirmed or not)."""
    converting: int = 0
    parked: int = 0
    full: bool = False
    """An offer was turned away for want of room, and the queue has not drained to its low-water marks since."""
    free_disk: int = 0
    """Bytes free where the store lies, when last looked at."""
    writable: bool = True
    """False while the disk or the database refuses."""
    most_items: int = 0
    """The most unfinished deliveries that there ever were."""
    most_bytes: int = 0
