"""What is wrong with a report that a converter made."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dropmill.foundation.errors import DropmillError

__all__ = ["InvalidReport", "json_path", "shorten"]

_SHOWN = 200


class InvalidReport(DropmillError):
    """A report breaks its schema or cannot be written as JSON; nothing of its file is published.

    Codes: `DM-V004` it breaks its schema, `DM-V005` a value cannot be written as JSON, `DM-V006` nobody declared its schema,
    `DM-V007` its parts do not fit together, `DM-V008` its fields are not plain, few and short.
    """

    default_code = "DM-V004"

    def __init__(self, what: str, *, path: str = "$", value: str = "", code: str | None = None, todo: str = "") -> None:
        super().__init__(what, where=path, todo=todo, code=code)
        self.path = path
        """JSON path of the culprit: `$.root.steps[3].outcome`."""
        self.value = value
        """The offending value, shortened."""


def json_path(parts: Iterable[str | int]) -> str:
    """`$.root.steps[3].name` for `["root", "steps", 3, "name"]`; names that are no identifiers are quoted."""
    path = "$"
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{part}" if part.isidentifier() else f"[{part!r}]"
    return path


def shorten(value: Any, limit: int = _SHOWN) -> str:
    """A value as text for a message, at most `limit` characters, always printable as UTF-8."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a plugin's object
        text = f"<{type(value).__name__}>"
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    return text.encode("utf-8", "backslashreplace").decode()
