"""Takes secrets out of what is kept or shown, and keeps it small: answers, exceptions and receipts pass through here.

It never raises and never lengthens a text much. Values shorter than four characters cannot be told from ordinary text and are not
looked for. Besides the known secrets it covers what credentials look like in headers and URLs.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, quote_plus

__all__ = ["MASK", "Scrubber", "secrets_of"]

MASK = "***"
_SHORTEST = 4
_MAX_TEXT = 2_000
_MAX_ENTRIES = 32
_MAX_DEPTH = 4

_SIGNS = ("authorization", "bearer", "basic", "@")
"""Without one of these nothing can match; most texts have none."""
_LOOKS_SECRET = re.compile(
    r"(?P<header>\b(?:proxy-)?authorization['\"]?\s*[:=]\s*['\"]?)(?:\w+\s+)?[^\s'\",;]+"
    r"|(?P<scheme>\b(?:bearer|basic)\s+)[\w.~+/=-]{8,}"
    r"|(?P<url>\w://)[^\s/@]+@",
    re.IGNORECASE,
)


class Scrubber:
    """Replaces the given secrets, in the forms in which they travel, by `***`."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._forms: set[str] = set()
        self._secrets: re.Pattern[str] | None = None
        self.learn(secrets)

    def learn(self, secrets: Iterable[str]) -> None:
        """Look for these, too, from now on."""
        self._forms |= {form for secret in secrets if len(secret) >= _SHORTEST for form in _forms(secret)}
        if self._forms:
            longest_first = sorted(self._forms, key=len, reverse=True)
            self._secrets = re.compile("|".join(map(re.escape, longest_first)))

    def text(self, value: str, limit: int = _MAX_TEXT) -> str:
        """The text without secrets, at most `limit` characters of it; what no encoding can carry is escaped."""
        if not value.isascii():
            value = value.encode("utf-8", "backslashreplace").decode()
        if self._secrets is not None:
            value = self._secrets.sub(MASK, value)
        lowered = value.lower()
        if any(sign in lowered for sign in _SIGNS):
            value = _LOOKS_SECRET.sub(_mask, value)
        return value if len(value) <= limit else value[: limit - 1] + "…"

    def data(self, value: Any, depth: int = 0) -> Any:
        """A JSON-like copy without secrets, bounded in depth, entries and length of texts; anything else becomes its text."""
        if value is None or isinstance(value, bool | int):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else str(value)
        if isinstance(value, str):
            return self.text(value)
        if depth < _MAX_DEPTH:
            if isinstance(value, Mapping):
                entries = list(value.items())[:_MAX_ENTRIES]
                return {self.text(str(key), 200): self.data(entry, depth + 1) for key, entry in entries}
            if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
                return [self.data(entry, depth + 1) for entry in value[:_MAX_ENTRIES]]
        return self.text(_repr(value))


def secrets_of(schema: Mapping[str, Any], options: Mapping[str, Any]) -> list[str]:
    """The values of an options object that its schema marks `writeOnly`."""
    found: list[str] = []
    for name, part in schema.get("properties", {}).items():
        value = options.get(name)
        if not isinstance(part, Mapping) or value is None:
            continue
        if part.get("writeOnly"):
            found.extend(_texts(value))
        elif isinstance(value, Mapping):
            found.extend(secrets_of(part, value))
    return found


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for entry in value.values():
            yield from _texts(entry)
    elif isinstance(value, Sequence) and not isinstance(value, bytes):
        for entry in value:
            yield from _texts(entry)


def _forms(secret: str) -> Iterable[str]:
    data = secret.encode("utf-8", "replace")
    yield data.decode()
    yield quote(data)
    yield quote(data, safe="")
    yield quote_plus(data)
    yield repr(secret)[1:-1]
    encoded = base64.b64encode(data).decode()
    yield encoded
    yield encoded.rstrip("=")


def _mask(match: re.Match[str]) -> str:
    if match["url"]:
        return f"{match['url']}{MASK}@"
    return f"{match['header'] or match['scheme']}{MASK}"


def _repr(value: Any) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - a plugin's object may do anything
        return f"<{type(value).__name__}>"
