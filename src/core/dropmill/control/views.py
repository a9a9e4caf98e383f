"""What the agent knows in memory, as the JSON of `shapes`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from dropmill.control import shapes
from dropmill.foundation.clock import utc_iso

if TYPE_CHECKING:  # the command line uses these without an agent, and should not wait for what an agent is made of
    from dropmill.control.agent_view import AgentView, PluginView
    from dropmill.delivery.status import LaneStatus
    from dropmill.foundation.errors import Problem
    from dropmill.intake.status import FolderStatus
    from dropmill.intake.submit import Submission

__all__ = ["NO_STORE", "destination", "folder", "plugin", "problem", "status", "submitted", "task"]


def status(store: Mapping[str, Any], agent: AgentView | None) -> shapes.StatusShape:
    """Everything at a glance: `store` is `QueueReader.status()`; without an agent the state is `offline`."""
    counts = {name: store[name] for name in ("files", "folders", "deliveries", "totals", "queue", "flags")}
    return cast("shapes.StatusShape", {**(_OFFLINE if agent is None else _online(agent)), **counts})


NO_STORE: Mapping[str, Any] = {
    "files": {},
    "folders": {},
    "deliveries": {},
    "totals": {},
    "queue": {"items": 0, "bytes": 0, "mostItems": 0, "mostBytes": 0, "oldestAge": 0.0},
    "flags": {},
}
"""In place of `QueueReader.status()` where nothing was ever queued."""

_OFFLINE: Mapping[str, Any] = {
    "state": "offline",
    "reason": "no agent runs",
    "since": None,
    "agent": None,
    "problems": [],
    "stopping": None,
}


def _online(agent: AgentView) -> Mapping[str, Any]:
    facts, supervision = agent.facts(), agent.supervision()
    stop = supervision["stop"]
    stopping: shapes.StopShape | None = None
    if stop is not None and "phase" in stop:  # once it is over, a report stands there
        stopping = {
            "phase": stop["phase"],
            "left": stop["left"],
            "waitingFor": stop["waiting_for"],
            "inFlight": stop["in_flight"],
        }
    about: shapes.AgentShape = {
        "name": facts.name,
        "instance": facts.instance,
        "pid": facts.pid,
        "version": facts.version,
        "config": str(facts.config),
        "startedAt": utc_iso(facts.started_at),
    }
    return {
        "state": supervision["state"],
        "reason": supervision["reason"],
        "since": supervision["since"],
        "agent": about,
        "problems": [problem(one) for one in facts.problems],
        "stopping": stopping,
    }


def folder(one: FolderStatus) -> shapes.FolderShape:
    """A watched folder."""
    return {
        "name": one.name,
        "path": str(one.path),
        "state": str(one.state),
        "reason": one.reason,
        "since": utc_iso(one.since),
        "watching": one.watching,
        "waiting": one.waiting,
        "reasons": dict(one.reasons),
        "holding": one.holding,
        "claimed": one.claimed,
        "lastScan": _time(one.last_scan),
        "lastClaim": _time(one.last_claim),
        "problem": None if one.problem is None else problem(one.problem),
        "stuck": [problem(stuck) for stuck in one.stuck],
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
        "nextProbe": _time(lane.next_probe),
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


def submitted(items: Sequence[Submission]) -> shapes.SubmittedShape:
    """What became of each path."""
    return {
        "items": [
            {
                "path": str(one.path),
                "fileId": one.file_id,
                "problem": None if one.problem is None else problem(one.problem),
            }
            for one in items
        ]
    }


def problem(one: Problem) -> shapes.ProblemShape:
    """What is wrong."""
    return {"code": one.code, "what": one.what, "where": one.where, "todo": one.todo}


def _time(value: float | None) -> str | None:
    """ISO 8601, where there is a time."""
    return None if value is None else utc_iso(value)
