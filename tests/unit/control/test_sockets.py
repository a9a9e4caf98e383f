"""The Unix socket's file: made, replaced, refused, removed."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dropmill.control import sockets
from dropmill.control.errors import SocketTaken

Place = Callable[[], Path]


@pytest.fixture(params=["short", "long"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    folder = tmp_path if request.param == "short" else tmp_path / ("d" * 120)
    folder.mkdir(exist_ok=True)
    return folder / "agent.sock"


def test_bound_socket_can_be_connected_to(path: Path) -> None:
    bound = sockets.bind(path)
    with sockets.connect(path, 1.0) as client:
        server, _ = bound.socket.accept()
        server.sendall(b"hello")
        assert client.recv(9) == b"hello"
        server.close()
    bound.close()
    assert not path.exists()


def test_mode_is_the_owners_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        bound = sockets.bind(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    bound.close()


def test_a_dead_agents_socket_is_replaced(path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from dropmill.control import sockets\n"
        "bound = sockets.bind(Path(sys.argv[1])); print('up', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as dead:
        assert dead.stdout is not None
        assert dead.stdout.readline() == "up\n"
        with pytest.raises(SocketTaken, match="another process answers"):
            sockets.bind(path)
        dead.send_signal(signal.SIGKILL)
    assert path.exists()
    with pytest.raises(ConnectionRefusedError):
        sockets.connect(path, 1.0)
    bound = sockets.bind(path)
    sockets.connect(path, 1.0).close()
    bound.close()
    assert list(path.parent.iterdir()) == []


def test_a_live_socket_with_a_full_backlog_is_not_stolen(path: Path) -> None:
    bound = sockets.bind(path, backlog=0)
    waiting = []
    try:
        while True:
            client = socket.socket(socket.AF_UNIX)
            client.setblocking(False)
            waiting.append(client)
            try:
                folder = os.open(path.parent, os.O_PATH)
                client.connect(f"/proc/self/fd/{folder}/{path.name}")
            except BlockingIOError:
                break
            finally:
                os.close(folder)
        with pytest.raises(TimeoutError):
            sockets.connect(path, 0.1)
        inode = path.stat().st_ino
        with pytest.raises(SocketTaken):
            sockets.bind(path)
        assert path.stat().st_ino == inode
    finally:
        for client in waiting:
            client.close()
        bound.close()


def test_something_else_in_its_place_is_left_alone(path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(SocketTaken, match="not a socket"):
        sockets.bind(path)
    assert path.read_text() == "precious"
    assert list(path.parent.iterdir()) == [path]


def test_a_link_to_elsewhere_is_left_alone(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SocketTaken, match="not a socket"):
        sockets.bind(path)
    assert path.is_symlink()


def test_close_leaves_a_successors_socket(path: Path) -> None:
    first = sockets.bind(path)
    path.unlink()
    second = sockets.bind(path)
    first.close()
    sockets.connect(path, 1.0).close()
    second.close()


def test_missing_folder_is_said_so(path: Path) -> None:
    with pytest.raises(SocketTaken, match=r"DM-H001.*No such file"):
        sockets.bind(path.parent / "missing" / "agent.sock")


def test_a_name_that_fits_nowhere_is_said_so(path: Path) -> None:
    with pytest.raises(SocketTaken, match="longer than 85 bytes"):
        sockets.bind(path.parent / ("n" * 200))


def test_of_many_that_bind_at_once_one_wins(path: Path) -> None:
    bound: list[sockets.BoundSocket] = []
    refused: list[SocketTaken] = []
    barrier = threading.Barrier(8)

    def attempt() -> None:
        barrier.wait()
        try:
            bound.append(sockets.bind(path))
        except SocketTaken as error:
            refused.append(error)

    threads = [threading.Thread(target=attempt) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(bound), len(refused)) == (1, 7)
    bound[0].close()


def test_a_locked_folder_is_waited_for_and_then_said_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    monkeypatch.setattr(sockets, "_PATIENCE", 0.1)
    other = os.open(path.parent, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    begun = time.monotonic()
    with pytest.raises(SocketTaken):
        sockets.bind(path)
    assert time.monotonic() - begun < 2
    os.close(other)
    sockets.bind(path).close()
