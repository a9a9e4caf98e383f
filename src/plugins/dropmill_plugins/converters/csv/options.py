"""The options of `csv`: how the text is written (dialect, header, encoding, numbers) and what its columns mean.

Import-light: the agent reads this schema without loading what reads files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dropmill_plugins.converters.common.vocabulary import COMPARATORS, OUTCOMES, REPORT_FIELDS, STEP_FIELDS

__all__ = ["OPTIONS"]

Schema = Mapping[str, Any]

_COLUMN: Schema = {
    "type": ["string", "integer"],
    "minLength": 1,
    "minimum": 1,
    "description": "A column: its header, or its number from 1.",
}
_VALUES: Schema = {
    "type": "object",
    "additionalProperties": {"enum": list(OUTCOMES)},
    "description": "For an outcome: each text (upper and lower case are the same) and what it means. Without it PASS, OK, FAIL, "
    "NOK, ERROR, SKIPPED, ABORTED and their like are known. Any other text refuses the file.",
}


def _field(name: str) -> Schema:
    return {
        "description": f"Where {name} is: a column, or a table that says more.",
        "anyOf": [
            _COLUMN,
            {
                "type": "object",
                "additionalProperties": False,
                "oneOf": [{"required": ["column"]}, {"required": ["value"]}],
                "properties": {
                    "column": _COLUMN,
                    "value": {"type": "string", "description": "A fixed text instead of a column."},
                    "optional": {
                        "type": "boolean",
                        "default": False,
                        "description": "The column may be missing from the header.",
                    },
                    "format": {
                        "type": "string",
                        "minLength": 2,
                        "description": "For a start: a strptime pattern such as `%d.%m.%Y %H:%M:%S`. Without it, ISO 8601.",
                    },
                    "values": _VALUES,
                },
            },
        ],
    }


_BOUND: Schema = {"type": ["number", "string", "boolean"]}

_MEASUREMENT: Schema = {
    "type": "object",
    "additionalProperties": False,
    "required": ["column"],
    "properties": {
        "column": {**_COLUMN, "description": "The column of the value: its header, or its number from 1."},
        "name": {
            "type": "string",
            "description": "What the measurement is called; without it and `name_column`, the header.",
        },
        "name_column": {**_COLUMN, "description": "The column that names the measurement."},
        "type": {
            "enum": ["number", "text", "boolean"],
            "default": "number",
            "description": "What the value has to be; a text that is no such value refuses the file.",
        },
        "optional": {"type": "boolean", "default": False, "description": "The column may be missing from the header."},
        "unit": {"type": "string", "description": "The unit."},
        "unit_column": {**_COLUMN, "description": "The column of the unit."},
        "comparator": {
            "enum": list(COMPARATORS),
            "description": "How the limits are meant; without it: both included, and equal to an expected value.",
        },
        "low": {**_BOUND, "description": "The low limit."},
        "low_column": {**_COLUMN, "description": "The column of the low limit."},
        "high": {**_BOUND, "description": "The high limit."},
        "high_column": {**_COLUMN, "description": "The column of the high limit."},
        "expected": {**_BOUND, "description": "What the value should equal."},
        "expected_column": {**_COLUMN, "description": "The column of the expected value."},
        "status_column": {**_COLUMN, "description": "The column of the measurement's outcome."},
        "values": _VALUES,
        "judge": {
            "type": "boolean",
            "default": False,
            "description": "Compare the value with its limits where no column tells the outcome; else its status is unknown.",
        },
    },
}

OPTIONS: Schema = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "delimiter": {
            "type": "string",
            "default": "auto",
            "anyOf": [{"const": "auto"}, {"minLength": 1, "maxLength": 1}],
            "description": "What separates cells: one character, or auto: comma, semicolon, tab or bar, whichever alone splits "
            "the rows evenly. Where two do, or none does, the file is refused rather than guessed at.",
        },
        "quotechar": {
            "type": "string",
            "maxLength": 1,
            "default": '"',
            "description": "What encloses a cell that holds the delimiter or a line break; empty: nothing does.",
        },
        "doublequote": {
            "type": "boolean",
            "default": True,
            "description": "A quote within a quoted cell is written twice.",
        },
        "escapechar": {
            "type": "string",
            "maxLength": 1,
            "default": "",
            "description": "What makes the next character ordinary.",
        },
        "skipinitialspace": {
            "type": "boolean",
            "default": False,
            "description": "Ignore white space after a delimiter.",
        },
        "lenient_quotes": {
            "type": "boolean",
            "default": False,
            "description": "Accept text after a closing quote, and a quote that is never closed; else both refuse the file.",
        },
        "encoding": {
            "type": "string",
            "default": "auto",
            "description": "A codec name such as utf-8 or cp1252, or auto: byte order marks, UTF-16 and UTF-32 by their NULs, "
            "then UTF-8 if all of the file is, else fallback_encoding.",
        },
        "fallback_encoding": {
            "type": "string",
            "default": "cp1252",
            "description": "The encoding of a file that tells none and is not UTF-8. Taking it is a warning.",
        },
        "skip_rows": {
            "type": "integer",
            "minimum": 0,
            "maximum": 100_000,
            "default": 0,
            "description": "Lines to leave out at the start of the file.",
        },
        "comment": {
            "type": "string",
            "maxLength": 8,
            "default": "",
            "description": "Lines that start with this are left out; empty: none are.",
        },
        "header": {
            "type": "integer",
            "minimum": 0,
            "maximum": 100_000,
            "default": 1,
            "description": "The number of the row with the headers, after skip_rows, comments and blank lines; rows "
            "before it are left out. 0: there is none, and columns go by number.",
        },
        "ragged": {
            "enum": ["auto", "error", "pad"],
            "default": "auto",
            "description": "A row with more or fewer cells than the header: error refuses the file; pad keeps it with "
            "a warning, what is missing as missing and what is too much in misc. auto: error with a mapping, pad without, "
            "but a last row that lacks cells and a line break is taken for a truncated file.",
        },
        "decimal": {
            "enum": [".", ","],
            "default": ".",
            "description": "The decimal mark of numbers in mapped columns.",
        },
        "thousands": {
            "type": "string",
            "maxLength": 1,
            "default": "",
            "description": "What groups thousands in such numbers; empty: nothing does.",
        },
        "missing": {
            "type": "array",
            "items": {"type": "string"},
            "default": [],
            "description": "Texts that, like an empty cell, mean that there is no value (`NA`, `-`).",
        },
        "reports": {
            "enum": ["row", "file"],
            "default": "row",
            "description": "With a mapping: one report a row, or one a file whose rows are its steps.",
        },
        "kind": {
            "enum": ["test", "repair", "inspection", "measurement", "ci", "data"],
            "default": "test",
            "description": "With a mapping: the kind of the reports.",
        },
        "columns": {
            "type": "object",
            "additionalProperties": False,
            "properties": {name: _field(name) for name in REPORT_FIELDS},
            "default": {},
            "description": "The mapping: report fields and where each is. With reports = file it is the same in every row.",
        },
        "step": {
            "type": "object",
            "additionalProperties": False,
            "properties": {name: _field(f"a row's {name}") for name in STEP_FIELDS},
            "default": {},
            "description": "With reports = file: the fields of a row's step.",
        },
        "measurements": {
            "type": "array",
            "items": _MEASUREMENT,
            "default": [],
            "description": "The measurements of a row.",
        },
        "misc": {
            "anyOf": [{"const": "rest"}, {"type": "array", "items": _COLUMN}],
            "default": [],
            "description": "Columns to keep as text under their headers; rest: every column that nothing else names.",
        },
    },
}
