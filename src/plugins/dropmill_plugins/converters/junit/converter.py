"""The converter `junit`: JUnit XML in, one report of kind `ci` out.

Refuses what is not JUnit, not well formed, or has a DOCTYPE; makes no report of a part of a file. The steps of a large file
stream, and the document is completed behind the last of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dropmill.api import BadInput, ConvertContext, Head, Level, Match, NotMine, Report, Source
from dropmill_plugins.converters.common.digest import WarningDigest, silent
from dropmill_plugins.converters.common.steps import misc_entry, shown
from dropmill_plugins.converters.common.timestamps import parse_timestamp
from dropmill_plugins.converters.junit.cases import CaseReader, put_duration
from dropmill_plugins.converters.junit.prolog import Prolog, read_prolog, scan
from dropmill_plugins.converters.junit.reader import Facts, read_steps

__all__ = ["JUnitConverter"]

_ROOTS = ("testsuites", "testsuite")


class JUnitConverter:
    """JUnit XML; see `docs/converters.md` for what becomes of each element."""

    streams_above = 8 << 20
    """Bytes; a smaller file is one report in memory."""
    slice_cases = 2_000
    """Cases in one top-level step of a streamed file."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._not_run_is_skipped = options.get("not_run", "as-written") == "skipped"
        self._suite_names = bool(options.get("suite_names", False))

    def sniff(self, head: Head) -> Match | None:
        """LIKELY by the root element; POSSIBLE where the head ends before it."""
        found = scan(head.data, complete=head.complete)
        if found.kind == "element" and found.root in _ROOTS:
            return Match(Level.LIKELY, f"the root element is {found.root}")
        if found.kind == "doctype":
            return Match(Level.POSSIBLE, "XML with a DOCTYPE")
        if found.kind == "encoding":
            return Match(Level.POSSIBLE, "XML in an encoding that is not known")
        if found.kind == "unfinished" and not head.complete and head.data:
            return Match(Level.POSSIBLE, "XML whose root element lies behind the first 64 KiB")
        return None

    def convert(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        """One report a file."""
        document: dict[str, Any] = {"kind": "ci", "outcome": "unknown"}
        document["root"] = {"name": shown(source.name), "type": "group", "outcome": "unknown"}
        fields: dict[str, int] = {}
        with source.open() as stream:
            warnings = WarningDigest(context)
            prolog, start = read_prolog(stream)
            encoding = self._check(prolog, source, warnings)
            streams = source.size > self.streams_above
            facts = Facts()
            cases = CaseReader(
                warnings.warn, not_run_is_skipped=self._not_run_is_skipped, suite_names=self._suite_names
            )
            steps = read_steps(
                start,
                stream,
                facts,
                cases,
                warnings.warn,
                encoding=encoding,
                slice_cases=self.slice_cases if streams else None,
            )
            steps = _completing(steps, facts, document, fields, warnings)
            if streams:
                yield Report(document, steps=steps, fields=fields)
            else:
                document["root"]["steps"] = list(steps)
                yield Report(document, fields=fields)

    def _check(self, found: Prolog, source: Source, warnings: WarningDigest) -> str | None:
        """Refuse what is no JUnit file; the encoding to read it with, where its own declaration must be overridden."""
        match found:
            case Prolog(kind="element", root=root):
                if root not in _ROOTS:
                    raise NotMine(f"the root element is {root!r}, not testsuites or testsuite")
            case Prolog(kind="doctype"):
                raise BadInput(
                    "XML-DOCTYPE",
                    "the document has a DOCTYPE, which is refused: it may pull in or blow up entities",
                    line=found.line,
                )
            case Prolog(kind="encoding"):
                raise BadInput(
                    "XML-ENCODING", f"the document declares the encoding {found.encoding!r}, which is not known"
                )
            case Prolog(kind="too-long"):
                raise BadInput("XML-NO-ROOT", "there is no root element within the first megabyte", line=found.line)
            case Prolog(kind="unfinished") if source.size:
                raise BadInput("XML-NOT-WELL-FORMED", "the document ends before its root element", line=found.line)
            case _:
                raise NotMine("not XML")
        if found.misdeclared:
            warnings.warn(
                "XML-ENCODING", "the document declares two or four bytes a character but is UTF-8: read as UTF-8"
            )
            return "utf-8"
        return None


def _completing(
    steps: Iterator[dict[str, Any]],
    facts: Facts,
    document: dict[str, Any],
    fields: dict[str, int],
    warnings: WarningDigest,
) -> Iterator[dict[str, Any]]:
    """The steps; behind the last of them the rest of the document is filled in."""
    yield from steps
    _complete(document, facts, warnings)
    fields.update(tests=facts.tests, failed=facts.outcomes["failed"], errors=facts.outcomes["error"])
    warnings.close()


def _complete(document: dict[str, Any], facts: Facts, warnings: WarningDigest) -> None:
    """What the whole of the file tells: the outcome, and what stands at the root element."""
    attributes = facts.root
    name = attributes.get("name") or ""
    misc = [
        misc_entry(key, value)
        for key, value in attributes.items()
        if not facts.root_is_suite
        and key not in ("name", "time", "timestamp", "tests", "failures", "errors", "skipped")
    ]
    start = parse_timestamp(facts.timestamp) if facts.timestamp else None
    if start is None:
        document["startPrecision"] = "unknown"
    else:
        document["start"], document["startPrecision"] = start.text, start.precision
    put_duration(document, attributes.get("time", ""), silent if facts.root_is_suite else warnings.warn, None, misc)
    if len(facts.hosts) == 1:
        document["station"] = {"name": next(iter(facts.hosts))}
    program = name or (facts.names[0] if len(facts.names) == 1 else "")
    if program:
        document["program"] = {"name": program}
    if misc:
        document["misc"] = misc
    if not facts.tests:
        warnings.warn("JUNIT-NO-CASES", "there is no test case in the file")
    root = document["root"]
    if name and not facts.root_is_suite:
        root["name"] = name
    root.update((key, value) for key, value in facts.root_step.items() if key != "outcome")
    document["outcome"] = root["outcome"] = facts.outcome
