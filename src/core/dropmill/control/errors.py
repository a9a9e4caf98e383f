"""What the control API raises, and with which HTTP status it answers.

DropmillError
└── ControlError            500
    ├── SocketTaken         (at start) another process answers on the socket, or it cannot be made
    ├── BadRequest          422 (415: not JSON): the request is not one that the API knows
    │   └── TooLargeBody    413
    ├── NotFound            404: there is no such thing
    │   └── MethodNotAllowed 405
    ├── Conflict            409: it cannot be done in the state that things are in
    ├── Stopping            503: the agent is on its way out and takes nothing new
    └── TimedOut            504
"""

from __future__ import annotations

from dropmill.foundation.errors import DropmillError, Problem

__all__ = [
    "BadRequest",
    "Conflict",
    "ControlError",
    "MethodNotAllowed",
    "NotFound",
    "SocketTaken",
    "Stopping",
    "TimedOut",
    "TooLargeBody",
]


class ControlError(DropmillError):
    """Base of the control API's errors."""

    default_code = "DM-H000"
    status: int = 500


class SocketTaken(ControlError):
    """The control socket cannot be had: another process answers on it, or its place is unusable."""

    default_code = "DM-H001"


class BadRequest(ControlError):
    """The request is refused as it is; `problems` lists everything that is wrong with it."""

    default_code = "DM-H002"
    status = 422

    def __init__(
        self,
        what: str,
        *,
        where: str = "",
        todo: str = "",
        problems: tuple[Problem, ...] = (),
        status: int | None = None,
    ) -> None:
        super().__init__(what, where=where, todo=todo)
        self.problems = problems
        if status is not None:
            self.status = status


class TooLargeBody(BadRequest):
    """The request's body is larger than the API takes."""

    status = 413


class NotFound(ControlError):
    """There is no such thing: route, file, delivery, folder, destination or plugin."""

    default_code = "DM-H003"
    status = 404


class MethodNotAllowed(NotFound):
    """The route exists, with other methods."""

    status = 405


class Stopping(ControlError):
    """The agent is stopping: it answers questions, and takes nothing new."""

    default_code = "DM-H004"
    status = 503


class TimedOut(ControlError):
    """The agent did not answer within the request's time limit; whether a change was made is not known."""

    default_code = "DM-H005"
    status = 504


class Conflict(ControlError):
    """It cannot be done in the state that things are in."""

    default_code = "DM-H007"
    status = 409
