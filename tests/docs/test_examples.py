"""Does what README and `docs/plugins.md` tell a reader to do, and holds what they show to what comes of it."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
COMMAND = Path(sys.executable).with_name("dropmill")

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(180), pytest.mark.xdist_group("documentation")]


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


def block(page: str, language: str, word: str) -> str:
    (found,) = [text for text in blocks(page, language) if word in text]
    return found


class Place:
    """A reader's folder: distributions that he has installed, and a shell in which `dropmill` is found."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.site = home / "site"
        self.site.mkdir()
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("DROPMILL")},
            "PATH": f"{COMMAND.parent}:{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join([str(self.site), *filter(None, [os.environ.get("PYTHONPATH")])]),
        }

    def install(self, distribution: str, version: str, entry_points: dict[str, dict[str, str]], **modules: str) -> None:
        """What `pip install` leaves behind: the modules, and a dist-info folder."""
        for name, text in modules.items():
            (self.site / f"{name}.py").write_text(text)
        info = self.site / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        lines = [
            line
            for group, points in entry_points.items()
            for line in (f"[{group}]", *(f"{name} = {value}" for name, value in points.items()))
        ]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")

    def configured(self, plugin: str) -> None:
        """A sample configuration that enables one more plugin, and gives its folder the converter of that name."""
        assert self.run("dropmill", "init", ".").returncode == 0
        config = self.home / "dropmill.toml"
        text, changes = re.subn(
            r"^(enable|converters) = \[", rf'\g<0>"{plugin}", ', config.read_text(), flags=re.MULTILINE
        )
        assert changes == 2
        config.write_text(text)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.home, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )

    def terminal(self, line: str) -> str:
        """What a shell shows for a line that is typed into it."""
        master, slave = pty.openpty()
        shell = subprocess.Popen(
            ["bash", "-c", f"stty cols 100; {line}"],
            cwd=self.home,
            env={**self.environment, "TERM": "xterm"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        shown = b""
        try:
            while chunk := os.read(master, 65536):
                shown += chunk
        except OSError:
            pass  # the last process has closed its side
        finally:
            os.close(master)
        shell.wait(30)
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode()).replace("\r\n", "\n")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


# --- docs/plugins.md -----------------------------------------------------------------------------------------------------


@pytest.fixture
def keyvalue(place: Place) -> Place:
    """The page's plugin, installed and enabled."""
    project = tomllib.loads(block("docs/plugins.md", "toml", "dropmill-keyvalue"))["project"]
    code = block("docs/plugins.md", "python", "class KeyValueConverter")
    place.install(project["name"], project["version"], project["entry-points"], dropmill_keyvalue=code)
    place.configured("keyvalue")
    return place


def test_the_plugin_of_the_page_is_loaded(keyvalue: Place) -> None:
    checked = keyvalue.run("dropmill", "plugins", "check", "keyvalue", "--json")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    (plugin,) = json.loads(checked.stdout)["items"]
    assert plugin["state"] == "loaded"
    assert plugin["problems"] == []
    assert [one["id"] for one in plugin["converters"]] == ["keyvalue"]
    sample = keyvalue.run("dropmill", "plugins", "show", "keyvalue", "--sample")
    assert 'separator = "="' in sample.stdout


def test_the_plugin_of_the_page_converts_a_good_file(keyvalue: Place) -> None:
    (keyvalue.home / "unit-42.kv").write_text("SERIAL=42\nRESULT=PASS\n")
    tried = keyvalue.run("dropmill", "try", "unit-42.kv", "--converter", "keyvalue")
    assert tried.returncode == 0, tried.stderr
    report = json.loads(tried.stdout)
    assert report["unit"]["serial"] == "42"
    assert report["outcome"] == report["root"]["outcome"] == "passed"
    assert report["source"]["converter"] == {
        "name": "keyvalue",
        "version": "1.0.0",
        "distribution": "dropmill-keyvalue",
    }


@pytest.mark.parametrize(
    ("content", "code", "line"),
    [
        pytest.param("SERIAL=42\nRESULT\n", "KEYVALUE-NO-SEPARATOR", 2, id="a line without a separator"),
        pytest.param("SERIAL=42\n", "KEYVALUE-NO-RESULT", None, id="cut off"),
    ],
)
def test_the_plugin_of_the_page_refuses_a_bad_file(keyvalue: Place, content: str, code: str, line: int | None) -> None:
    (keyvalue.home / "unit-42.kv").write_text(content)
    tried = keyvalue.run("dropmill", "try", "unit-42.kv", "--converter", "keyvalue")
    assert tried.returncode == 3
    assert tried.stdout == ""
    refusal = json.loads(tried.stderr)
    assert (refusal["code"], refusal["line"]) == (code, line)


def test_the_test_of_the_page_passes(keyvalue: Place) -> None:
    (keyvalue.home / "test_keyvalue.py").write_text(block("docs/plugins.md", "python", "from dropmill.testing"))
    ran = keyvalue.run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_keyvalue.py")
    assert ran.returncode == 0, ran.stdout
    assert "1 passed" in ran.stdout


# --- README --------------------------------------------------------------------------------------------------------------


def test_the_plugin_of_the_readme_converts_a_file(place: Place) -> None:
    code = block("README.md", "python", "class WeightsConverter")
    place.install("acme-weights", "1.0", {"dropmill.plugins.v1": {"weights": "acme_weights"}}, acme_weights=code)
    place.configured("weights")
    assert place.run("dropmill", "plugins", "check", "weights").returncode == 0
    (place.home / "good.weight").write_text("A1 249\nA2 251\n")
    tried = place.run("dropmill", "try", "good.weight", "--converter", "weights")
    assert tried.returncode == 0, tried.stderr
    reports = [json.loads(line) for line in tried.stdout.splitlines()]
    assert [(report["unit"]["serial"], report["outcome"]) for report in reports] == [("A1", "passed"), ("A2", "failed")]
    (place.home / "bad.weight").write_text("A1 249\nA2\n")
    tried = place.run("dropmill", "try", "bad.weight", "--converter", "weights")
    assert tried.returncode == 3
    assert json.loads(tried.stderr)["line"] == 2


def tour() -> Iterator[tuple[str, str]]:
    """The commands that README shows, in order, each with what it says that they print."""
    for text in blocks("README.md", "console"):
        command, shown = "", ""
        for line in text.splitlines():
            if line.startswith("$ "):
                if command:
                    yield command, shown
                command, shown = line[2:], ""
            else:
                shown += line + "\n"
        yield command, shown


VARIABLE: list[tuple[str, str | Callable[[Any], str]]] = [
    (r"[0-9a-f]{64}", "SHA256"),
    (r"[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", "UUID"),
    (r"\b[0-9a-hjkmnp-tv-z]{16}\b", "ID"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME"),
    (r"process \d+", "process PID"),
    (r"\d+ bytes", "N bytes"),
    (r"the oldest waits \d+\.\d s", "the oldest waits N s"),
]
"""What is another each time. The size of a report is: it holds the version, and times."""


def usual(shown: str, home: str) -> list[str]:
    """What does not change from one time to the next, without empty lines and white space at the end; lists in any order."""
    text = shown.replace(home, "/home/you")
    for pattern, name in VARIABLE:
        text = re.sub(pattern, name, text)
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return sorted(lines) if lines and "\t" in lines[0] else lines


@pytest.fixture
def agent(place: Place) -> Iterator[Callable[[str], str]]:
    """Starts the agent by the line that README has for it; answers with what that printed. It is stopped in the end."""
    started: list[subprocess.Popen[str]] = []

    def start(line: str) -> str:
        output, log = place.home / "output", place.home / "log"
        with output.open("w") as out, log.open("w") as errors:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {line}"],
                cwd=place.home,
                env=place.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        started.append(process)
        deadline = time.monotonic() + 60
        while "agent.ready" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        return output.read_text()

    yield start
    for process in started:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_the_tour_of_the_readme(place: Place, agent: Callable[[str], str]) -> None:
    """Every command is run as written, in order; what it prints must come to be what README shows."""
    ran = []
    for command, shown in tour():
        expected = usual(shown, str(place.home))
        if variable := re.fullmatch(r"export (\w+)=(\S+)", command):
            place.environment[variable[1]] = variable[2]
            continue
        if command.startswith("dropmill run"):
            assert usual(agent(command), str(place.home)) == expected
            continue
        ran.append(command.split()[0:2])
        changes = command.startswith(("echo", "printf", "dropmill init", "dropmill retry"))
        deadline = time.monotonic() + 30
        while (printed := usual(place.terminal(command), str(place.home))) != expected:
            assert not changes, f"{command}\n" + "\n".join(printed)
            assert time.monotonic() < deadline, f"{command}\n" + "\n".join(printed)
            time.sleep(0.2)
    for wanted in ("init", "status", "files", "explain", "retry"):
        assert ["dropmill", wanted] in ran
