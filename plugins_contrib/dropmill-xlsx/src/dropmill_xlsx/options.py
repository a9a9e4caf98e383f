"""The options of `xlsx`: which sheets and rows, and what their columns mean. Import-light: the agent reads this schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["FIELDS", "KINDS", "OPTIONS", "OUTCOMES"]

Schema = Mapping[str, Any]

OUTCOMES = ("passed", "failed", "error", "skipped", "aborted", "unknown")
KINDS = ("test", "repair", "inspection", "measurement", "ci", "data")
FIELDS = (
    "start",
    "outcome",
    "operator",
    "unit.serial",
    "unit.partNumber",
    "unit.revision",
    "unit.batch",
    "station.name",
    "station.location",
    "process.name",
    "program.name",
    "program.version",
)

_COLUMN: Schema = {
    "type": "string",
    "minLength": 1,
    "description": "A column: its header, or a letter after an equals sign (`=C`).",
}
_VALUES: Schema = {
    "type": "object",
    "additionalProperties": {"enum": list(OUTCOMES)},
    "default": {},
    "description": "Each text of the outcome column (upper and lower case are the same) and what it means. Without it PASS, OK, "
    "FAIL, NOK and their like are known. Any other text refuses the file.",
}

OPTIONS: Schema = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "sheets": {
            "type": "array",
            "items": {"type": ["string", "integer"], "minimum": 1},
            "default": [],
            "description": "The sheets to read, by name or by number from 1; empty: all of them, hidden ones too.",
        },
        "header": {
            "type": "integer",
            "minimum": 0,
            "maximum": 1_048_576,
            "description": "The number of the row with the headers; rows before it are left out. 0: there is none. "
            "Without this option: 1 with a mapping, else 0.",
        },
        "reports": {
            "enum": ["row", "file"],
            "default": "row",
            "description": "With a mapping: one report a row, or one a file whose rows are its steps.",
        },
        "kind": {"enum": list(KINDS), "default": "test", "description": "With a mapping: the kind of the reports."},
        "columns": {
            "type": "object",
            "additionalProperties": False,
            "properties": dict.fromkeys(FIELDS, _COLUMN),
            "default": {},
            "description": "The mapping: report fields and their columns. With reports = file a column is the same in every row.",
        },
        "outcomes": _VALUES,
        "measurements": {
            "type": "array",
            "default": [],
            "description": "Columns of numbers that are measurements.",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["column"],
                "properties": {
                    "column": _COLUMN,
                    "name": {"type": "string", "description": "What it is called; without it, the header."},
                    "unit": {"type": "string", "description": "The unit."},
                    "low": {"type": "number", "description": "The low limit, included."},
                    "high": {"type": "number", "description": "The high limit, included."},
                },
            },
        },
        "misc": {
            "type": "array",
            "items": _COLUMN,
            "default": [],
            "description": "Columns to keep under their headers.",
        },
        "max_unpacked": {
            "type": "integer",
            "minimum": 1_048_576,
            "default": 268_435_456,
            "description": "Bytes that a workbook may unpack to; a larger one refuses the file.",
        },
        "max_cells": {
            "type": "integer",
            "minimum": 1_000,
            "default": 2_000_000,
            "description": "Cells that the used area of a sheet may span, empty ones included; a larger one refuses the file.",
        },
    },
}
