"""The systemd unit: its limits fit the stop's, the service manager can read it, it is hardened."""

from __future__ import annotations

import getpass
import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from dropmill.cli.codes import Exit
from dropmill.config.settings import ShutdownSettings
from dropmill.supervision.exits import ExitCode
from dropmill.supervision.shutdown import StopPlan
from dropmill.supervision.supervisor import Vigilance

UNIT = Path(__file__).parents[3] / "packaging" / "dropmill.service"
ANALYZE = shutil.which("systemd-analyze")


def read() -> dict[str, list[str]]:
    settings: defaultdict[str, list[str]] = defaultdict(list)
    for line in UNIT.read_text().splitlines():
        if line and not line.startswith(("#", "[")):
            name, _, value = line.partition("=")
            settings[name].append(value)
    return dict(settings)


def seconds(name: str) -> float:
    [value] = read()[name]
    assert value.isdecimal(), "plain seconds, so that everybody reads them alike"
    return float(value)


def test_its_time_limits_leave_room_for_the_stop() -> None:
    shutdown = ShutdownSettings()
    plan = StopPlan(graceful=shutdown.graceful, force=shutdown.force)
    assert seconds("TimeoutStopSec") >= shutdown.force + 10
    assert seconds("TimeoutStopSec") > plan.hard_deadline([0.0]), "we end before we are ended"
    assert (StopPlan().graceful, StopPlan().force) == (shutdown.graceful, shutdown.force)


def test_its_watchdog_is_slower_than_any_honest_pause() -> None:
    assert seconds("WatchdogSec") / 2 > StopPlan().reserve, "the verification holds the loop up to this long"
    assert seconds("WatchdogSec") == Vigilance().gil_limit
    assert seconds("TimeoutStartSec") > Vigilance().ready_within


def test_it_restarts_what_failed_and_only_that() -> None:
    unit = read()
    assert unit["Type"] == ["notify"]
    assert unit["NotifyAccess"] == ["main"]
    assert unit["Restart"] == ["on-failure"]
    assert unit["RestartSec"] == ["5"]
    hopeless = {int(code) for code in unit["RestartPreventExitStatus"][0].split()}
    assert hopeless == {Exit.USAGE, Exit.BAD_CONFIG}
    assert {int(code) for code in unit["SuccessExitStatus"][0].split()} == {ExitCode.CANCELLED}
    assert not hopeless & {ExitCode.UNDEAD, ExitCode.DEADLINE, ExitCode.ERROR}


def test_workers_outlive_the_signal_and_nothing_outlives_the_unit() -> None:
    unit = read()
    assert unit["KillMode"] == ["mixed"]
    assert unit["SendSIGKILL"] == ["yes"]
    assert unit["KillSignal"] == ["SIGTERM"]
    assert unit["OOMPolicy"] == ["continue"]


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    assert ANALYZE is not None
    return subprocess.run([ANALYZE, *arguments], capture_output=True, text=True, timeout=60)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The unit with a command and a user that exist here."""
    text = re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={shutil.which('true')}", UNIT.read_text())
    text = re.sub(r"(?m)^(User|Group)=.*", rf"\1={getpass.getuser()}", text)
    path = tmp_path / UNIT.name
    path.write_text(text)
    return path


@pytest.mark.skipif(ANALYZE is None, reason="systemd is not installed")
def test_systemd_can_read_it(installed: Path) -> None:
    result = analyze("verify", str(installed))
    about_it = [line for line in (result.stdout + result.stderr).splitlines() if installed.name in line]
    assert (result.returncode, about_it) == (0, [])


@pytest.mark.skipif(ANALYZE is None, reason="systemd is not installed")
def test_systemd_finds_what_is_wrong_with_a_broken_one(installed: Path) -> None:
    """So that the test above can fail."""
    installed.write_text(installed.read_text().replace("KillMode=mixed", "KillMode=gently"))
    assert installed.name in analyze("verify", str(installed)).stderr


@pytest.mark.skipif(ANALYZE is None, reason="systemd is not installed")
def test_it_is_hardened(installed: Path) -> None:
    result = analyze("security", "--offline=true", "--threshold=25", str(installed))
    if "unrecognized option" in result.stderr or "Unknown option" in result.stderr:
        pytest.skip("this systemd cannot judge a file")
    assert result.returncode == 0, result.stdout[-300:]
