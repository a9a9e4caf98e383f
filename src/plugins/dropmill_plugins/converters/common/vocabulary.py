"""The words of the report schema that options schemas list. Imports nothing, as the agent reads these schemas."""

from __future__ import annotations

__all__ = ["COMPARATORS", "OUTCOMES", "REPORT_FIELDS", "STEP_FIELDS"]

OUTCOMES = ("passed", "failed", "error", "skipped", "aborted", "unknown")
COMPARATORS = (
    "EQ",
    "NE",
    "GT",
    "GE",
    "LT",
    "LE",
    "GTLT",
    "GTLE",
    "GELT",
    "GELE",
    "LTGT",
    "LEGE",
    "CASE_EQ",
    "MATCH",
    "IN",
    "LOG",
)
REPORT_FIELDS = (
    "start",
    "duration",
    "outcome",
    "operator",
    "unit.serial",
    "unit.partNumber",
    "unit.revision",
    "unit.batch",
    "unit.lot",
    "unit.position",
    "station.name",
    "station.location",
    "station.purpose",
    "station.fixture",
    "station.socket",
    "process.code",
    "process.name",
    "program.name",
    "program.version",
    "program.tool",
    "program.toolVersion",
)
STEP_FIELDS = ("name", "outcome", "start", "duration", "class", "file", "message", "trace", "stdout", "stderr")
