"""The exit codes of all commands (a contract: scripts rely on them), and which error ends with which."""

from __future__ import annotations

import enum

from dropmill.foundation.errors import DropmillError

__all__ = ["Exit", "exit_code"]


class Exit(enum.IntEnum):
    """How a command ended; `run` has four more (`dropmill.supervision.exits`)."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    """The input is not what it should be: a file that no converter can read."""
    BAD_CONFIG = 4
    UNREACHABLE = 5
    """No agent answers, and the command needs one; or one is there and does not answer."""
    QUEUE_FULL = 6
    NOT_PERMITTED = 7


_BY_CODE = {
    "DM-Q001": Exit.QUEUE_FULL,
    "DM-Q002": Exit.QUEUE_FULL,
    "DM-Q004": Exit.UNREACHABLE,
    "DM-F001": Exit.UNREACHABLE,
    "DM-H004": Exit.UNREACHABLE,
    "DM-H005": Exit.UNREACHABLE,
    "DM-H006": Exit.UNREACHABLE,
}


def exit_code(error: DropmillError) -> Exit:
    """By the error's own word (`exit_code`), by its code, or by its letter."""
    own = getattr(error, "exit_code", None)
    if isinstance(own, int):
        return Exit(own)
    if error.code.startswith("DM-C"):
        return Exit.BAD_CONFIG
    return _BY_CODE.get(error.code, Exit.FAILED)
