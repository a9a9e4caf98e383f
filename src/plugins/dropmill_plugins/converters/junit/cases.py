"""Turns one finished `testcase` element into a test step. Every attribute, result, output and property of it is kept.

The result elements decide the outcome, the most severe one of several: error, failure, skipped. A `rerunFailure` tells of
a repeated failure, a `flakyFailure` of a failure before a pass; neither decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dropmill_plugins.converters.common.numbers import parse_duration
from dropmill_plugins.converters.common.steps import misc_entry
from dropmill_plugins.converters.common.timestamps import parse_timestamp
from dropmill_plugins.converters.junit.elements import Element, local_name, text_of

__all__ = ["OUTPUTS", "RESULTS", "CaseReader", "flatten", "properties", "put_duration", "put_text", "put_timestamp"]

Warn = Callable[..., None]
Step = dict[str, Any]

RESULTS = {"error": "error", "failure": "failed", "skipped": "skipped"}
_RANK = {"error": 0, "failed": 1, "skipped": 2}
_RERUNS = frozenset({"rerunFailure", "rerunError", "flakyFailure", "flakyError"})
OUTPUTS = {"system-out": "stdout", "system.out": "stdout", "system-err": "stderr", "system.err": "stderr"}
_PLACED = frozenset({"name", "classname", "time", "file", "line", "status", "result", "timestamp"})
_NOT_RUN = frozenset({"notrun", "not run", "disabled", "suppressed", "skipped", "ignored"})


def put_text(step: Step, key: str, text: str | None) -> None:
    """Add text to what a step has under `key`, on a line of its own."""
    if text is None:
        return
    before = step.get(key)
    step[key] = text if before is None else before + ("" if before.endswith("\n") else "\n") + text


def put_duration(step: Step, text: str, warn: Warn, line: int | None, misc: list[Step]) -> None:
    """Seconds into `duration`; null, a warning and the text in `misc` where they cannot be right."""
    if not text.strip():
        return
    found = parse_duration(text)
    if found is None:
        step["duration"] = None
        misc.append(misc_entry("time", text))
        warn("JUNIT-DURATION", f"time {text[:40]!r} is no duration: kept as text", line=line)
        return
    step["duration"], ambiguous = found
    if ambiguous:
        warn(
            "JUNIT-DURATION-COMMA",
            f"time {text[:40]!r} is read as {found[0]:g} s: its comma groups thousands",
            line=line,
        )


def put_timestamp(step: Step, text: str, warn: Warn, line: int | None, misc: list[Step]) -> None:
    """An exact time into `start`; any other stays text in `misc`, as a step's start has to name its offset."""
    found = parse_timestamp(text)
    if found is not None and found.exact:
        step["start"] = found.text
        return
    if text.strip():
        misc.append(misc_entry("timestamp", text if found is None else found.text))
    if found is None and text.strip():
        warn("JUNIT-TIMESTAMP", f"timestamp {text[:40]!r} cannot be read: kept as text", line=line)


def flatten(element: Element, misc: list[Step], prefix: str | None = None) -> None:
    """An element that has no place in a step, as misc entries: its text under its name, attributes as `name@attribute`."""
    name = prefix or local_name(element)
    if not name:
        return
    text = text_of(element)
    if text is not None or not element.attrib:
        misc.append(misc_entry(name, text))
    for key, value in element.attrib.items():
        misc.append(misc_entry(f"{name}@{key}", value))


def properties(element: Element, misc: list[Step]) -> None:
    """The `property` children of a `properties` element, their value an attribute or their text."""
    for item in element:
        if local_name(item) == "property":
            value = item.get("value")
            misc.append(misc_entry(item.get("name") or "", text_of(item) if value is None else value))
        else:
            flatten(item, misc)
    stray = (element.text or "").strip()
    if stray:
        misc.append(misc_entry("properties", stray))


class CaseReader:
    """Reads test cases, with the options of one conversion."""

    def __init__(self, warn: Warn, *, not_run_is_skipped: bool, suite_names: bool) -> None:
        self._warn = warn
        self._not_run_is_skipped = not_run_is_skipped
        self._suite_names = suite_names

    def read(self, element: Element, suite: str | None) -> Step:
        """The step of a finished `testcase` element."""
        attributes = element.attrib
        step: Step = {"name": attributes.get("name") or "", "type": "test", "outcome": "passed"}
        misc: list[Step] = []
        class_name = attributes.get("classname")
        if class_name is None:
            class_name = attributes.get("class")
        if class_name is None and self._suite_names:
            class_name = suite
        if class_name is not None:
            step["class"] = class_name
        if len(attributes) > 3 or "time" not in attributes:
            self._place(step, element, attributes, misc)
        if "time" in attributes:
            put_duration(step, attributes["time"], self._warn, element.sourceline, misc)
        if len(element):
            self._children(step, element, misc)
        self._status(step, element, attributes)
        if misc:
            step["misc"] = misc
        return step

    def _place(self, step: Step, element: Element, attributes: Mapping[str, str], misc: list[Step]) -> None:
        file = attributes.get("file") or attributes.get("filepath")
        if file:
            step["file"] = file
        line = attributes.get("line") or attributes.get("lineno") or ""
        if line.isascii() and line.isdigit() and len(line) < 10:
            step["line"] = int(line)
        elif line:
            misc.append(misc_entry("line", line))
        if "timestamp" in attributes:
            put_timestamp(step, attributes["timestamp"], self._warn, element.sourceline, misc)
        for key, value in attributes.items():
            if key in _PLACED or (key == "class" and step.get("class") == value):
                continue
            if (key == "filepath" and file == value) or (key == "lineno" and line == value):
                continue
            misc.append(misc_entry(key, value))

    def _children(self, step: Step, element: Element, misc: list[Step]) -> None:
        results: list[tuple[str, Element]] = []
        reruns: list[tuple[str, Element]] = []
        for child in element:
            name = local_name(child)
            if name in RESULTS:
                results.append((name, child))
            elif name in OUTPUTS:
                put_text(step, OUTPUTS[name], text_of(child))
            elif name == "properties":
                properties(child, misc)
            elif name in _RERUNS:
                reruns.append((name, child))
            else:
                flatten(child, misc)
        if results:
            self._results(step, element, results, misc)
        if reruns:
            self._reruns(step, reruns, misc)

    def _results(self, step: Step, element: Element, results: list[tuple[str, Element]], misc: list[Step]) -> None:
        if len(results) > 1:
            results = sorted(results, key=lambda found: _RANK[RESULTS[found[0]]])
            kinds = {name for name, _ in results}
            if len(kinds) > 1:
                told = ", ".join(name for name, _ in results)
                self._warn(
                    "JUNIT-SEVERAL-RESULTS",
                    f"case {step['name'][:80]!r} has several results ({told}): the most severe one counts",
                    line=element.sourceline,
                )
        name, first = results[0]
        step["outcome"], step["rawOutcome"] = RESULTS[name], name
        step["message"], step["trace"] = first.get("message"), text_of(first)
        if first.get("type") is not None:
            misc.append(misc_entry(f"{name}.type", first.get("type")))
        for key, value in first.attrib.items():
            if key not in ("message", "type"):
                misc.append(misc_entry(f"{name}.{key}", value))
        for number, (name, other) in enumerate(results[1:], start=2):
            self._further(f"{name}.{number}", other, misc)

    def _reruns(self, step: Step, reruns: list[tuple[str, Element]], misc: list[Step]) -> None:
        for number, (name, element) in enumerate(reruns, start=1):
            self._further(f"{name}.{number}", element, misc)
        if step["outcome"] == "passed" and any(name.startswith("flaky") for name, _ in reruns):
            step["flaky"], step["attempt"] = True, len(reruns) + 1

    def _further(self, prefix: str, element: Element, misc: list[Step]) -> None:
        """A result that does not decide, under a prefix: `.message`, `.type`, `.stackTrace`, `.system-out`, ..."""
        for key, value in element.attrib.items():
            misc.append(misc_entry(f"{prefix}.{key}", value))
        if len(element) == 0 or (element.text or "").strip():
            text = (element.text or "").strip()
            if text or not element.attrib:
                misc.append(misc_entry(f"{prefix}.text", element.text if text else None))
        for child in element:
            flatten(child, misc, f"{prefix}.{local_name(child)}" if local_name(child) else None)

    def _status(self, step: Step, element: Element, attributes: Mapping[str, str]) -> None:
        told = attributes.get("result") or attributes.get("status")
        if not told:
            return
        step["rawOutcome"] = told
        if step["outcome"] != "passed" or told.strip().lower() not in _NOT_RUN:
            return
        if self._not_run_is_skipped:
            step["outcome"] = "skipped"
            return
        self._warn(
            "JUNIT-NOT-RUN",
            f"case {step['name'][:80]!r} says {told!r} but has no result element: read as passed (option not_run)",
            line=element.sourceline,
        )
