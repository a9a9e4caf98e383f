from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from dropmill.conversion.launch import TAG
from dropmill.conversion.orphans import tag_of
from dropmill.conversion.pool import ConversionPool
from support.conversions import ENVIRONMENT, Inbox, running_pool


def processes_of(scratch: Path) -> list[int]:
    """Every process that carries the tag of workers of this scratch folder, whatever became of its parents."""
    found = []
    wanted = f"{TAG}={tag_of(scratch)}".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if any(part.startswith(wanted) for part in (entry / "environ").read_bytes().split(b"\0")):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "scratch"
    yield folder
    assert processes_of(folder) == []


@pytest.fixture
async def pool(scratch: Path) -> AsyncIterator[ConversionPool]:
    async with running_pool(scratch, environment=ENVIRONMENT) as made:
        yield made


@pytest.fixture
def inbox(tmp_path: Path, pool: ConversionPool) -> Inbox:
    return Inbox(tmp_path / "files", pool)
