"""What conversion raises in the agent.

DropmillError
└── ConversionError
    ├── WorkersUnavailable   no worker process can be started: the files wait
    └── PoolClosed           the pool is closing or closed: the file goes back uncharged
"""

from __future__ import annotations

from dropmill.foundation.errors import DropmillError

__all__ = ["ConversionError", "PoolClosed", "WorkersUnavailable"]


class ConversionError(DropmillError):
    """Base of conversion's errors."""

    default_code = "DM-V000"


class WorkersUnavailable(ConversionError):
    """Worker processes do not start; nothing is wrong with the file."""

    default_code = "DM-V020"


class PoolClosed(ConversionError):
    """The pool was closed before the conversion ended."""

    default_code = "DM-V021"
