"""What the commands ask for, answered by the running agent or, with none, straight from the store: the same shapes from both.

`reach` decides which. A command that only reads opens the store read-only; one that changes something takes `owner.lock`, exactly
as an agent does. A lock that is held while nobody answers on the socket is an error of its own: an agent that is starting, hangs,
or has lost its socket.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast
from urllib.parse import quote

from dropmill.cli.client import Client
from dropmill.cli.errors import NotPermitted, Unreachable
from dropmill.foundation.lock import FileLock, Holder

if TYPE_CHECKING:
    from dropmill.cli.session import Session
    from dropmill.control import shapes

__all__ = ["COMMAND", "Backend", "Remote", "agent", "reach"]

COMMAND = "command "
"""How a command's name for itself in `owner.lock` begins."""

_GRACE = 3.0
"""Seconds in which an agent that has its lock may come to have its socket, or a command come to its end."""


class Backend(Protocol):
    """The answers are the shapes of `dropmill.control.shapes`."""

    def status(self) -> shapes.StatusShape: ...

    def files(self, wanted: Mapping[str, Any], after: str | None, limit: int) -> shapes.FilePage: ...

    def file(self, file_id: str) -> shapes.FileDetailShape: ...

    def deliveries(self, wanted: Mapping[str, Any], after: str | None, limit: int) -> shapes.DeliveryPage: ...

    def delivery(self, delivery_id: int) -> shapes.DeliveryDetailShape: ...

    def explain(self, path: str) -> shapes.ExplanationShape: ...

    def submit(self, paths: Sequence[Path], folder: str | None) -> shapes.SubmittedShape: ...

    def retry(self, body: Mapping[str, Any]) -> shapes.ChangedShape: ...

    def drop(self, body: Mapping[str, Any]) -> shapes.ChangedShape: ...


class Remote:
    """A running agent."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def status(self) -> shapes.StatusShape:
        return cast("shapes.StatusShape", self.client.get("/v1/status"))

    def files(self, wanted: Mapping[str, Any], after: str | None, limit: int) -> shapes.FilePage:
        return cast("shapes.FilePage", self.client.get("/v1/files", {**wanted, "after": after, "limit": limit}))

    def file(self, file_id: str) -> shapes.FileDetailShape:
        return cast("shapes.FileDetailShape", self.client.get(f"/v1/files/{_segment(file_id)}"))

    def deliveries(self, wanted: Mapping[str, Any], after: str | None, limit: int) -> shapes.DeliveryPage:
        return cast(
            "shapes.DeliveryPage", self.client.get("/v1/deliveries", {**wanted, "after": after, "limit": limit})
        )

    def delivery(self, delivery_id: int) -> shapes.DeliveryDetailShape:
        return cast("shapes.DeliveryDetailShape", self.client.get(f"/v1/deliveries/{delivery_id}"))

    def explain(self, path: str) -> shapes.ExplanationShape:
        return cast("shapes.ExplanationShape", self.client.get("/v1/explain", {"path": path}))

    def submit(self, paths: Sequence[Path], folder: str | None) -> shapes.SubmittedShape:
        body: dict[str, Any] = {"paths": [str(path) for path in paths]}
        if folder is not None:
            body["folder"] = folder
        return cast("shapes.SubmittedShape", self.client.post("/v1/submit", body))

    def retry(self, body: Mapping[str, Any]) -> shapes.ChangedShape:
        return cast("shapes.ChangedShape", self.client.post("/v1/retry", body))

    def drop(self, body: Mapping[str, Any]) -> shapes.ChangedShape:
        return cast("shapes.ChangedShape", self.client.post("/v1/drop", body))


def _segment(text: str) -> str:
    return quote(text, safe="", errors="surrogateescape")


def agent(session: Session) -> Remote:
    """The running agent, for commands that need one.

    Raises:
        Unreachable: there is none.
    """
    found = reach(session)
    if isinstance(found, Remote):
        return found
    raise Unreachable(
        "no agent runs", where=str(session.place.socket), todo=f"start it with `dropmill run --config {session.config}`"
    )


def reach(session: Session, *, writes: bool = False) -> Backend:
    """The running agent, or else the store.

    Raises:
        Unreachable: somebody holds the store, and nobody answers.
        NotPermitted: socket or state folder are somebody else's.
    """
    place = session.place
    client = Client(place.socket)
    deadline = time.monotonic() + _GRACE
    while not client.answers():
        holder = _holder(place.state)
        if holder is None or (holder.instance.startswith(COMMAND) and not writes):
            from dropmill.cli.local import Local

            return Local(session)
        if time.monotonic() > deadline:
            raise Unreachable(
                f"the store is held by {holder}, and nobody answers on the control socket",
                where=str(place.socket),
                todo="if it is an agent that starts or stops, wait; if it hangs, end that process",
            )
        time.sleep(0.05)
    return Remote(client)


def _holder(state: Path) -> Holder | None:
    try:
        return FileLock.holder(state / "owner.lock")
    except PermissionError:
        raise NotPermitted(
            "the state folder may not be read by this user",
            where=str(state),
            todo="run the command as the user that runs the agent, or as root",
        ) from None
    except OSError:
        return None
