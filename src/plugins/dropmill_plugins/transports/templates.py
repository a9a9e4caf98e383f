"""Text with `{placeholders}` that become a report's key and fields: for file names, folders and URLs.

Rendering is pure and the same for every attempt: nothing that changes between two attempts (time, attempt number) can be named,
so a repeated delivery goes to the same place. What a value may contain is the caller's business (`encode`).
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Callable, Mapping
from typing import Any

from dropmill.api import Outgoing

__all__ = ["NAME_PATTERN", "PATTERN", "MissingValue", "Template", "suffix_of", "values_of"]

PATTERN = r"^(?:[^{}]|\{\{|\}\}|\{[A-Za-z][A-Za-z0-9_.-]*\})*$"
"""What a template looks like, as a JSON Schema pattern."""
NAME_PATTERN = PATTERN.replace("[^{}]", "[^{}/]")
"""The same without a path separator."""

_TOKEN = re.compile(r"\{\{|\}\}|\{(?P<name>[A-Za-z][A-Za-z0-9_.-]*)\}|(?P<text>[^{}]+)")
_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})")

_SUFFIXES = {
    "application/json": ".json",
    "application/x-ndjson": ".ndjson",
    "application/xml": ".xml",
    "text/xml": ".xml",
    "text/csv": ".csv",
    "text/plain": ".txt",
    "application/octet-stream": ".bin",
}


class MissingValue(LookupError):
    """A report has no value for a placeholder."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the report has no {name!r}")
        self.name = name


class Template:
    """A parsed template; `{{` and `}}` are literal braces.

    Raises:
        ValueError: a brace that begins or ends nothing.
    """

    def __init__(self, text: str) -> None:
        parts: list[tuple[bool, str]] = []
        position = 0
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise ValueError(
                    f"the template {text!r} has a stray brace at {position}: double it, or name a placeholder"
                )
            name = match["name"]
            parts.append((True, name) if name else (False, match["text"] or match[0][0]))
            position = match.end()
        self.text = text
        self._parts = parts
        self.names = frozenset(value for is_name, value in parts if is_name)

    def render(self, value: Callable[[str], str | None], encode: Callable[[str], str]) -> str:
        """The text with every placeholder's value, encoded.

        Raises:
            MissingValue: `value` answers None or an empty text.
        """
        pieces = []
        for is_name, piece in self._parts:
            if is_name:
                found = value(piece)
                if not found:
                    raise MissingValue(piece)
                piece = encode(found)
            pieces.append(piece)
        return "".join(pieces)


def values_of(item: Outgoing) -> Callable[[str], str | None]:
    """What an item's placeholders stand for.

    `key`, `report_id`, `sha256`, `suffix` (with its dot, by media type), `stem` (the file's name without suffix), `date`, `year`,
    `month` and `day` (of the field `start`), then the report's fields.
    """

    def value(name: str) -> str | None:
        match name:
            case "key":
                return item.key
            case "report_id":
                return item.report_id
            case "sha256":
                return item.sha256
            case "suffix":
                return suffix_of(item.media_type)
            case "stem":
                return _stem(item.fields)
            case "date" | "year" | "month" | "day":
                return _date(item.fields, name)
        return _text(item.fields.get(name))

    return value


def suffix_of(media_type: str) -> str:
    """A file name's suffix for a media type, with its dot."""
    plain = media_type.partition(";")[0].strip().lower()
    known = _SUFFIXES.get(plain)
    if known is not None:
        return known
    if plain.endswith("+json"):
        return ".json"
    if plain.endswith("+xml"):
        return ".xml"
    return mimetypes.guess_extension(plain) or ".bin"


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _stem(fields: Mapping[str, Any]) -> str | None:
    name = _text(fields.get("file"))
    if name is None:
        return None
    name = name.replace("\\", "/").rpartition("/")[2]
    stem, dot, _ = name.rpartition(".")
    return stem if dot and stem else name


def _date(fields: Mapping[str, Any], part: str) -> str | None:
    match = _DATE.match(_text(fields.get("start")) or "")
    if match is None:
        return None
    return match[0] if part == "date" else match[("year", "month", "day").index(part) + 1]
