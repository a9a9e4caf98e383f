"""The options of `json`: what counts as a document, and where in it the report's fields are.

Import-light: the agent reads this schema without loading what reads files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dropmill_plugins.converters.common.vocabulary import COMPARATORS, OUTCOMES, REPORT_FIELDS, STEP_FIELDS

__all__ = ["DEFAULT_MAX_DOCUMENT", "KINDS", "OPTIONS"]

Schema = Mapping[str, Any]

DEFAULT_MAX_DOCUMENT = 16 << 20
KINDS = ("test", "repair", "inspection", "measurement", "ci", "data")

_POINTER: Schema = {
    "type": "string",
    "pattern": "^(/([^~/]|~[01])*)*$",
    "description": "A JSON Pointer (RFC 6901), such as `/unit/serial`; empty: the value itself.",
}
_VALUES: Schema = {
    "type": "object",
    "additionalProperties": {"enum": list(OUTCOMES)},
    "description": "For an outcome: each text (upper and lower case are the same) and what it means; true and false are texts "
    "too. Without it PASS, OK, FAIL, NOK, ERROR, SKIPPED, ABORTED and their like are known. Any other text refuses the file.",
}


def _field(name: str) -> Schema:
    return {
        "description": f"Where {name} is: a pointer, or a table that says more.",
        "anyOf": [
            _POINTER,
            {
                "type": "object",
                "additionalProperties": False,
                "oneOf": [{"required": ["pointer"]}, {"required": ["value"]}],
                "properties": {
                    "pointer": _POINTER,
                    "value": {"type": "string", "description": "A fixed text instead of a pointer."},
                    "from": {
                        "enum": ["record", "document"],
                        "default": "record",
                        "description": "What the pointer starts at: the record or step itself, or the whole document around it.",
                    },
                    "optional": {"type": "boolean", "default": False, "description": "There may be nothing there."},
                    "format": {
                        "type": "string",
                        "minLength": 2,
                        "description": "For a start: a strptime pattern, or unix or unix-ms for seconds or milliseconds "
                        "since 1970. Without it, ISO 8601.",
                    },
                    "scale": {
                        "type": "number",
                        "exclusiveMinimum": 0,
                        "default": 1,
                        "description": "For a duration: seconds in the file's unit (0.001 for milliseconds).",
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
    "required": ["pointer"],
    "properties": {
        "each": {
            **_POINTER,
            "description": "An array or object of which every member is a measurement; the other pointers start at the member.",
        },
        "pointer": {**_POINTER, "description": "Where the value is."},
        "optional": {"type": "boolean", "default": False, "description": "There may be nothing there."},
        "name": {
            "type": "string",
            "description": "What it is called; without it and `name_pointer`, the member's key.",
        },
        "name_pointer": {**_POINTER, "description": "Where its name is."},
        "unit": {"type": "string", "description": "The unit."},
        "unit_pointer": {**_POINTER, "description": "Where the unit is."},
        "comparator": {
            "enum": list(COMPARATORS),
            "description": "How the limits are meant; without it: both included, and equal to an expected value.",
        },
        "low": {**_BOUND, "description": "The low limit."},
        "low_pointer": {**_POINTER, "description": "Where the low limit is."},
        "high": {**_BOUND, "description": "The high limit."},
        "high_pointer": {**_POINTER, "description": "Where the high limit is."},
        "expected": {**_BOUND, "description": "What the value should equal."},
        "expected_pointer": {**_POINTER, "description": "Where the expected value is."},
        "status_pointer": {**_POINTER, "description": "Where the measurement's outcome is."},
        "values": _VALUES,
        "judge": {
            "type": "boolean",
            "default": False,
            "description": "Compare the value with its limits where nothing tells the outcome; else its status is unknown.",
        },
    },
}
_MISC: Schema = {
    "type": "array",
    "default": [],
    "items": {
        "anyOf": [
            _POINTER,
            {
                "type": "object",
                "additionalProperties": False,
                "required": ["pointer", "name"],
                "properties": {"pointer": _POINTER, "name": {"type": "string", "description": "What to call it."}},
            },
        ]
    },
    "description": "Values to keep under their pointers or a name; what is no single value is kept as JSON text.",
}
_STEPS: Schema = {
    "type": "object",
    "additionalProperties": False,
    "required": ["each"],
    "properties": {
        "each": {**_POINTER, "description": "The array whose elements are steps."},
        "children": {**_POINTER, "description": "Where a step has an array of steps of its own, read in the same way."},
        **{name: _field(f"a step's {name}") for name in STEP_FIELDS},
        "measurements": {
            "type": "array",
            "items": _MEASUREMENT,
            "default": [],
            "description": "A step's measurements.",
        },
        "misc": _MISC,
    },
    "description": "The steps of a report.",
}

OPTIONS: Schema = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "documents": {
            "enum": ["auto", "one", "lines", "items"],
            "default": "auto",
            "description": "What one document is: one, the file; lines, each line (NDJSON); items, each element of the array "
            "that the file is. auto: lines where the name ends in ndjson, jsonl or ldjson, or the first line is a whole object "
            "or array and more follow; else one.",
        },
        "max_document": {
            "type": "integer",
            "minimum": 1024,
            "maximum": 1 << 30,
            "default": DEFAULT_MAX_DOCUMENT,
            "description": "Bytes of one document; a larger one refuses the file. It bounds memory. The elements of a "
            "top-level array count one by one.",
        },
        "pass_through": {
            "type": "boolean",
            "default": True,
            "description": "A document that is a dropmill report already (schemaVersion, kind, outcome) becomes that report.",
        },
        "records": {
            **_POINTER,
            "description": "An array within the document of which every element is a report. Without it the document is one.",
        },
        "kind": {
            "enum": list(KINDS),
            "default": "test",
            "description": "With a mapping: the kind of the reports.",
        },
        "fields": {
            "type": "object",
            "additionalProperties": False,
            "properties": {name: _field(name) for name in REPORT_FIELDS},
            "default": {},
            "description": "The mapping: report fields and where each is.",
        },
        "measurements": {
            "type": "array",
            "items": _MEASUREMENT,
            "default": [],
            "description": "The report's measurements.",
        },
        "steps": _STEPS,
        "misc": _MISC,
    },
}
