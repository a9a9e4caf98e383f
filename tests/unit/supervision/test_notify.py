"""sd_notify against real sockets."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from dropmill.supervision.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A service manager's socket, and the address as NOTIFY_SOCKET has it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        if request.param == "path":
            folder = Path("/tmp") / f"dm-notify-{os.getpid()}"  # short: a socket's path may have 107 bytes
            folder.mkdir(exist_ok=True)
            address = str(folder / "notify")
            receiver.bind(address)
        else:
            address = f"@dropmill-test-{os.getpid()}-{request.node.name}"
            receiver.bind("\0" + address[1:])
        receiver.setblocking(False)
        yield receiver, address
    if request.param == "path":
        os.unlink(address)
        folder.rmdir()


def received(receiver: socket.socket) -> list[str]:
    messages = []
    while True:
        try:
            messages.append(receiver.recv(65536).decode())
        except BlockingIOError:
            return messages


def test_every_message(manager: tuple[socket.socket, str]) -> None:
    receiver, address = manager
    notifier = Notifier(address, watchdog_interval=5.0, monotonic=lambda: 12.5)
    assert notifier.enabled
    notifier.ready()
    notifier.reloading()
    notifier.status("degraded: two\nlines\tand   spaces")
    notifier.status("degraded: two lines and spaces")
    notifier.watchdog()
    notifier.extend(15)
    notifier.stopping()
    notifier.close()
    assert received(receiver) == [
        "READY=1",
        "RELOADING=1\nMONOTONIC_USEC=12500000",
        "STATUS=degraded: two lines and spaces",
        "WATCHDOG=1",
        "EXTEND_TIMEOUT_USEC=15000000",
        "STOPPING=1",
    ]
    assert notifier.lost == 0


def test_a_status_is_bounded(manager: tuple[socket.socket, str]) -> None:
    receiver, address = manager
    notifier = Notifier(address)
    notifier.status("x" * 5000)
    notifier.close()
    assert received(receiver) == ["STATUS=" + "x" * 400]


def test_without_a_manager_nothing_happens() -> None:
    notifier = Notifier(None, watchdog_interval=5.0)
    assert not notifier.enabled
    assert notifier.watchdog_interval is None
    notifier.ready()
    notifier.watchdog()
    notifier.close()
    assert notifier.lost == 0


def test_a_manager_that_is_gone_is_counted_and_forgiven() -> None:
    notifier = Notifier("/nonexistent/notify")
    notifier.ready()
    notifier.watchdog()
    notifier.close()
    assert notifier.lost == 2


def test_a_full_buffer_never_blocks_and_keeps_states_but_no_watchdogs(manager: tuple[socket.socket, str]) -> None:
    receiver, address = manager
    notifier = Notifier(address)
    for n in range(2000):
        notifier.status(f"filling {n}")
    notifier.stopping()
    notifier.watchdog()
    before = received(receiver)
    assert "STOPPING=1" not in before, "the buffer was full"
    notifier.extend(15)
    notifier.close()
    assert received(receiver) == ["STATUS=filling 1999", "STOPPING=1", "EXTEND_TIMEOUT_USEC=15000000"]
    assert notifier.lost == 0


@pytest.mark.parametrize(
    ("environment", "enabled", "interval"),
    [
        ({}, False, None),
        ({"NOTIFY_SOCKET": ""}, False, None),
        ({"NOTIFY_SOCKET": "relative"}, False, None),
        ({"NOTIFY_SOCKET": "vsock:2:1234"}, False, None),
        ({"WATCHDOG_USEC": "5000000"}, False, None),
        ({"NOTIFY_SOCKET": "/run/n"}, True, None),
        ({"NOTIFY_SOCKET": "@n", "WATCHDOG_USEC": "5000000"}, True, 5.0),
        ({"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "5000000", "WATCHDOG_PID": str(os.getpid())}, True, 5.0),
        ({"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "5000000", "WATCHDOG_PID": "1"}, True, None),
        ({"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "soon"}, True, None),
        ({"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "0"}, True, None),
    ],
)
def test_from_the_environment_which_is_then_clean(
    environment: dict[str, str], enabled: bool, interval: float | None
) -> None:
    left = environment | {"PATH": "/bin"}
    notifier = Notifier.from_environment(left)
    assert (notifier.enabled, notifier.watchdog_interval) == (enabled, interval)
    assert left == {"PATH": "/bin"}, "worker processes must not inherit it"
