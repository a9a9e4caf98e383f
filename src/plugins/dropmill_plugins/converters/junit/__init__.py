"""Registers `junit`: JUnit XML as build servers and test runners write it. The class lives in `converter`, which imports lxml."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dropmill.api import Accepts, ConverterSpec, hookimpl

__all__ = ["OPTIONS", "SPEC", "register_converters"]

OPTIONS: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "not_run": {
            "enum": ["as-written", "skipped"],
            "default": "as-written",
            "description": "What a case is that has no result element but whose `status` says notrun or disabled. "
            "as-written: passed, as the format and its common readers have it, with a warning. skipped: what the attribute says.",
        },
        "suite_names": {
            "type": "boolean",
            "default": False,
            "description": "Give a case that has no classname the name of its suite as its class.",
        },
    },
}

SPEC = ConverterSpec(
    id="junit",
    factory="dropmill_plugins.converters.junit.converter:JUnitConverter",
    accepts=Accepts(("*.xml", "*.junit")),
    options_schema=OPTIONS,
    summary="JUnit XML: one report a file, its suites as groups, its cases as test steps",
)


@hookimpl
def register_converters() -> Iterable[ConverterSpec]:
    """The converter `junit`."""
    return [SPEC]
