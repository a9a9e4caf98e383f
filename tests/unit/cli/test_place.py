"""Where an agent lives, from a config file whatever else is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dropmill.cli.place import locate
from dropmill.config.problems import ConfigError


def write(folder: Path, text: str) -> Path:
    path = folder / "dropmill.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "state", "socket"),
    [
        ("", "state", "state/agent.sock"),
        ("[agent]\n", "state", "state/agent.sock"),
        ('[agent]\nstate = "var/x"\n', "var/x", "var/x/agent.sock"),
        ('[agent]\nstate = "/var/x"\n', "/var/x", "/var/x/agent.sock"),
        ('[control]\nsocket = "c.sock"\n[agent]\nstate = "s"', "s", "c.sock"),
        ("[agent]\nnonsense = 1\n[[folder]]\nname = 3\n", "state", "state/agent.sock"),
    ],
)
def test_places(tmp_path: Path, text: str, state: str, socket: str) -> None:
    place = locate(write(tmp_path, text))
    assert (place.state, place.socket) == (tmp_path / state, tmp_path / socket)
    assert place.config == tmp_path / "dropmill.toml"


def test_it_agrees_with_the_settings(tmp_path: Path) -> None:
    from dropmill.config import load, sample_config
    from dropmill.plugins import load as load_plugins

    (tmp_path / "inbox").mkdir()
    path = write(tmp_path, sample_config())
    settings, place = load(path, load_plugins), locate(path)
    assert (place.state, place.socket) == (settings.agent.state, settings.control.socket)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("[agent", "DM-C003"),
        ("[agent]\nstate = 3\n", "DM-C011"),
        ('[agent]\nstate = ""\n', "DM-C011"),
        ("agent = 3\n", "DM-C011"),
        ("[control]\nsocket = []\n", "DM-C011"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, text: str, code: str) -> None:
    with pytest.raises(ConfigError) as caught:
        locate(write(tmp_path, text))
    assert [problem.code for problem in caught.value.problems] == [code]


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        locate(tmp_path / "none.toml")
    assert caught.value.problems[0].code == "DM-C001"
