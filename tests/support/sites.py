"""Makes installed distributions with plugins: real `dist-info` folders and modules in a folder of `sys.path`."""

from __future__ import annotations

import importlib
import itertools
from pathlib import Path

from dropmill.api import ENTRY_POINT_GROUP

_numbers = itertools.count()

HEAD = """\
from dropmill.api import *
"""

CONVERTER = """\
@hookimpl
def register_converters():
    return [ConverterSpec(id={id!r}, factory="nowhere:Converter", accepts=Accepts(globs=("*.x",)), summary="for tests")]
"""


class Site:
    """A folder like site-packages; put its `path` on `sys.path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)

    def add(
        self,
        name: str,
        body: str | None = None,
        *,
        distribution: str | None = None,
        version: str = "1.0",
        group: str = ENTRY_POINT_GROUP,
        value: str | None = None,
    ) -> str:
        """Install a distribution with one entry point; returns the name of its module, which no other test has."""
        module = f"plugin_{next(_numbers)}_{name.replace('-', '_')}"
        (self.path / f"{module}.py").write_text(
            HEAD + (CONVERTER.format(id=name) if body is None else body), encoding="utf-8"
        )
        distribution = distribution or f"dropmill-{name}"
        info = self.path / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n", encoding="utf-8"
        )
        entry = (value or "{module}").format(module=module)
        (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {entry}\n", encoding="utf-8")
        importlib.invalidate_caches()
        return module
