"""How values, types and ranges are written in messages. Nothing here ever shows what is inside a list or table."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import date, datetime, time
from typing import Any
from urllib.parse import urlsplit

from dropmill.config.quantities import write
from dropmill.config.vocabulary import Schema

__all__ = [
    "PASSWORD_IN_URL",
    "REDACTED",
    "bounds",
    "expected",
    "invalid_url",
    "password_in_url",
    "render",
    "sounds_secret",
]

REDACTED = "***"

PASSWORD_IN_URL = (
    "holds a password or token in the URL, where it would be logged and shown",
    "take it out of the URL and use the options for credentials",
)
"""What is wrong and what to do, of a URL such as `https://user:password@host`."""

_LONGEST = 80

_SECRET_WORDS = re.compile(r"pass|secret|token|credential|pwd|auth|(^|[_-])key$|api_?key|private", re.IGNORECASE)

_TYPES = {
    "string": "a text in quotes",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a table",
    "null": "nothing",
}

_EXAMPLES = {
    "bytes": 'a size: bytes, or a text such as "10 GB"',
    "seconds": 'a duration: seconds, or a text such as "5 min"',
}


def render(value: Any) -> str:
    """A value as TOML would have it, shortened."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        text = re.sub(r"(?<=://)[^/@\s]*@", f"{REDACTED}@", value)
        return json.dumps(text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "...", ensure_ascii=False)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, list):
        return "[]" if not value else f"[...] ({len(value)} {'entry' if len(value) == 1 else 'entries'})"
    if isinstance(value, dict):
        return "{}" if not value else f"{{...}} ({len(value)} {'key' if len(value) == 1 else 'keys'})"
    return str(value)


def sounds_secret(key: str) -> bool:
    """Whether a value under this name had better not be shown."""
    return _SECRET_WORDS.search(key) is not None


def expected(schema: Schema) -> str:
    """What kind of value a schema wants, in words."""
    if "x-unit" in schema:
        return _EXAMPLES[schema["x-unit"]]
    kinds = schema.get("type", [])
    return alternatives(_TYPES[kind] for kind in ([kinds] if isinstance(kinds, str) else kinds))


def alternatives(words: Iterable[str]) -> str:
    """`a, b or c`."""
    found = list(dict.fromkeys(words))
    return found[0] if len(found) == 1 else f"{', '.join(found[:-1])} or {found[-1]}" if found else "something else"


def bounds(schema: Schema) -> str:
    """The range of a number, in words: `from 0 to 100`, `more than 0 s and at most 1 d`."""
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    unit = schema.get("x-unit")

    def number(value: float) -> str:
        return (
            write(value, unit) if unit else f"{value:,}".replace(",", " ") if isinstance(value, int) else f"{value:g}"
        )

    if low is not None and high is not None:
        return f"from {number(low)} to {number(high)}"
    words = []
    if low is not None:
        words.append(f"at least {number(low)}")
    if above is not None:
        words.append(f"more than {number(above)}")
    if high is not None:
        words.append(f"at most {number(high)}")
    if below is not None:
        words.append(f"less than {number(below)}")
    return " and ".join(words)


def invalid_url(text: str) -> str:
    """Why a text is no absolute URL, or nothing. Placeholders such as `{key}` are allowed in it."""
    if re.search(r"[\s\x00-\x1f<>\"\\^`|]", text):
        return "it holds a space or a character that no URL may hold"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        return str(error)[:100] if "port" in str(error).lower() else "its host cannot be read"
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", parts.scheme):
        return "it does not begin with a scheme such as https://"
    if not parts.hostname:
        return "it names no host"
    return "port 0 cannot be used" if port == 0 else ""


def password_in_url(text: str) -> bool:
    """Whether a URL holds credentials (`https://user:password@host`)."""
    try:
        return "@" in urlsplit(text).netloc
    except ValueError:
        return False
