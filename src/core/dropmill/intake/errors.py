"""What intake raises.

DropmillError
└── IntakeError          base
    ├── FolderOffline    the root is gone, unreadable, not the one that it was, or in another agent's hands
    ├── UnknownFolder    there is no folder of that name
    └── SourceUnreadable a file handed to `submit` cannot be read, or changes while it is read
"""

from __future__ import annotations

from collections.abc import Iterable

from dropmill.foundation.errors import DropmillError

__all__ = ["FolderOffline", "IntakeError", "SourceUnreadable", "UnknownFolder"]


class IntakeError(DropmillError):
    """Base of intake's errors."""

    default_code = "DM-I000"


class FolderOffline(IntakeError):
    """Nothing can be taken from the folder, or moved in it, for now; the others go on."""

    default_code = "DM-I001"


class UnknownFolder(IntakeError):
    """No `[[folder]]` has this name."""

    default_code = "DM-I002"

    def __init__(self, name: str, known: Iterable[str]) -> None:
        names = ", ".join(sorted(known)) or "none"
        super().__init__(f"there is no folder named {name!r}", todo=f"name one of the configured folders: {names}")


class SourceUnreadable(IntakeError):
    """A submitted path is no regular file, cannot be read, or changes while it is copied."""

    default_code = "DM-I003"
