"""A queue with lanes for every test that asks for one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dropmill.foundation.clock import ManualClock
from support.lanes import Site, site


@pytest.fixture
async def queue(tmp_path: Path) -> AsyncIterator[Site]:
    async with site(tmp_path) as made:
        yield made


@pytest.fixture
async def still_queue(tmp_path: Path) -> AsyncIterator[Site]:
    """Time stands still until the test lets it pass."""
    async with site(tmp_path, ManualClock()) as made:
        yield made
