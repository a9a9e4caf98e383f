from __future__ import annotations

from pathlib import Path

import pytest

from dropmill.reports.compose import Composer
from dropmill.reports.origin import Origin
from dropmill.reports.schema import Schemas

ORIGIN = Origin(
    name="sub/a.csv",
    size=3,
    sha256="ab" * 32,
    modified=1_500_000_000.25,
    folder="inbox",
    occurrence=0,
    converter="csv",
    version="1.4",
    distribution="acme",
)


class MemoryFile:
    """A `StagingFile` that keeps its bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data = b""
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.data += data

    def close(self) -> None:
        self.closed = True


class Bench:
    """A composer, and the files that it opened."""

    def __init__(self, schemas: Schemas, origin: Origin) -> None:
        self.files: list[MemoryFile] = []
        self.composer = Composer(origin, schemas, self._create)

    def _create(self) -> MemoryFile:
        self.files.append(MemoryFile(Path(f"file-{len(self.files)}")))
        return self.files[-1]


@pytest.fixture(scope="session")
def schemas() -> Schemas:
    weather = {"$id": "urn:test:weather", "type": "object", "properties": {"t": {"type": "number"}}, "required": ["t"]}
    return Schemas([weather])


@pytest.fixture
def bench(schemas: Schemas) -> Bench:
    return Bench(schemas, ORIGIN)
