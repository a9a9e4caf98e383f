"""Runs commands in this process, with streams of bytes as a shell would give them."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dropmill.cli.root import execute


@dataclass
class Ended:
    """How a command ended."""

    code: int
    data: bytes
    err: str

    @property
    def out(self) -> str:
        return self.data.decode("utf-8", "surrogateescape")

    @property
    def json(self) -> Any:
        return json.loads(self.data)

    @property
    def problem(self) -> Any:
        return json.loads(self.err.splitlines()[-1])


Run = Callable[..., Ended]


@pytest.fixture
def run() -> Run:
    def command(*arguments: str, code: int | None = 0) -> Ended:
        streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2)]
        with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
            ended = execute(list(arguments))
        out, err = (stream.buffer.getvalue() for stream in streams)
        assert code is None or ended == code, (ended, out, err)
        return Ended(ended, out, err.decode("utf-8", "surrogateescape"))

    return command


@pytest.fixture
def home(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that `dropmill init` made, as the current one."""
    run("init", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "home")
    return tmp_path / "home"
