"""Registers `wsjf`: the JSON format of WATS test and repair reports. The class lives in `converter`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dropmill.api import Accepts, ConverterSpec, hookimpl

__all__ = ["DEFAULT_MAX_DOCUMENT", "OPTIONS", "SPEC", "register_converters"]

DEFAULT_MAX_DOCUMENT = 32 << 20

OPTIONS: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "max_document": {
            "type": "integer",
            "minimum": 1024,
            "maximum": 1 << 30,
            "default": DEFAULT_MAX_DOCUMENT,
            "description": "Bytes of one report; a larger one refuses the file. It bounds memory.",
        },
    },
}

SPEC = ConverterSpec(
    id="wsjf",
    factory="dropmill_plugins.converters.wsjf.converter:WsjfConverter",
    accepts=Accepts(("*.json", "*.wsjf"), min_bytes=2),
    options_schema=OPTIONS,
    summary="WATS Standard JSON Format: test (UUT) and repair (UUR) reports with their steps, limits and parts",
)


@hookimpl
def register_converters() -> Iterable[ConverterSpec]:
    """The converter `wsjf`."""
    return [SPEC]
