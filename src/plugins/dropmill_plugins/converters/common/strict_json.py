"""Reads JSON by RFC 8259, and loses nothing that the text says: repeated names, digits, where it is wrong.

The standard library's parser is kept to the standard (no NaN, no control characters in strings, no lone surrogates). What a
Python value cannot hold is kept beside it: a number whose digits a double or 64 bits lose is an `Inexact`, an object that
names a member twice is a `Doubled`.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from dropmill.api import BadInput

__all__ = ["Doubled", "Inexact", "Json", "StrictDecoder", "decode_text", "parse", "skip_space", "syntax_error"]

Json = Any
"""dict, list, str, int, float, bool, None, `Inexact`, `Doubled`."""

_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_SPACE = re.compile(r"[ \t\n\r]*")
_MAX_DIGITS = 4_000


class Inexact(float):
    """A number of which the nearest double has lost something; `text` is what the file says."""

    text: str

    def __new__(cls, text: str) -> Inexact:
        made = super().__new__(cls, text)
        made.text = text
        return made

    @property
    def number(self) -> float | None:
        """As an ordinary float; None where it is too large for one."""
        return float(self) if math.isfinite(self) else None


class Doubled(dict[str, Any]):
    """An object with a repeated name; as a dict it has the last value, as most readers do."""

    pairs: list[tuple[str, Any]]
    repeated: frozenset[str]


class _NotJson(ValueError):
    """Something that the standard library's parser accepts and the standard does not."""


def decode_text(data: bytes, what: str = "the file") -> str:
    """Bytes as text: UTF-8 with or without a mark, or UTF-16 and UTF-32 that show themselves.

    Raises:
        BadInput: Not decodable, with the line.
    """
    encoding = json.detect_encoding(data)
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1 if encoding.startswith("utf-8") else None
        raise BadInput("JSON-ENCODING", f"{what} is not {encoding}, the encoding of JSON", line=line) from None


class StrictDecoder:
    """Decodes values; made once, used for many."""

    def __init__(self) -> None:
        self.odd = 0
        """How many `Inexact` and `Doubled` it has made."""
        decoder = json.JSONDecoder(
            object_pairs_hook=self._object,
            parse_float=self._real,
            parse_int=self._whole,
            parse_constant=_constant,
            strict=True,
        )
        self._scan: Callable[[str, int], tuple[Any, int]] = decoder.raw_decode

    def whole(self, text: str, line: int = 1) -> Json:
        """The one value that a text is.

        Args:
            text: All of it.
            line: The line of the file on which it begins.

        Raises:
            BadInput: With the line.
        """
        start = skip_space(text, 0)
        if start == len(text):
            raise BadInput("JSON-EMPTY", "there is no JSON value", line=line)
        try:
            value, end = self.attempt(text, start)
        except json.JSONDecodeError as error:
            raise syntax_error(error, line) from None
        end = skip_space(text, end)
        if end != len(text):
            raise BadInput(
                "JSON-SYNTAX", "there is more text behind the JSON value", line=line + text.count("\n", 0, end)
            )
        return value

    def attempt(self, text: str, start: int) -> tuple[Json, int]:
        """The value at `start`, and where it ends.

        Raises:
            json.JSONDecodeError: There is none, or not all of one.
            BadInput: There is one that the standard does not allow.
        """
        try:
            value, end = self._scan(text, start)
        except _NotJson as error:
            raise BadInput("JSON-SYNTAX", str(error)) from None
        except RecursionError:
            raise BadInput("JSON-TOO-DEEP", "the document nests too deeply") from None
        if _SURROGATE_ESCAPE.search(text, start, end):
            _refuse_surrogates(value)
        return value, end

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) == len(pairs):
            return made
        self.odd += 1
        counts = Counter(name for name, _ in pairs)
        doubled = Doubled(made)
        doubled.pairs = pairs
        doubled.repeated = frozenset(name for name, count in counts.items() if count > 1)
        return doubled

    def _real(self, text: str) -> float:
        value = float(text)
        if len(text) < 16 and "e" not in text and "E" not in text:
            return value
        if math.isfinite(value) and _number(text) == _number(repr(value)):
            return value
        self.odd += 1
        return Inexact(text)

    def _whole(self, text: str) -> int | float:
        if len(text) < 19:
            return int(text)
        if len(text) <= _MAX_DIGITS and -(2**63) <= (value := int(text)) < 2**64:
            return value
        self.odd += 1
        return Inexact(text)


def syntax_error(error: json.JSONDecodeError, line: int = 1) -> BadInput:
    """The parser's complaint as a refusal; `line` is that of the text's first character."""
    message = error.msg[:1].lower() + error.msg[1:]
    return BadInput("JSON-SYNTAX", message, line=line + error.lineno - 1)


def _refuse_surrogates(value: Json) -> None:
    """Raise for half of a surrogate pair, which no UTF-8 can hold."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            try:
                one.encode()
            except UnicodeEncodeError:
                raise BadInput("JSON-SURROGATE", "a string holds half of a surrogate pair") from None
        elif isinstance(one, dict):
            waiting.extend(one)
            waiting.extend(member for _, member in one.pairs) if isinstance(one, Doubled) else waiting.extend(
                one.values()
            )
        elif isinstance(one, list):
            waiting.extend(one)


def parse(data: bytes) -> Json:
    """The one value that a file is.

    Raises:
        BadInput: See `decode_text` and `StrictDecoder.whole`.
    """
    return StrictDecoder().whole(decode_text(data))


def _number(text: str) -> Decimal | str:
    try:
        return Decimal(text)
    except ArithmeticError:
        return text  # an exponent beyond what even Decimal holds


def _constant(text: str) -> Any:
    raise _NotJson(f"{text} is no JSON value")


def skip_space(text: str, start: int) -> int:
    """Where the next character that is no white space stands, or the text's end."""
    found = _SPACE.match(text, start)
    assert found is not None
    return found.end()
