"""What the converters' tests share: a converter run on a text or on bytes, without a file of one's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from dropmill.testing import Conversion, convert


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Conversion]:
    """`run("csv", "a,b\\n1,2\\n", options, name="x.csv")`."""
    suffixes = {"junit": "xml", "csv": "csv", "json": "json", "wsjf": "json"}

    def convert_text(
        converter: str, content: str | bytes, options: Mapping[str, Any] | None = None, name: str | None = None
    ) -> Conversion:
        name = name or f"file.{suffixes[converter]}"
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return convert(converter, path, options)

    return convert_text
