"""A small client of the control API over the agent's Unix socket, with a time limit on everything.

It tells three things apart: no agent listens (`NoAgent`), one is there and does not answer in time (`Unreachable`), and one
answers with a problem (`Answered`, or `queue.errors`' codes by way of it).
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from dropmill.cli.errors import Answered, NotPermitted, Unreachable
from dropmill.control import sockets

__all__ = ["Client", "NoAgent"]

_CONNECT = 5.0
_ALIVE = 5.0
_ANSWER = 75.0
"""The agent itself gives up on a request after 60 s, and says so."""


class NoAgent(Exception):
    """Nobody listens on the socket."""


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, connect: float, answer: float) -> None:
        super().__init__("dropmill", timeout=answer)
        self._path = path
        self._connect = connect
        self._answer = answer

    def connect(self) -> None:
        self.sock: socket.socket = sockets.connect(self._path, self._connect)
        self.sock.settimeout(self._answer)


class Client:
    """One agent's API. A connection is opened for each request: a command asks few things."""

    def __init__(self, path: Path, *, connect: float = _CONNECT, answer: float = _ANSWER) -> None:
        self.path = path
        self._connect = connect
        self._answer = answer

    def answers(self) -> bool:
        """Whether an agent listens; one that does must then answer within `_ALIVE` seconds.

        Raises:
            Unreachable: it does not, or is no agent.
            NotPermitted: the socket is somebody else's.
        """
        try:
            Client(self.path, connect=self._connect, answer=_ALIVE).get("/livez")
        except NoAgent:
            return False
        return True

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """The JSON of an answer; `query` may hold lists, and None for what is not asked.

        Raises:
            NoAgent, Unreachable, NotPermitted, Answered
        """
        pairs = [
            (name, part if isinstance(part, str) else json.dumps(part))
            for name, value in (query or {}).items()
            if value is not None
            for part in (value if isinstance(value, list | tuple) else (value,))
        ]
        text = urlencode(pairs, quote_via=quote, errors="surrogateescape")
        return self._ask("GET", f"{path}?{text}" if text else path, None)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The JSON of an answer.

        Raises:
            NoAgent, Unreachable, NotPermitted, Answered
        """
        return self._ask("POST", path, json.dumps(body).encode())

    def _ask(self, method: str, target: str, body: bytes | None) -> Any:
        connection = _Connection(self.path, self._connect, self._answer)
        headers = {"accept": "application/json", "connection": "close"}
        if body is not None:
            headers["content-type"] = "application/json"
        try:
            connection.request(method, target, body, headers)
            answer = connection.getresponse()
            data = answer.read()
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
            raise NoAgent from None
        except PermissionError:
            raise NotPermitted(
                "the agent's socket may not be used by this user",
                where=str(self.path),
                todo="run the command as the user that runs the agent, or as root",
            ) from None
        except TimeoutError:
            raise self._silent("the agent does not answer in time") from None
        except (OSError, http.client.HTTPException) as error:
            raise self._silent(f"the agent broke off: {error or type(error).__name__}") from None
        finally:
            connection.close()
        try:
            shape = json.loads(data)
        except ValueError:
            raise self._silent(f"what answers ({answer.status}) is not a dropmill agent") from None
        if answer.status >= 400:
            raise Answered(shape if isinstance(shape, dict) else {}, status=answer.status)
        return shape

    def _silent(self, what: str) -> Unreachable:
        return Unreachable(
            what,
            where=str(self.path),
            todo="look at the agent's log and process; if it hangs, stop it and start it again",
        )
