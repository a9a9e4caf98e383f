"""The converter `wsjf`: WATS test and repair reports in, reports of kind `test` and `repair` out, with every member kept.

It knows the format by its structure, so that it can stand beside `json` in one folder. It judges nothing: outcomes and statuses
are the file's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from dropmill.api import BadInput, ConvertContext, Head, Level, Match, NotMine, Report, Source
from dropmill_plugins.converters.common.digest import WarningDigest
from dropmill_plugins.converters.common.encodings import marked_encoding
from dropmill_plugins.converters.common.steps import shown
from dropmill_plugins.converters.common.strict_json import StrictDecoder
from dropmill_plugins.converters.json.documents import Documents
from dropmill_plugins.converters.wsjf import DEFAULT_MAX_DOCUMENT
from dropmill_plugins.converters.wsjf.report import build

__all__ = ["WsjfConverter"]

_TYPES = frozenset({"t", "r", "test", "repair", "uut", "uur"})
_KEY = re.compile(r'"(\w+)"\s*:')
_TYPE = re.compile(r'"type"\s*:\s*"(?:[TR]|Test|Repair|UU[TR])"')
_REPORT_KEYS = frozenset(
    {"sn", "pn", "rev", "serialNumber", "partNumber", "machineName", "processCode", "result", "start"}
)
_OWN_KEYS = frozenset({"uut", "uur", "miscInfos", "assetStats", "subUnits", "uutParts"})
_STEP_KEYS = frozenset(
    {"stepType", "numericMeas", "stringMeas", "booleanMeas", "causedUUTFailure", "tsGuid", "totTime", "seqCall"}
)


class WsjfConverter:
    """WATS Standard JSON Format; see `docs/converters.md` for what becomes of each member."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._limit = options.get("max_document", DEFAULT_MAX_DOCUMENT)

    def sniff(self, head: Head) -> Match | None:
        """CERTAIN or LIKELY by the members that WSJF alone has; None for other JSON."""
        encoding = marked_encoding(head.data) or "utf-8"
        text = head.data.decode(encoding, "replace")
        if text.lstrip("\ufeff \t\r\n")[:1] not in ("{", "["):
            return None
        keys = set(_KEY.findall(text))
        shared, own, steps = len(keys & _REPORT_KEYS), len(keys & _OWN_KEYS), len(keys & _STEP_KEYS)
        if _TYPE.search(text) and shared >= 5 and own:
            return Match(Level.CERTAIN, "has a report's type, its unit and station, and members of WSJF alone")
        if shared >= 5 and (own or steps >= 2):
            return Match(Level.LIKELY, "has a WSJF report's members")
        if steps >= 3 and not head.complete:
            return Match(Level.LIKELY, "begins with WSJF steps")
        return None

    def convert(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        """One report, or one for each element of an array of them."""
        decoder = StrictDecoder()
        documents = Documents(source, decoder, self._limit)
        warnings = WarningDigest(context)
        if documents.is_large_array():
            values: Iterator[Any] = (one.value for one in documents.items())
        else:
            value = documents.whole().value
            values = iter(value if isinstance(value, list) else [value])
        first = True
        for value in values:
            if not _is_report(value):
                if first:
                    raise NotMine("the members of a WSJF report are not there")
                raise BadInput("WSJF-SHAPE", "an element of the array is no WSJF report")
            first = False
            yield build(value, shown(source.name), warnings.warn)
        if first:
            raise NotMine("an empty array")
        warnings.close()


def _is_report(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    kind = value.get("type")
    typed = isinstance(kind, str) and kind.strip().lower() in _TYPES
    return typed and len(value.keys() & _REPORT_KEYS) >= 4 and bool(value.keys() & (_OWN_KEYS | {"root"}))
