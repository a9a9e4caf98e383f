"""JSON Pointers (RFC 6901) over documents that may name a member twice: such a member is refused where a pointer meets it."""

from __future__ import annotations

from typing import Any

from dropmill.api import BadInput
from dropmill_plugins.converters.common.strict_json import Doubled

__all__ = ["MISSING", "Pointer", "escape"]


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING: Any = _Missing()
"""What a pointer gives where there is nothing; null is a value."""


def escape(name: str) -> str:
    """A member's name as a part of a pointer."""
    return name.replace("~", "~0").replace("/", "~1") if "~" in name or "/" in name else name


class Pointer:
    """A compiled pointer."""

    __slots__ = ("_parts", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._parts = tuple(part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:])

    @property
    def last(self) -> str:
        """The name of the member that it ends at; empty for the whole."""
        return self._parts[-1] if self._parts else ""

    def of(self, value: Any) -> Any:
        """What it points at, or MISSING.

        Raises:
            BadInput: The document has the member more than once.
        """
        for part in self._parts:
            if isinstance(value, dict):
                if isinstance(value, Doubled) and part in value.repeated:
                    raise BadInput(
                        "JSON-DUPLICATE-NAME", f"an object has {part[:60]!r} more than once, and {self.text} needs it"
                    )
                value = value.get(part, MISSING)
            elif isinstance(value, list):
                index = (
                    int(part) if part.isascii() and part.isdigit() and (part == "0" or part[0] != "0") else len(value)
                )
                value = value[index] if index < len(value) else MISSING
            else:
                return MISSING
            if value is MISSING:
                return MISSING
        return value
