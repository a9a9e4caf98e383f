"""The JSON that API and command line answer with, as types: what is documented, checked by tests, and kept stable.

Times are ISO 8601 in UTC, sizes bytes, paths text in which a byte that is no UTF-8 stands as a lone surrogate (JSON's `\\udcNN`).
Names are camel case, as in reports. Fields are only ever added.
"""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, TypedDict

__all__ = [
    "AgentShape",
    "AttemptShape",
    "ChangedShape",
    "CheckShape",
    "ConfigShape",
    "DeliveryDetailShape",
    "DeliveryPage",
    "DeliveryShape",
    "DestinationShape",
    "DestinationsShape",
    "DoneShape",
    "EventShape",
    "ExplanationShape",
    "FileDetailShape",
    "FilePage",
    "FileShape",
    "FolderShape",
    "FoldersShape",
    "LiveShape",
    "PluginShape",
    "PluginsShape",
    "ProblemShape",
    "QueueShape",
    "ReadyShape",
    "ReportShape",
    "SightingShape",
    "StatusShape",
    "StopShape",
    "SubmittedItemShape",
    "SubmittedShape",
    "TaskShape",
    "TasksShape",
]

Time = Annotated[str, "ISO 8601, UTC"]


class ProblemShape(TypedDict):
    """What is wrong."""

    code: Annotated[str, "stable; `docs/errors.md` explains it"]
    what: str
    where: str
    todo: str


class FileShape(TypedDict):
    """A file that was claimed."""

    id: str
    folder: str
    name: Annotated[str, "relative to the folder, as it was dropped"]
    state: Annotated[str, "claimed, converting, converted, parked, failed or finished"]
    reason: Annotated[str, "why it is parked, failed, or not converting yet"]
    size: int
    sha256: str
    occurrence: Annotated[int, "how many files with this content the folder had before"]
    claimedAt: Time
    updatedAt: Time
    attempts: Annotated[int, "conversions that ended by a plugin's fault"]
    converter: Annotated[str | None, "id and version of what converted it, or failed to"]
    pending: Annotated[int, "deliveries not finished"]
    dead: Annotated[int, "deliveries that are dead letters"]
    place: Annotated[str, "where it lies now"]
    origin: Annotated[str, "where it lay when it was claimed"]
    error: Annotated[dict[str, Any] | None, "the failure's record"]
    code: Annotated[str | None, "of the failure"]
    warnings: Annotated[list[dict[str, Any]], "what its converter found odd"]
    notBefore: Annotated[str | None, "not converted before this moment"]
    dropped: Annotated[int, "deliveries that were given up for good"]
    tags: dict[str, str]


class DeliveryShape(TypedDict):
    """One report on its way to one destination."""

    id: int
    destination: str
    state: Annotated[str, "ready, leased, delayed, sent, dead or dropped"]
    reason: str
    reportId: str
    revision: int
    key: Annotated[str, "idempotency key: reportId.revision"]
    fileId: str | None
    folder: str | None
    name: Annotated[str | None, "the file's"]
    size: int
    createdAt: Time
    updatedAt: Time
    nextAt: Annotated[str | None, "when it is tried next, while it is delayed"]
    attempts: int
    error: Annotated[dict[str, Any] | None, "the last failure"]
    code: Annotated[str | None, "of the last failure"]


class AttemptShape(TypedDict):
    """One try of a delivery."""

    number: int
    startedAt: Time
    endedAt: Time
    outcome: str
    answer: Annotated[dict[str, Any], "what the destination said: the receipt, or the failure"]


class DeliveryDetailShape(DeliveryShape):
    """A delivery with its history."""

    history: list[AttemptShape]


class ReportShape(TypedDict):
    """A report made from a file."""

    reportId: str
    revision: int
    ordinal: int
    mediaType: str
    schema: str | None
    fields: dict[str, Any]
    size: int
    sha256: str
    createdAt: Time
    stored: Annotated[bool, "whether its payload is still kept"]


class EventShape(TypedDict):
    """Something that happened."""

    seq: int
    at: Time
    subject: Annotated[str, "a file's id, or the name of a folder or destination"]
    name: str
    data: dict[str, Any]


class FileDetailShape(FileShape):
    """A file with everything that is known of it."""

    events: list[EventShape]
    reports: list[ReportShape]
    deliveries: list[DeliveryDetailShape]


class FilePage(TypedDict):
    """A page of files, newest first. Where a filter matches little it may be short or empty, and still have a `next`."""

    items: list[FileShape]
    next: Annotated[str | None, "give it as `after` for the next page; null: there is none"]


class DeliveryPage(TypedDict):
    """A page of deliveries, newest first. Where a filter matches little it may be short or empty, and still have a `next`."""

    items: list[DeliveryShape]
    next: Annotated[str | None, "give it as `after` for the next page; null: there is none"]


class QueueShape(TypedDict):
    """The queue's depth and limits. What counts is deliveries that are not finished."""

    items: int
    bytes: int
    maxItems: NotRequired[int]
    maxBytes: NotRequired[int]
    highItems: NotRequired[int]
    lowItems: NotRequired[int]
    maxDead: NotRequired[int]
    maxClaimed: NotRequired[int]
    mostItems: Annotated[int, "the most that were ever waiting"]
    mostBytes: int
    oldestAge: Annotated[float, "seconds since the oldest was queued"]


class StopShape(TypedDict):
    """How far a stop has come."""

    phase: Annotated[str, "graceful, force, verify or done"]
    left: Annotated[float, "seconds until the phase ends at the latest"]
    waitingFor: list[str]
    inFlight: dict[str, Any]


class AgentShape(TypedDict):
    """The agent's process."""

    name: str
    instance: Annotated[str, "of this run"]
    pid: int
    version: str
    config: str
    startedAt: Time


class StatusShape(TypedDict):
    """Everything at a glance."""

    state: Annotated[str, "starting, running, degraded, error, stopping or stopped; `offline` where no agent runs"]
    reason: str
    since: Annotated[str | None, "ISO 8601, UTC"]
    agent: AgentShape | None
    files: Annotated[dict[str, int], "files by state"]
    folders: Annotated[dict[str, dict[str, int]], "files by folder and state; `pending`: deliveries not finished"]
    deliveries: Annotated[dict[str, dict[str, int]], "deliveries by destination and state; `bytes`: not finished"]
    totals: Annotated[dict[str, int], "deliveries by state, and as people call them: `pending`, `failed`"]
    queue: QueueShape
    flags: Annotated[dict[str, dict[str, Any]], "what is paused or closed, by whom or why, `since` when"]
    problems: Annotated[list[ProblemShape], "what needs attention"]
    stopping: StopShape | None


class FolderShape(TypedDict):
    """A watched folder."""

    name: str
    path: str
    state: Annotated[str, "starting, online, degraded, offline or paused"]
    reason: str
    since: Time
    watching: Annotated[str, "events or polling"]
    waiting: Annotated[int, "files that are there and not claimed"]
    reasons: Annotated[dict[str, int], "how many of them wait for which reason"]
    holding: Annotated[str, "why nothing is claimed although the folder is in order; empty: it is"]
    claimed: Annotated[int, "files claimed since the agent started"]
    lastScan: Annotated[str | None, "ISO 8601, UTC"]
    lastClaim: Annotated[str | None, "ISO 8601, UTC"]
    problem: ProblemShape | None
    stuck: Annotated[list[ProblemShape], "files that have waited too long: the latest twenty"]


class FoldersShape(TypedDict):
    """All folders."""

    items: list[FolderShape]


class DestinationShape(TypedDict):
    """A destination and its lane."""

    name: str
    transport: str
    state: Annotated[str, "stopped, starting, running, paused, waiting for destination, breaker open or stuck"]
    reason: str
    since: Time
    inFlight: Annotated[int, "items being sent"]
    leased: Annotated[int, "items leased"]
    nextProbe: Annotated[str | None, "when it is asked again, while it waits"]
    failures: Annotated[int, "sends that failed in a row"]
    lastReceipt: dict[str, Any] | None
    lastError: dict[str, Any] | None
    trouble: Annotated[str, "what keeps the lane from the queue; empty: nothing"]
    counts: Annotated[dict[str, int], "since the start, by outcome"]


class DestinationsShape(TypedDict):
    """All destinations."""

    items: list[DestinationShape]


class TaskShape(TypedDict):
    """A supervised part of the agent."""

    name: str
    state: Annotated[str, "waiting, running, backoff, open, ending, finished, failed or ended"]
    reason: str
    since: Time
    critical: bool
    restarts: int
    failures: int
    lastBeatAge: Annotated[float | None, "seconds since it last showed progress"]
    nextTryIn: Annotated[float | None, "seconds until it is started again"]
    lastFailure: dict[str, Any] | None


class TasksShape(TypedDict):
    """All supervised parts."""

    items: list[TaskShape]


class PluginShape(TypedDict):
    """A plugin that is installed or enabled."""

    name: Annotated[str, "of its entry point"]
    distribution: str
    version: str
    state: Annotated[str, "disabled, loaded, degraded or quarantined"]
    problems: list[ProblemShape]
    converters: list[str]
    transports: list[str]
    policies: list[str]


class PluginsShape(TypedDict):
    """All plugins that are installed or enabled."""

    items: list[PluginShape]


class SightingShape(TypedDict):
    """What a folder knows of a path that it has not claimed."""

    folder: str
    state: Annotated[str, "waiting, excluded or missing"]
    reason: str
    details: dict[str, Any]


class ExplanationShape(TypedDict):
    """Where a file is, what happened to it, when and why."""

    path: str
    state: Annotated[str, "the newest claim's, else the folder's word, else unknown"]
    reason: str
    sightings: Annotated[list[SightingShape], "of what lies at the path now and is not claimed"]
    files: Annotated[list[FileDetailShape], "claims of this path, newest first"]


class SubmittedItemShape(TypedDict):
    """What became of one path."""

    path: str
    fileId: str | None
    problem: ProblemShape | None


class SubmittedShape(TypedDict):
    """What became of each path, in order."""

    items: list[SubmittedItemShape]


class ChangedShape(TypedDict):
    """What a bulk action did."""

    matched: int
    changed: int
    dryRun: bool
    next: Annotated[str | None, "there are more: ask again with this as `after`"]


class DoneShape(TypedDict):
    """It was done."""

    done: bool


class ConfigShape(TypedDict):
    """The configuration in force: defaults filled in, secrets redacted."""

    file: str
    settings: Annotated[
        dict[str, Any], "in the shape of the file; durations in seconds, sizes in bytes, absolute paths"
    ]
    origins: Annotated[dict[str, str], "by key path: `default`, or FILE:LINE"]
    warnings: Annotated[list[dict[str, Any]], "what is odd and may be meant"]


class CheckShape(TypedDict):
    """One check of readiness."""

    name: str
    ok: bool
    detail: str


class ReadyShape(TypedDict):
    """Whether work can be done."""

    ready: bool
    checks: list[CheckShape]


class LiveShape(TypedDict):
    """The event loop turns."""

    live: bool
