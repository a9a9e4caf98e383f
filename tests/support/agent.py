"""Runs the installed `dropmill` command as a user would: a config file, a folder, a process, signals and the command line."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

COMMAND = str(Path(sys.executable).with_name("dropmill"))


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(10)
        folder = os.open(self._path.parent, os.O_PATH)  # a Unix socket's path is limited to 107 bytes
        try:
            self.sock.connect(f"/proc/self/fd/{folder}/{self._path.name}")
        finally:
            os.close(folder)


class Agent:
    """One agent's home folder with its config; start it, kill it, ask it."""

    def __init__(self, home: Path, config: str, *, environment: dict[str, str] | None = None) -> None:
        self.home = home
        home.mkdir(parents=True, exist_ok=True)
        self.config = home / "dropmill.toml"
        self.config.write_text(config, encoding="utf-8")
        self.environment = {**os.environ, **(environment or {})}
        self.process: subprocess.Popen[bytes] | None = None
        self.log = home / "agent.log"

    def start(self, *, wait: bool = True, environment: dict[str, str] | None = None) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [COMMAND, "run", "--config", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**self.environment, **(environment or {})},
                start_new_session=True,
            )
        if wait:
            self.wait_for(self.ready, "the agent to answer", 30)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def ready(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            raise AssertionError(f"the agent ended with {self.process.returncode}:\n{self.tail()}")
        try:
            return self.get("/v1/status")["state"] in ("running", "degraded")
        except (OSError, http.client.HTTPException, ValueError):
            return False

    def get(self, path: str) -> Any:
        """The control API's answer to a GET over the Unix socket."""
        connection = _UnixConnection(self.home / "state" / "agent.sock")
        try:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def kill(self) -> None:
        """kill -9: the agent alone, as the kernel's out-of-memory killer would."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self, number: int = signal.SIGTERM, *, timeout: float = 30) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout)

    def run(self, *arguments: str, check: int | None = 0, timeout: float = 60, text: str | None = None) -> Any:
        """One command; `check` is the exit code that it must end with."""
        done = subprocess.run(
            [COMMAND, *arguments, "--config", str(self.config)],
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=timeout,
            cwd=self.home,
            input=text,
        )
        if check is not None:
            assert done.returncode == check, (
                f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}\n{self.tail()}"
            )
        return done

    def json(self, *arguments: str, check: int | None = 0) -> Any:
        return json.loads(self.run(*arguments, "--json", check=check).stdout)

    def tail(self, lines: int = 40) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""

    def wait_for(self, condition: Callable[[], bool], what: str, timeout: float = 60) -> None:
        """Poll until the condition holds; the log's end comes with the failure."""
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {timeout} s for {what}\n{self.tail()}")
            time.sleep(0.05)

    def idle(self) -> bool:
        """Nothing waits, converts or is to be sent."""
        counts = self.get("/v1/status")
        return not (
            any(counts["files"].get(state, 0) for state in ("claimed", "converting", "converted"))
            or any(
                lane.get(state, 0) for lane in counts["deliveries"].values() for state in ("ready", "leased", "delayed")
            )
        )


@contextmanager
def running(agent: Agent) -> Iterator[Agent]:
    """Start it, and leave no process behind whatever happens."""
    agent.start()
    try:
        yield agent
    finally:
        if agent.process is not None and agent.process.poll() is None:
            agent.process.kill()
            agent.process.wait(10)


def drop(data: bytes, folder: Path, name: str) -> None:
    """Drop a file the right way: written elsewhere on the same disk, then renamed into the folder."""
    temporary = folder / f".{name[:100]}.tmp"
    temporary.write_bytes(data)
    temporary.rename(folder / name)


def drop_slowly(data: bytes, folder: Path, name: str, *, pieces: int, over: float) -> None:
    """Drop a file as a slow program does: opened in place, written piece by piece."""
    size = max(1, -(-len(data) // pieces))
    with (folder / name).open("wb", buffering=0) as stream:
        for start in range(0, len(data), size):
            stream.write(data[start : start + size])
            time.sleep(over / pieces)
