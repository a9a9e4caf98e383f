"""Builds a report from one WSJF report: its head, its step tree, and for a repair its failures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dropmill.api import BadInput, Report
from dropmill_plugins.converters.common.steps import misc_entry
from dropmill_plugins.converters.wsjf.measures import chart, measurements
from dropmill_plugins.converters.wsjf.members import Members

__all__ = ["MAX_DEPTH", "build"]

Warn = Callable[..., None]
Step = dict[str, Any]

MAX_DEPTH = 50
"""Steps within one another."""

_GROUPS = {"s": "setup", "m": "main", "c": "cleanup", "setup": "setup", "main": "main", "cleanup": "cleanup"}
_TESTS = frozenset({"pf", "nt", "st"})


def build(value: Any, name: str, warn: Warn) -> Report:
    """The report.

    Args:
        value: The decoded object.
        name: What the root step of a repair is called: the file's name.
        warn: Told what was odd.

    Raises:
        BadInput: A member is not what WSJF says.
    """
    top = Members(value, "", warn)
    kind = (top.text("type") or "").strip().lower()
    repair = kind in ("r", "repair", "uur")
    detail = top.object("uur" if repair else "uut") or Members({}, "uut", warn)
    outcome, raw = top.outcome("result")
    if raw is None:
        raise BadInput("WSJF-NO-RESULT", "the report has no result")
    report: Step = {"kind": "repair" if repair else "test", "outcome": outcome}
    misc: list[dict[str, Any]] = []
    _start(report, top, misc)
    _heads(report, top, detail)
    parts = [Members(one, "subUnits", warn) for one in top.array("subUnits", "uutParts")]
    _unit(report, top, detail, parts)
    if repair:
        root: Step = {"name": name, "type": "group", "outcome": outcome, "steps": _failures(parts, warn)}
    else:
        root = _root(report, top, outcome, warn)
    root["rawOutcome"] = raw
    _error(root, top, detail)
    report["root"] = root
    misc += _misc_infos(top, warn)
    for number, part in enumerate(parts):
        misc += part.rest(f"subUnits/{number}/")
    misc += [*top.rest(), *detail.rest(f"{'uur' if repair else 'uut'}.")]
    if misc:
        report["misc"] = misc
    fields = {"machine": report["station"]["name"]} if report.get("station", {}).get("name") else {}
    identity = value.get("id")
    return Report(report, key=identity[:200] if isinstance(identity, str) and identity else None, fields=fields)


def _start(report: Step, top: Members, misc: list[dict[str, Any]]) -> None:
    start, text = top.time("start")
    if start is None:
        report["startPrecision"] = "unknown"
    else:
        report["start"], report["startPrecision"] = start.text, start.precision
    if text is not None:
        misc.append(misc_entry("start", text))


def _heads(report: Step, top: Members, detail: Members) -> None:
    station = {
        "name": top.text("machineName"),
        "location": top.text("location"),
        "purpose": top.text("purpose"),
        "fixture": detail.text("fixtureId") or top.text("fixtureId"),
        "socket": detail.text("testSocketIndex") or top.text("testSocketIndex"),
    }
    report["station"] = {key: value for key, value in station.items() if value is not None}
    operator = detail.text("user") or top.text("operator", "user")
    if operator is not None:
        report["operator"] = operator
    code = top.take("processCode")
    process = {
        "code": code
        if isinstance(code, (str, int)) and not isinstance(code, bool)
        else None
        if code is None
        else str(code),
        "name": top.text("processName"),
    }
    report["process"] = {key: value for key, value in process.items() if value is not None}
    seconds = detail.seconds("execTime") if detail.has("execTime") else top.seconds("execTime")
    if seconds is not None:
        report["duration"] = seconds


def _unit(report: Step, top: Members, detail: Members, parts: list[Members]) -> None:
    unit: Step = {
        "serial": top.text("sn", "serialNumber"),
        "partNumber": top.text("pn", "partNumber"),
        "revision": top.text("rev", "partRevision", "revision"),
        "batch": detail.text("batchSN") or top.text("batchSN", "batchSerialNumber"),
    }
    report["unit"] = {key: value for key, value in unit.items() if value is not None}
    children = []
    for one in parts:
        child = {
            "type": one.text("partType") or "",
            "serial": one.text("sn", "serialNumber"),
            "partNumber": one.text("pn", "partNumber"),
            "revision": one.text("rev", "revision", "partRevision"),
            "position": one.text("position"),
            "index": one.take("idx"),
            "parent": one.take("parentIdx"),
            "replaced": one.take("replacedIdx"),
        }
        children.append({key: value for key, value in child.items() if value is not None})
    if children:
        report["unit"]["children"] = children


def _error(root: Step, top: Members, detail: Members) -> None:
    """The report's comment and error text as the root's message, where it has none of its own."""
    message = detail.text("errorMessage") or top.text("errorMessage")
    if message and not root.get("message"):
        root["message"] = message


def _misc_infos(top: Members, warn: Warn) -> list[dict[str, Any]]:
    made = []
    for number, value in enumerate(top.array("miscInfos"), start=1):
        one = Members(value, f"miscInfos[{number - 1}]", warn)
        name = one.text("description", "name") or f"miscInfo {number}"
        text = one.text("text", "value")
        numeric, _ = one.number("numeric")
        entry = text if text is not None else numeric if not isinstance(numeric, dict) else numeric["nonFinite"]
        made.append(misc_entry(name, entry))
        if text is not None and numeric is not None:
            made.append(
                misc_entry(f"{name}.numeric", numeric if not isinstance(numeric, dict) else numeric["nonFinite"])
            )
        made.extend(one.rest(f"{name}."))
    return made


def _root(report: Step, top: Members, outcome: str, warn: Warn) -> Step:
    value = top.object("root")
    if value is None:
        warn("WSJF-NO-STEPS", "the report has no root step")
        return {"name": "root", "type": "group", "outcome": outcome}
    root = _step(value, warn, 1)
    root["type"] = "group"
    called = value.object("seqCall")
    if called is not None:
        program = {"name": called.text("name"), "version": called.text("version")}
        report["program"] = {key: text for key, text in program.items() if text is not None}
    return root


def _step(one: Members, warn: Warn, depth: int) -> Step:
    if depth > MAX_DEPTH:
        raise BadInput("WSJF-TOO-DEEP", f"steps nest more than {MAX_DEPTH} deep")
    outcome, raw = one.outcome("status")
    name = one.text("name") or ""
    step: Step = {"name": name, "type": "action", "outcome": outcome}
    misc: list[dict[str, Any]] = []
    identity = one.take("id")
    if isinstance(identity, (str, int)) and not isinstance(identity, bool):
        step["id"] = identity
    if raw is not None:
        step["rawOutcome"] = raw
    group = one.text("group")
    if group is not None and group.lower() in _GROUPS:
        step["group"] = _GROUPS[group.lower()]
    elif group is not None:
        misc.append(misc_entry("group", group))
    kind = one.text("stepType") or ""
    short = one.text("type") or ""
    misc += [misc_entry(key, text) for key, text in (("stepType", kind), ("type", short)) if text]
    _times(step, one, misc)
    message = one.text("errorMessage")
    if message:
        step["message"] = message
    called = one.object("seqCall")
    if called is not None:
        path = called.text("path")
        if path:
            step["class"] = path
        misc += [
            misc_entry(f"seqCall.{key}", text) for key in ("name", "version") if (text := called.text(key)) is not None
        ]
        misc += called.rest("seqCall.")
    _loop(step, one, misc)
    measured = measurements(one, name, warn)
    children = [
        _step(Members(child, f"{one.path('steps')}[{number}]", warn), warn, depth + 1)
        for number, child in enumerate(one.array("steps", "stepResults"))
    ]
    if children or called is not None or "seq" in kind.lower() or short.lower() == "seq":
        step["type"] = "group"
    elif (
        measured
        or "test" in kind.lower()
        or short.lower() in _TESTS
        or kind.upper().startswith(("ET_N", "ET_S", "ET_P", "ET_M"))
    ):
        step["type"] = "test"
    measured += chart(one, name, warn)
    if measured:
        step["measurements"] = measured
    _attachment(step, one)
    misc += one.rest()
    if misc:
        step["misc"] = misc
    if children:
        step["steps"] = children
    return step


def _times(step: Step, one: Members, misc: list[dict[str, Any]]) -> None:
    start, text = one.time("start")
    if start is not None and start.exact:
        step["start"] = start.text
    elif start is not None or text is not None:
        misc.append(misc_entry("start", start.text if start is not None else text))
    seconds = one.seconds("totTime")
    if seconds is not None:
        step["duration"] = seconds


def _loop(step: Step, one: Members, misc: list[dict[str, Any]]) -> None:
    loop = one.object("loop")
    if loop is None:
        return
    index, count = loop.take("idx"), loop.take("num")
    told = {key: number for key, number in (("index", index), ("count", count)) if isinstance(number, int)}
    if told:
        step["loop"] = told
    misc += loop.rest("loop.")


def _attachment(step: Step, one: Members) -> None:
    found = one.object("attachment")
    if found is None:
        return
    name = found.text("name") or "attachment"
    attachment = {
        "id": name,
        "name": name,
        "mediaType": found.text("contentType", "mimeType"),
        "base64": found.text("data"),
    }
    step["attachments"] = [{key: value for key, value in attachment.items() if value is not None}]


def _failures(parts: list[Members], warn: Warn) -> list[Step]:
    """The failures that a repair found, each as an action: what was wrong with which part. How each ended, WSJF does not say."""
    steps: list[Step] = []
    for part in parts:
        for value in part.array("failures"):
            one = Members(value, part.path("failures"), warn)
            step: Step = {"name": one.text("code") or "", "type": "action", "outcome": "unknown"}
            comment = one.text("comment")
            if comment is not None:
                step["message"] = comment
            found = [
                misc_entry(key, text)
                for key, text in (
                    ("partType", part.text("partType")),
                    ("partSerial", part.text("sn", "serialNumber")),
                    ("partNumber", part.text("pn", "partNumber")),
                )
                if text is not None
            ]
            attachment = one.object("attachment")
            if attachment is not None:
                found += attachment.rest("attachment.")
            step["params"] = [*found, *one.rest()]
            steps.append(step)
    return steps
