"""What a newcomer does: the two commands of the README in a fresh clone, and the same from a wheel, with a contributed plugin."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(600), pytest.mark.xdist_group("newcomer")]

CLEAN = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("COV", "COVERAGE", "VIRTUAL_ENV", "PYTHON"))
}


def wait_for(condition, process: subprocess.Popen[bytes], output: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, output.read_text()
        assert time.monotonic() < deadline, output.read_text()
        time.sleep(0.1)


def drop_and_stop(process: subprocess.Popen[bytes], demo: Path, output: Path) -> None:
    """Drop one file once the folder is watched; its report appears; the stop is clean."""
    wait_for(lambda: "agent.ready" in output.read_text(), process, output, 400)
    sample = ROOT / "tests" / "data" / "junit" / "junitparser__normal.xml"
    shutil.copy(sample, demo / "inbox")
    wait_for(lambda: list((demo / "reports").glob("*.json")), process, output, 30)
    wait_for(lambda: (demo / "inbox" / "done" / sample.name).exists(), process, output, 30)
    (report,) = (demo / "reports").glob("*.json")
    assert json.loads(report.read_bytes())["source"]["path"] == sample.name
    os.killpg(process.pid, signal.SIGINT)  # Ctrl+C
    process.wait(30)
    assert '"exit_code": 0' in output.read_text()


def test_make_run_in_a_fresh_clone(tmp_path):
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    output = tmp_path / "output"
    with output.open("wb") as log:
        process = subprocess.Popen(
            ["make", "run", f"PYTHON={sys.executable}"],
            cwd=clone,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env=CLEAN,
            start_new_session=True,
        )
    try:
        drop_and_stop(process, clone / "demo", output)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    told = output.read_text()
    assert str(clone / "demo" / "inbox") in told
    assert str(clone / "demo" / "reports") in told


def test_wheel_and_contributed_plugin_in_a_clean_environment(tmp_path):
    """CI builds both distributions, installs the wheels alone, and runs the contributed plugin's own tests beside them."""
    dist = tmp_path / "dist"
    for source in (ROOT, ROOT / "plugins_contrib" / "dropmill-xlsx"):
        subprocess.run(
            [sys.executable, "-m", "build", "--wheel", "--outdir", str(dist), str(source)],
            check=True,
            capture_output=True,
            env=CLEAN,
        )
    wheels = sorted(map(str, dist.glob("*.whl")))
    assert len(wheels) == 2
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True, env=CLEAN)
    subprocess.run(
        [str(venv / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", *wheels, "pytest"],
        check=True,
        env=CLEAN,
    )
    command = str(venv / "bin" / "dropmill")

    tests = subprocess.run(
        [
            str(venv / "bin" / "pytest"),
            "-q",
            "-p",
            "no:cacheprovider",
            str(ROOT / "plugins_contrib" / "dropmill-xlsx" / "tests"),
        ],
        cwd=tmp_path,
        env=CLEAN,
        capture_output=True,
        text=True,
    )
    assert tests.returncode == 0, tests.stdout

    demo = tmp_path / "demo"
    subprocess.run([command, "init", str(demo)], check=True, cwd=tmp_path, env=CLEAN, capture_output=True)
    output = tmp_path / "output"
    with output.open("wb") as log:
        process = subprocess.Popen(
            [command, "run", "--config", str(demo / "dropmill.toml")],
            cwd=tmp_path,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env=CLEAN,
            start_new_session=True,
        )
    try:
        drop_and_stop(process, demo, output)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0

    # The contributed plugin, by config alone.
    config = demo / "dropmill.toml"
    text = config.read_text()
    text = text.replace('enable = ["csv",', 'enable = ["xlsx", "csv",').replace(
        'converters = ["junit",', 'converters = ["xlsx", "junit",'
    )
    config.write_text(text)
    sample = ROOT / "tests" / "data" / "excel" / "calamine__temperature-table.xlsx"
    tried = subprocess.run(
        [command, "try", str(sample), "--folder", "inbox", "--config", str(config)],
        env=CLEAN,
        capture_output=True,
        text=True,
    )
    assert tried.returncode == 0, tried.stderr
    assert json.loads(tried.stdout.splitlines()[0])["source"]["converter"]["distribution"] == "dropmill-xlsx"
