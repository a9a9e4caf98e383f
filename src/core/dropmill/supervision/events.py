"""What supervision has to tell: one value a happening, for the log, the event stream and whoever asks."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, ParamSpec, TypeVar

from dropmill.foundation.clock import Clock, utc_iso
from dropmill.foundation.errors import DropmillError, Problem

__all__ = ["Failure", "Level", "Listener", "SupervisionEvent", "Teller", "describe_error"]

P = ParamSpec("P")
R = TypeVar("R")

Level = Literal["info", "warning", "error"]

_TEXT_LIMIT = 2_000
_TRACEBACK_LIMIT = 16_000


@dataclass(frozen=True, kw_only=True)
class SupervisionEvent:
    """Something happened to a child, to the event loop or to the agent's state."""

    name: str
    """`child.started`, `child.failed`, `child.open`, `child.stuck`, `child.undead`, `child.recovered`, `child.finished`,
    `agent.state`, `agent.ready`, `stop.phase`, `stop.undead`, `stop.finished`, `loop.blocked`, `loop.exception`,
    `callback.failed`."""
    subject: str
    """The child's name; `agent` or `loop`."""
    time: float
    """Seconds since the epoch."""
    level: Level = "info"
    problem: Problem | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    """JSON-able; `traceback` holds a traceback or a stack."""


Listener = Callable[[SupervisionEvent], None]


@dataclass(frozen=True, kw_only=True)
class Failure:
    """How a child failed, as text: keeping the exception itself would keep alive all that its frames hold."""

    kind: Literal["raised", "returned", "stuck"]
    error: str
    """The exception's type and message, or a sentence."""
    traceback: str
    """Where it was raised; for a stuck child, where it stands."""
    time: float
    """Seconds since the epoch."""
    lived: float
    """Seconds that the child had run."""

    def as_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "error": self.error,
            "traceback": self.traceback,
            "time": utc_iso(self.time),
            "lived": round(self.lived, 3),
        }


def describe_error(error: BaseException) -> tuple[str, str]:
    """`Type: message` and the traceback, both bounded (of a long traceback the end, which says most)."""
    try:
        message = str(error)
    except Exception as second:  # noqa: BLE001 - an exception whose text raises must not hide that there was one
        message = f"(its text cannot be had: {type(second).__name__})"
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    text = f"{name}: {message}" if message else name
    lines = "".join(traceback.format_exception(error))
    if len(lines) > _TRACEBACK_LIMIT:
        lines = "...\n" + lines[-_TRACEBACK_LIMIT:]
    return text[:_TEXT_LIMIT], lines


class Teller:
    """Hands events to the listener and calls foreign callbacks; nothing that either raises gets past it, or lost."""

    def __init__(self, listener: Listener, clock: Clock) -> None:
        self._listener = listener
        self._clock = clock
        self._log = logging.getLogger("dropmill.supervision")

    def tell(
        self, name: str, subject: str, level: Level = "info", problem: Problem | None = None, **data: object
    ) -> None:
        """Tell of something that happened now."""
        event = SupervisionEvent(
            name=name, subject=subject, time=self._clock.time(), level=level, problem=problem, data=data
        )
        try:
            self._listener(event)
        except BaseException:  # noqa: BLE001 - the last resort must hold for whatever a listener raises
            self._log.exception("the listener to supervision events raised; the event was %r", event)

    def call(self, what: str, callback: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R | None:
        """Call a callback that somebody else wrote; None where it raised."""
        try:
            return callback(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001 - a stop must go on whatever a callback raises
            text, lines = describe_error(error)
            problem = Problem(
                code="DM-S012",
                what=f"{what} raised {text}",
                todo="this is a defect of the program: report it with the traceback",
            )
            if isinstance(error, DropmillError):
                problem = error.problem
            self.tell("callback.failed", what, "error", problem, traceback=lines)
            return None
