"""How a claimed file is named in `work/`: `<id>-<name>`, so that its own name stays readable and comes back without a journal.

A directory for each file would cost more than everything else of a claim (`docs/decisions/intake-flat-work.md`); only a name
too long for that has one: `<id>/<name>`.
"""

from __future__ import annotations

import os
import re

__all__ = ["ID_LENGTH", "entry_name", "is_id", "parse_entry"]

ID_LENGTH = 16

_ID = re.compile(r"[0-9a-z]{16}")
_NAME_MAX = 255


def is_id(text: str) -> bool:
    """Whether the text has the form of a file's id."""
    return _ID.fullmatch(text) is not None


def entry_name(file_id: str, name: str) -> str:
    """The path of the entry relative to `work/`; it has a folder of its own only where the name leaves no room."""
    flat = f"{file_id}-{name}"
    return flat if len(os.fsencode(flat)) <= _NAME_MAX else f"{file_id}/{name}"


def parse_entry(entry: str) -> tuple[str, str] | None:
    """(id, name) of an entry of `work/`; the name of a long-named file's folder is empty; None: not one of ours."""
    file_id, dash, name = entry[:ID_LENGTH], entry[ID_LENGTH : ID_LENGTH + 1], entry[ID_LENGTH + 1 :]
    if not is_id(file_id) or (dash and (dash != "-" or not name)):
        return None
    return file_id, name
