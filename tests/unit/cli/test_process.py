"""The command as a process of its own: what it imports, and how it ends when its reader goes away."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = str(Path(sys.executable).with_name("dropmill"))

HEAVY = {
    "aiohttp",
    "asyncio",
    "jsonschema",
    "jsonschema_rs",
    "lxml",
    "orjson",
    "pluggy",
    "rich",
    "sqlite3",
    "starlette",
    "structlog",
    "uvicorn",
    "watchdog",
}
"""What takes long to import, and what an agent is made of."""

SCRIPT = """
import sys, threading
from dropmill.cli import main
try:
    main()
except SystemExit as ended:
    print("ended with", ended.code, file=sys.stderr)
print("imported", *sys.modules, file=sys.stderr)
"""

SERVER = """
import socket, sys
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen()
print("up", flush=True)
for body in (b'{"live":true}', b'{"items":[],"next":null}'):
    connection, _ = server.accept()
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\\r\\ncontent-length: %d\\r\\n\\r\\n" % len(body) + body)
    connection.close()
"""


def imported(*arguments: str) -> set[str]:
    unmeasured = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=unmeasured,
    )
    assert "ended with 0" in done.stderr, done.stderr
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("imported "))
    return {name.partition(".")[0] for name in line.split()[1:]}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["files", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    assert imported(*arguments) & HEAVY == set()


def test_asking_an_agent_imports_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "dropmill.toml").write_text("")
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(tmp_path / "state" / "agent.sock")], stdout=subprocess.PIPE
    ) as server:
        assert server.stdout is not None
        server.stdout.readline()
        assert imported("files", "--config", str(tmp_path / "dropmill.toml")) & HEAVY == set()


@pytest.mark.parametrize("arguments", [["--help"], ["plugins", "list"]])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_away_is_no_traceback(arguments: list[str], unbuffered: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [COMMAND, *arguments],
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


def test_an_error_that_nobody_hears_keeps_its_code() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([COMMAND, "nonsense"], stderr=writing, timeout=60, check=False)
    os.close(writing)
    assert done.returncode == 2


def test_run_takes_the_signals_over_before_it_imports_anything_else() -> None:
    script = (
        "import signal, sys\n"
        "sys.argv = ['dropmill', 'run', '--help']\n"
        "seen = []\n"
        "class Watch:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'click': seen.append(signal.getsignal(signal.SIGTERM))\n"
        "sys.meta_path.insert(0, Watch())\n"
        "from dropmill.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(seen[0] not in (signal.SIG_DFL, signal.SIG_IGN), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr.strip() == "True"
