"""A queue and certificates for every test that asks for them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.lanes import Site, site
from support.servers import Authority


@pytest.fixture
async def queue(tmp_path: Path) -> AsyncIterator[Site]:
    async with site(tmp_path / "queue") as made:
        yield made


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))
