"""What the core logs while a command uses it: warnings and worse, on standard error, so that standard output is the answer alone.

`dropmill run` sets up the agent's own log instead (`foundation.logs`).
"""

from __future__ import annotations

import logging
import sys
from typing import Any

__all__ = ["to_stderr"]


def to_stderr() -> None:
    """Call it before the first part of the core that may log is used."""
    import structlog

    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.format_exc_info, _worded],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )


def _worded(_logger: Any, _method: str, event: Any) -> str:
    """`warning: what happened (name: value, ...)`."""
    level, text, trace = event.pop("level"), event.pop("event"), event.pop("exception", "")
    rest = ", ".join(f"{name}: {value}" for name, value in event.items())
    return f"{level}: {text}" + (f" ({rest})" if rest else "") + (f"\n{trace}" if trace else "")
