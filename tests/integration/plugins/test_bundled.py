"""The bundled plugins come in as anyone's do, and the sample and the reference are made from what they register."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dropmill.api import QueuePolicy
from dropmill.config import ConfigError, compose, read, sample_config
from dropmill.config.sample import BUNDLED
from dropmill.config.settings import PluginPin
from dropmill.plugins import Registry, Status, instantiate, load

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    yield load([PluginPin(name=name, distribution="dropmill") for name in BUNDLED])


def test_each_is_loaded_whole(registry: Registry) -> None:
    assert {
        name: (state.status, state.problems) for name, state in registry.states.items() if name in BUNDLED
    } == dict.fromkeys(BUNDLED, (Status.LOADED, ()))
    assert set(registry.converters) == {"csv", "json", "junit", "wsjf"}
    assert set(registry.transports) == {"directory", "http"}
    assert set(registry.policies) == {"reject", "oldest_first", "pause"}


@pytest.mark.parametrize("name", ["reject", "oldest_first", "pause"])
async def test_each_policy_can_be_made(name: str, registry: Registry) -> None:
    policy: QueuePolicy = await instantiate(registry.policies[name], {})
    assert callable(policy.on_full)


@pytest.mark.parametrize("with_options", [False, True])
def test_the_sample_passes_without_a_warning(registry: Registry, tmp_path: Path, with_options: bool) -> None:
    file = tmp_path / "dropmill.toml"
    file.write_text(sample_config(registry if with_options else None))
    configuration = read(file, lambda _: registry)
    assert configuration.warnings == ()
    assert configuration.settings.queue.when_full == "reject"


def test_the_schema_of_the_whole_file_is_json(registry: Registry) -> None:
    assert json.loads(json.dumps(compose(registry)))["properties"]["converter"]["properties"]["csv"]


def test_a_directory_inside_a_watched_folder_is_refused(registry: Registry, tmp_path: Path) -> None:
    file = tmp_path / "dropmill.toml"
    file.write_text(sample_config().replace('path = "reports"', 'path = "inbox/reports"'))
    with pytest.raises(ConfigError) as caught:
        read(file, lambda _: registry)
    assert [(problem.code, problem.key) for problem in caught.value.problems] == [
        ("DM-C026", "destination[0].options.path")
    ]


def test_secrets_of_the_http_transport_are_refused_in_clear(registry: Registry, tmp_path: Path) -> None:
    file = tmp_path / "dropmill.toml"
    options = '{ url = "https://example.org/{key}", auth = { type = "bearer", token = "hunter2" } }'
    file.write_text(sample_config().replace('"directory"\n', '"http"\n').replace('{ path = "reports" }', options))
    with pytest.raises(ConfigError) as caught:
        read(file, lambda _: registry)
    [problem] = caught.value.problems
    assert (problem.code, problem.key) == ("DM-C032", "destination[0].options.auth.token")
    assert "hunter2" not in str(caught.value.as_dict())


def test_loading_them_imports_no_parser_and_no_client() -> None:
    code = (
        "import sys\n"
        "from dropmill.plugins import load\n"
        "from dropmill.config.settings import PluginPin\n"
        f"load([PluginPin(name=name) for name in {BUNDLED!r}])\n"
        "print(*sorted({'lxml', 'aiohttp', 'jsonschema', 'numpy'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_committed_reference_is_what_the_schemas_say() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "reference.py")],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ},
    )
    committed = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert done.stdout == committed, "stale: python docs/reference.py > docs/configuration.md"
