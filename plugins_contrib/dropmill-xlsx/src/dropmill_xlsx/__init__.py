"""Spreadsheets for dropmill: registers the converter `xlsx`. The class lives in `converter`, which imports calamine."""

from __future__ import annotations

from collections.abc import Iterable

from dropmill.api import Accepts, ConverterSpec, Magic, hookimpl
from dropmill_xlsx.options import OPTIONS

__all__ = ["SPEC", "register_converters"]

SPEC = ConverterSpec(
    id="xlsx",
    factory="dropmill_xlsx.converter:XlsxConverter",
    accepts=Accepts(
        ("*.xlsx", "*.xlsm", "*.xlsb", "*.xls", "*.ods"),
        magic=(Magic(b"PK\x03\x04"), Magic(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")),
    ),
    options_schema=OPTIONS,
    summary="Excel and OpenDocument sheets: a declared mapping, one report a row or a file; without one, every cell kept",
)


@hookimpl
def register_converters() -> Iterable[ConverterSpec]:
    """The converter `xlsx`."""
    return [SPEC]
