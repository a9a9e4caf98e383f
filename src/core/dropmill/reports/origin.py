"""What the core knows of a report's file and converter, and the members of a report that it fills in from that."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dropmill.api import Part
from dropmill.foundation.clock import utc_iso

__all__ = ["Origin", "counts_of", "default_fields", "tally"]

_FROM_CONVERTER = ("format", "formatVersion", "encoding")
_CONVERTER_DETAILS = ("parser", "config")


@dataclass(frozen=True, kw_only=True)
class Origin:
    """A file, and the converter that reads it."""

    name: str
    """As it was dropped, relative to its folder; undecodable bytes as surrogate escapes."""
    size: int
    sha256: str
    modified: float
    """Seconds since the epoch."""
    folder: str
    occurrence: int
    converter: str
    """Spec id."""
    version: str
    distribution: str
    parts: Sequence[Part] = ()

    def source(self, given: Any, index: int) -> dict[str, Any]:
        """The report's `source`, without `of` and `warnings`. Of what the converter gave, what tells of the format is kept."""
        given = given if isinstance(given, Mapping) else {}
        text, raw = _text_of(self.name)
        source: dict[str, Any] = {
            "path": text,
            "sha256": self.sha256,
            "size": self.size,
            "modified": utc_iso(self.modified),
            "format": self.converter,
        }
        source.update((key, given[key]) for key in _FROM_CONVERTER if key in given)
        if raw is not None:
            source["pathBytes"] = raw
        if self.parts:
            source["parts"] = [{"path": _text_of(part.name)[0], "sha256": part.sha256} for part in self.parts]
        details = given.get("converter")
        source["converter"] = {
            "name": self.converter,
            "version": self.version,
            "distribution": self.distribution,
            **{key: details[key] for key in _CONVERTER_DETAILS if isinstance(details, Mapping) and key in details},
        }
        source["index"] = index
        return source


def default_fields(document: Mapping[str, Any]) -> dict[str, Any]:
    """What every report can be routed, named and found by: `outcome`, `serial`, `partNumber`, `start`, where it has them."""
    unit = document.get("unit") or {}
    found = {
        "outcome": document.get("outcome"),
        "serial": unit.get("serial"),
        "partNumber": unit.get("partNumber"),
        "start": document.get("start"),
    }
    return {name: value for name, value in found.items() if value is not None}


def counts_of(root: Mapping[str, Any]) -> dict[str, int]:
    """The report's `counts`: how many leaf steps there are, in all and by outcome."""
    counts = {"total": 0}
    tally(root, counts)
    return counts


def tally(step: Mapping[str, Any], counts: dict[str, int]) -> None:
    """Add a step's leaves to `counts`; an empty group is no leaf."""
    waiting = [step]
    while waiting:
        step = waiting.pop()
        children = step.get("steps")
        if children:
            waiting.extend(children)
        elif step.get("type") != "group":
            counts["total"] += 1
            outcome = step["outcome"]
            counts[outcome] = counts.get(outcome, 0) + 1


def _text_of(name: str) -> tuple[str, str | None]:
    """A name as UTF-8 text, and its bytes in base64 where the text does not tell them."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raw = os.fsencode(name)
        return raw.decode("utf-8", "replace"), base64.b64encode(raw).decode("ascii")
    return name, None
