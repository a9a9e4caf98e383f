"""Registers `csv`: delimited text with a declared mapping, or kept row by row without one. The class lives in `converter`."""

from __future__ import annotations

from collections.abc import Iterable

from dropmill.api import Accepts, ConverterSpec, hookimpl
from dropmill_plugins.converters.csv.options import OPTIONS

__all__ = ["SPEC", "register_converters"]

SPEC = ConverterSpec(
    id="csv",
    factory="dropmill_plugins.converters.csv.converter:CsvConverter",
    accepts=Accepts(("*.csv", "*.tsv", "*.tab", "*.ssv", "*.psv", "*.txt")),
    options_schema=OPTIONS,
    summary="Delimited text: a declared mapping to report fields, one report a row or a file; without one, all rows kept",
)


@hookimpl
def register_converters() -> Iterable[ConverterSpec]:
    """The converter `csv`."""
    return [SPEC]
