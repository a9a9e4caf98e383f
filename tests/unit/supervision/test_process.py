"""The end of the process: what is left behind decides how it is ended. Real processes are in tests/integration."""

from __future__ import annotations

import asyncio
import logging

import pytest

from dropmill.supervision.exits import ExitCode
from dropmill.supervision.process import run_process


@pytest.fixture(autouse=True)
def _keep_logging(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "shutdown", lambda: None)


async def clings(times: int) -> None:
    while times:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            times -= 1


def test_nothing_left_behind() -> None:
    ended: list[int] = []

    async def main() -> ExitCode:
        asyncio.ensure_future(asyncio.sleep(1000))  # noqa: RUF006
        await asyncio.sleep(0)
        return ExitCode.CANCELLED

    assert run_process(main, end=ended.append) == ExitCode.CANCELLED
    assert ended == []


@pytest.mark.parametrize(
    ("code", "ends"), [(ExitCode.CLEAN, 11), (ExitCode.CANCELLED, 11), (ExitCode.UNDEAD, 11), (ExitCode.ERROR, 70)]
)
def test_a_task_that_will_not_end(code: ExitCode, ends: int, caplog: pytest.LogCaptureFixture) -> None:
    ended: list[int] = []
    kept: list[asyncio.Task[None]] = []

    async def main() -> ExitCode:
        kept.append(asyncio.ensure_future(clings(2)))
        kept[0].set_name("the leech")
        await asyncio.sleep(0)
        return code

    assert run_process(main, end=ended.append) == ends
    assert ended == [ends]
    assert "DM-S005: the task the leech did not end" in caplog.text
    assert "in clings" in caplog.text


def test_a_main_that_fails_is_raised() -> None:
    ended: list[int] = []

    async def main() -> ExitCode:
        raise SystemExit(4)

    with pytest.raises(SystemExit):
        run_process(main, end=ended.append)
    assert ended == []


def test_a_main_that_fails_and_leaves_a_task_behind(caplog: pytest.LogCaptureFixture) -> None:
    ended: list[int] = []
    kept: list[asyncio.Task[None]] = []

    async def main() -> ExitCode:
        kept.append(asyncio.ensure_future(clings(2)))
        await asyncio.sleep(0)
        raise ValueError("no config")

    with pytest.raises(ValueError, match="no config"):
        run_process(main, end=ended.append)
    assert ended == [1]
    assert "no config" in caplog.text


def test_streams_that_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr("sys.stdout", None)

    async def main() -> ExitCode:
        return ExitCode.UNDEAD

    assert run_process(main, end=ended.append) == ExitCode.UNDEAD
    assert ended == [11]
