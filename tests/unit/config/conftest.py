from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from dropmill.config import ConfigError, ConfigProblem, Configuration, read
from dropmill.config.settings import PluginPin
from support.catalogs import FakeCatalog

BASE = """\
[plugins]
enable = ["csv", "json", "directory", "http", "reject", "pause"]

[[folder]]
name = "inbox"
path = "inbox"
converters = ["csv", "json"]
destinations = ["reports"]

[[destination]]
name = "reports"
transport = "directory"
options = { path = "reports" }
"""


class Kit:
    """Reads configurations from text in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "dropmill.toml"
        self.catalog = FakeCatalog()
        self.environment: dict[str, str] = {}

    def read(self, content: str | bytes) -> Configuration[FakeCatalog]:
        self.file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read(self.file, self._load, environment=self.environment)

    def problems(self, content: str | bytes) -> Sequence[ConfigProblem]:
        with pytest.raises(ConfigError) as caught:
            self.read(content)
        assert caught.value.code == "DM-C000"
        for problem in caught.value.problems:
            assert problem.what
            assert problem.todo
            assert problem.where.startswith(str(self.file))
        return caught.value.problems

    def problem(self, content: str | bytes) -> ConfigProblem:
        found = self.problems(content)
        assert len(found) == 1, "\n".join(map(str, found))
        return found[0]

    def _load(self, pins: Sequence[PluginPin]) -> FakeCatalog:
        self.catalog.loaded = list(pins)
        return self.catalog


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(tmp_path)


@pytest.fixture
def base() -> str:
    return BASE
