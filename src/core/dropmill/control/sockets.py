"""Both ends of the Unix socket: binding it so that only the owner may use it, replacing a dead agent's, and connecting.

A socket's address holds 107 bytes at most, a state folder's path may be longer; a longer path is reached through a
descriptor of its folder (`/proc/self/fd/N/NAME`), for which no name has to be agreed on and nothing can go stale. A socket
that somebody answers on is never taken away; all functions are synchronous.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dropmill.control.errors import SocketTaken
from dropmill.foundation.files import rename_no_replace

__all__ = ["ADDRESS_BYTES", "BoundSocket", "bind", "connect"]

ADDRESS_BYTES = 107
"""What fits into `sockaddr_un.sun_path`, its final NUL apart."""

_NAME_BYTES = ADDRESS_BYTES - len("/proc/self/fd/9999999/")

_PATIENCE = 5.0
"""Seconds to wait for another agent that is binding in the same folder."""


@dataclass(frozen=True)
class BoundSocket:
    """A listening socket at its final place."""

    socket: socket.socket
    path: Path
    identity: tuple[int, int]
    """Device and inode of the socket's file."""

    def close(self) -> None:
        """Close it, and remove its file unless another agent's lies there by now."""
        self.socket.close()
        with contextlib.suppress(OSError):
            found = self.path.stat(follow_symlinks=False)
            if (found.st_dev, found.st_ino) == self.identity:
                self.path.unlink()


def bind(path: Path, *, backlog: int = 128) -> BoundSocket:
    """Listen at `path`, mode 0600 from its first moment; what a dead agent left there is replaced.

    The socket is bound and listens under a temporary name first, so that whoever sees the final name can connect.

    Raises:
        SocketTaken: somebody answers at `path`, something other than a socket lies there, or it cannot be made.
    """
    if len(os.fsencode(path.name)) > _NAME_BYTES:
        raise SocketTaken(
            f"the control socket's file name is longer than {_NAME_BYTES} bytes",
            where=str(path),
            todo="set control.socket to a path with a shorter last part",
        )
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        with _locked(path.parent) as folder:
            temporary = f".{path.name[:60]}.{os.getpid()}"
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=folder)
            os.fchmod(listener.fileno(), 0o600)  # taken over by the file that bind() makes: there is no moment of 0777
            listener.bind(f"/proc/self/fd/{folder}/{temporary}")
            try:
                listener.listen(backlog)
                _refuse_if_alive(path)
                found = os.stat(temporary, dir_fd=folder, follow_symlinks=False)
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path.name, dir_fd=folder)
                rename_no_replace(
                    f"/proc/self/fd/{folder}/{temporary}",
                    f"/proc/self/fd/{folder}/{path.name}",
                )
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=folder)
                raise
    except OSError as error:
        listener.close()
        raise SocketTaken(
            f"the control socket cannot be made: {error.strerror or error}",
            where=str(path),
            todo="check that the state folder exists, that you may write to it and that its file system takes sockets,"
            " or set control.socket",
        ) from error
    except BaseException:
        listener.close()
        raise
    return BoundSocket(listener, path, (found.st_dev, found.st_ino))


def connect(path: Path, timeout: float) -> socket.socket:
    """A connected socket, with `timeout` set on it.

    Raises:
        FileNotFoundError, ConnectionRefusedError: no agent listens.
        PermissionError: the socket is somebody else's.
        TimeoutError: an agent is there and takes no connection.
    """
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        client.settimeout(timeout)
        if len(os.fsencode(path)) <= ADDRESS_BYTES:
            _connect(client, os.fspath(path), timeout)
        else:
            folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                _connect(client, f"/proc/self/fd/{folder}/{path.name}", timeout)
            finally:
                os.close(folder)
    except BaseException:
        client.close()
        raise
    return client


def _connect(client: socket.socket, address: str, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while True:
        try:
            client.connect(address)
        except BlockingIOError:  # a socket with a time limit answers a full backlog by EAGAIN, at once
            if time.monotonic() >= deadline:
                raise TimeoutError(errno.ETIMEDOUT, "no connection was accepted in time", address) from None
            time.sleep(0.02)
        else:
            return


def _refuse_if_alive(path: Path) -> None:
    try:
        mode = path.stat(follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise SocketTaken(
            "something that is not a socket lies where the control socket should be",
            where=str(path),
            todo="move it away, or set control.socket to another path",
        )
    try:
        connect(path, 1.0).close()
    except (ConnectionRefusedError, FileNotFoundError):
        return
    except TimeoutError:
        pass
    raise SocketTaken(
        "another process answers on the control socket",
        where=str(path),
        todo="stop the other agent, or give this one a state folder or control.socket of its own",
    )


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """A descriptor of the folder, locked: of two agents that start at once, one looks and binds after the other."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(0.02)
        yield descriptor
    finally:
        os.close(descriptor)
