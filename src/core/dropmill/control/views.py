"""What the agent knows in memory, as the JSON of `shapes`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dropmill.api import QueueView
from dropmill.control import shapes
from dropmill.control.agent_view import AgentFacts, FolderView, PluginView
from dropmill.delivery.status import LaneStatus
from dropmill.foundation.clock import utc_iso
from dropmill.foundation.errors import Problem

__all__ = ["Counts", "destination", "folder", "plugin", "problem", "queue", "status", "task", "time_or_none"]


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How many there are in each state; states without any may be missing."""

    files: Mapping[str, int]
    deliveries: Mapping[str, Mapping[str, int]]
    """By destination."""


def status(facts: AgentFacts, supervision: Mapping[str, Any], counts: Counts) -> shapes.StatusShape:
    """Everything at a glance."""
    stop = supervision["stop"]
    return {
        "state": supervision["state"],
        "reason": supervision["reason"],
        "since": supervision["since"],
        "agent": {
            "name": facts.name,
            "instance": facts.instance,
            "pid": facts.pid,
            "version": facts.version,
            "config": str(facts.config),
            "startedAt": utc_iso(facts.started_at),
        },
        "files": dict(counts.files),
        "deliveries": {lane: dict(states) for lane, states in counts.deliveries.items()},
        "queue": queue(facts.queue, facts.most_items),
        "problems": [problem(one) for one in facts.problems],
        "stopping": None
        if stop is None or "phase" not in stop
        else {
            "phase": stop["phase"],
            "left": stop["left"],
            "waitingFor": stop["waiting_for"],
            "inFlight": stop["in_flight"],
        },
    }


def queue(view: QueueView, most: int | None) -> shapes.QueueShape:
    """The queue's depth and limits."""
    return {
        "items": view.items,
        "bytes": view.bytes,
        "maxItems": view.max_items,
        "maxBytes": view.max_bytes,
        "highItems": view.high_items,
        "lowItems": view.low_items,
        "mostItems": most,
        "oldestAge": round(view.oldest_age, 3),
    }


def folder(view: FolderView) -> shapes.FolderShape:
    """A watched folder."""
    return {
        "name": view.name,
        "path": str(view.path),
        "state": view.state,
        "reason": view.reason,
        "since": utc_iso(view.since),
        "watching": view.watching,
        "waiting": view.waiting,
        "converters": list(view.converters),
        "destinations": list(view.destinations),
        "lastScan": time_or_none(view.last_scan),
    }


def destination(lane: LaneStatus) -> shapes.DestinationShape:
    """A destination and its lane."""
    return {
        "name": lane.name,
        "transport": lane.transport,
        "state": str(lane.state),
        "reason": lane.reason,
        "since": utc_iso(lane.since),
        "inFlight": lane.in_flight,
        "leased": lane.leased,
        "nextProbe": time_or_none(lane.next_probe),
        "failures": lane.failures,
        "lastReceipt": None if lane.last_receipt is None else dict(lane.last_receipt),
        "lastError": None if lane.last_error is None else dict(lane.last_error),
        "trouble": lane.trouble,
        "counts": dict(lane.counts),
    }


def task(child: Mapping[str, Any]) -> shapes.TaskShape:
    """A supervised part."""
    return {
        "name": child["name"],
        "state": child["state"],
        "reason": child["reason"],
        "since": child["since"],
        "critical": child["critical"],
        "restarts": child["restarts"],
        "failures": child["failures"],
        "lastBeatAge": child["last_beat_age"],
        "nextTryIn": child["next_try_in"],
        "lastFailure": child["last_failure"],
    }


def plugin(view: PluginView) -> shapes.PluginShape:
    """A plugin."""
    return {
        "name": view.name,
        "distribution": view.distribution,
        "version": view.version,
        "state": view.state,
        "problems": [problem(one) for one in view.problems],
        "converters": list(view.converters),
        "transports": list(view.transports),
        "policies": list(view.policies),
    }


def problem(one: Problem) -> shapes.ProblemShape:
    """What is wrong."""
    return {"code": one.code, "what": one.what, "where": one.where, "todo": one.todo}


def time_or_none(value: float | None) -> str | None:
    """ISO 8601, where there is a time."""
    return None if value is None else utc_iso(value)
