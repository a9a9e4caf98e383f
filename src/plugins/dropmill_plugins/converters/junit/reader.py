"""Walks a JUnit document once, event by event, and gives its top-level steps; the tree is freed as it goes.

A suite is one group step. Where a limit is set, a suite with more cases than that comes in slices: several group steps of the
same name with `loop.index`, so that memory holds one slice whatever the size of the file. Declared counts are compared,
never trusted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from dropmill.api import BadInput
from dropmill_plugins.converters.common.steps import misc_entry, overall
from dropmill_plugins.converters.junit import cases
from dropmill_plugins.converters.junit.cases import CaseReader, put_duration, put_text, put_timestamp
from dropmill_plugins.converters.junit.elements import Element, local_name, read_events, text_of

__all__ = ["MAX_DEPTH", "Facts", "read_steps"]

MAX_DEPTH = 50
"""Suites within one another."""

_SUITES = frozenset({"testsuites", "testsuite"})
_NAMES = ("testsuites", "testsuite", "testcase")
_COUNTS = {"tests": "tests", "failures": "failed", "errors": "error", "skipped": "skipped", "skip": "skipped"}
_DECLARED = frozenset({*_COUNTS, "disabled", "ignored"})
_PLACED = frozenset({"name", "time", "timestamp", "id", "package", "file", "hostname"})

Warn = Callable[..., None]
Step = dict[str, Any]


@dataclass
class Facts:
    """What is known of the whole document once `read_steps` has ended."""

    root: Mapping[str, str] = field(default_factory=dict)
    """The attributes of `testsuites`, or of a lone `testsuite`."""
    root_is_suite: bool = False
    outcomes: Counter[str] = field(default_factory=Counter)
    """Cases by outcome."""
    suites: int = 0
    suite_errors: int = 0
    """Errors and failures that stand in a suite, outside any case."""
    timestamp: str | None = None
    """The first one of the document."""
    hosts: set[str] = field(default_factory=set)
    root_step: Step = field(default_factory=dict)
    """What `testsuites` holds beside suites: `misc`, `stdout`, `message`, ..."""
    names: list[str] = field(default_factory=list)
    """Of the outermost suites, at most two."""

    @property
    def tests(self) -> int:
        return sum(self.outcomes.values())

    @property
    def outcome(self) -> str:
        return overall([*self.outcomes, *(["error"] if self.suite_errors else [])])


class _Suite:
    """A suite that is open: its step as far as it has been read, and what it has counted."""

    def __init__(self, element: Element, name: str) -> None:
        self.element = element
        self.name = name
        self.line = element.sourceline
        self.attributes = dict(element.attrib)
        self.step: Step = {}
        self.steps: list[Step] = []
        self.counted: Counter[str] = Counter()
        self.own_outcomes: list[str] = []
        self.slices = 0
        self.spent: Element | None = None


def read_steps(
    start: bytes,
    stream: BinaryIO,
    facts: Facts,
    case_reader: CaseReader,
    warn: Warn,
    *,
    encoding: str | None,
    slice_cases: int | None,
) -> Iterator[Step]:
    """The document's top-level steps, in order; `facts` is complete when they end.

    Args:
        start: What has been read of the stream already.
        stream: The rest.
        facts: Filled while reading.
        case_reader: Reads the cases.
        warn: Told what was odd.
        encoding: Overrides what the document declares.
        slice_cases: Cases that one top-level step may hold; None: any number, and nothing is freed before the end.

    Raises:
        BadInput: Not well formed, or nested too deeply.
    """
    walk = _Walk(facts, case_reader, warn, slice_cases)
    for action, element in read_events(start, stream, _NAMES, encoding):
        step = walk.take(action, element)
        if step is not None:
            yield step


class _Walk:
    def __init__(self, facts: Facts, case_reader: CaseReader, warn: Warn, slice_cases: int | None) -> None:
        self._facts = facts
        self._cases = case_reader
        self._warn = warn
        self._slice = slice_cases
        self._held = 0
        self._open: list[_Suite] = []

    def take(self, action: str, element: Element) -> Step | None:
        """Follow one event; a top-level step where it ends one."""
        name = local_name(element)
        if action == "start":
            if name != "testcase":
                self._enter(element, name)
            return None
        if name == "testcase":
            return self._case(element)
        if self._open and self._open[-1].element is element:
            return self._close(element)
        return None

    def _enter(self, element: Element, name: str) -> None:
        facts = self._facts
        if not self._open and element.getroottree().docinfo.doctype:
            raise BadInput(
                "XML-DOCTYPE", "the document has a DOCTYPE, which is refused: it may pull in or blow up entities"
            )
        if len(self._open) > MAX_DEPTH:
            raise BadInput("JUNIT-TOO-DEEP", f"suites nest more than {MAX_DEPTH} deep", line=element.sourceline)
        suite = _Suite(element, name)
        if not self._open:
            facts.root, facts.root_is_suite = suite.attributes, name == "testsuite"
        if name == "testsuite":
            facts.suites += 1
            if len(facts.names) < 2 and all(outer.name != "testsuite" for outer in self._open):
                facts.names.append(suite.attributes.get("name", ""))
        if facts.timestamp is None and suite.attributes.get("timestamp", "").strip():
            facts.timestamp = suite.attributes["timestamp"]
        if suite.attributes.get("hostname") and len(facts.hosts) < 2:
            facts.hosts.add(suite.attributes["hostname"])
        self._open.append(suite)

    def _case(self, element: Element) -> Step | None:
        if not self._open or self._open[-1].element is not element.getparent():
            return None  # within something that is no suite: kept with it as text, counted nowhere
        suite = self._open[-1]
        step = self._cases.read(element, suite.attributes.get("name"))
        suite.counted[step["outcome"]] += 1
        self._facts.outcomes[step["outcome"]] += 1
        self._dispose(suite, element)
        if len(self._open) == 1 and suite.name == "testsuites":
            return step
        suite.steps.append(step)
        self._held += 1
        return self._cut() if self._slice is not None and self._held >= self._slice else None

    def _close(self, element: Element) -> Step | None:
        suite = self._open.pop()
        self._compare(suite)
        if not self._open and suite.name == "testsuites":
            self._facts.root_step = self._details(suite, {"outcome": "unknown"}, [])
            return None
        step = self._group(suite)
        if self._open:
            parent = self._open[-1]
            parent.counted.update(suite.counted)
            self._dispose(parent, element)
            if len(self._open) > 1 or parent.name != "testsuites":
                parent.steps.append(step)
                return None
        self._held = 0
        return step

    def _cut(self) -> Step:
        """The open suites as far as they are read, innermost first into its parent; all go on with nothing held."""
        step: Step | None = None
        groups = self._open[1:] if self._open[0].name == "testsuites" else self._open
        for suite in reversed(groups):
            if step is not None:
                suite.steps.append(step)
            suite.slices += 1
            step = {
                "name": suite.attributes.get("name", ""),
                "type": "group",
                "outcome": overall(part["outcome"] for part in suite.steps),
                "loop": {"index": suite.slices},
                "steps": suite.steps,
            }
            suite.steps = []
        self._held = 0
        assert step is not None, "a cut falls within a suite"
        return step

    def _group(self, suite: _Suite) -> Step:
        attributes = suite.attributes
        misc: list[Step] = []
        step: Step = {"name": attributes.get("name", ""), "type": "group", "outcome": "unknown"}
        for key, place in (("id", "id"), ("package", "class"), ("file", "file")):
            if attributes.get(key):
                step[place] = attributes[key]
        if attributes.get("hostname"):
            misc.append(misc_entry("hostname", attributes["hostname"]))
        if "timestamp" in attributes:
            put_timestamp(step, attributes["timestamp"], self._warn, suite.line, misc)
        if "time" in attributes:
            put_duration(step, attributes["time"], self._warn, suite.line, misc)
        for key, value in attributes.items():
            if key not in _PLACED and key not in _DECLARED:
                misc.append(misc_entry(key, value))
        self._details(suite, step, misc)
        outcomes = [*(part["outcome"] for part in suite.steps), *suite.own_outcomes]
        step["outcome"] = overall(outcomes or suite.counted)
        if suite.slices:
            step["loop"] = {"index": suite.slices + 1}
        step["steps"] = suite.steps
        return step

    def _details(self, suite: _Suite, step: Step, misc: list[Step]) -> Step:
        """Into a step: what stands in a suite beside its cases and suites."""
        for child in suite.element:
            self._suite_child(suite, step, child, misc)
        if misc:
            step["misc"] = misc
        return step

    def _suite_child(self, suite: _Suite, step: Step, child: Element, misc: list[Step]) -> None:
        name = local_name(child)
        if not name or name == "testcase" or name in _SUITES:
            return
        if name == "properties":
            cases.properties(child, misc)
        elif name in cases.OUTPUTS:
            put_text(step, cases.OUTPUTS[name], text_of(child))
        elif name in cases.RESULTS:
            outcome = cases.RESULTS[name]
            suite.own_outcomes.append(outcome)
            if outcome != "skipped":
                self._facts.suite_errors += 1
                self._warn(
                    "JUNIT-SUITE-ERROR", f"suite {step['name'][:80]!r} has an {name} of its own", line=child.sourceline
                )
            put_text(step, "message", child.get("message"))
            put_text(step, "trace", text_of(child))
            if child.get("type") is not None:
                misc.append(misc_entry(f"{name}.type", child.get("type")))
        else:
            cases.flatten(child, misc)

    def _compare(self, suite: _Suite) -> None:
        counted = {**suite.counted, "tests": sum(suite.counted.values())}
        wrong = []
        for attribute, key in _COUNTS.items():
            told = suite.attributes.get(attribute, "").strip()
            if told.isascii() and told.isdigit() and int(told[:18]) != counted.get(key, 0):
                wrong.append(f"{attribute}={told[:18]} (there are {counted.get(key, 0)})")
        if wrong:
            name = suite.attributes.get("name", "")
            self._warn("JUNIT-COUNTS", f"{suite.name} {name[:80]!r} declares {', '.join(wrong)}", line=suite.line)

    def _dispose(self, parent: _Suite, element: Element) -> None:
        """Free what has been read. The last child stays until the next has ended: its tail may still be coming."""
        if self._slice is None:
            return
        element.clear(keep_tail=True)
        if parent.spent is not None and parent.spent.getparent() is parent.element:
            parent.element.remove(parent.spent)
        parent.spent = element
