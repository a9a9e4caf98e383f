from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dropmill.conversion.worker.bench import Bench
from dropmill.conversion.worker.frames import Kind
from dropmill.conversion.worker.page import SIZE, Page
from dropmill.conversion.worker.task import Call, Runner
from support.conversions import PLUGINS, bindings

sys.path.append(str(PLUGINS))


@dataclass
class Workplace:
    """A worker's inside without its process: a runner in this one."""

    folder: Path
    max_output: int = 10_000_000
    reports: list[tuple[dict[str, Any], bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page = Page(memoryview(bytearray(SIZE)))
        self.bench = Bench()
        self.runner = Runner(self.folder, self.bench, self.page, self.max_output)
        self._number = 0
        for name, binding in bindings().items():
            self.define(name, binding.spec.factory, schemas=binding.spec.schemas)

    def define(self, key: str, factory: str, schemas: Sequence[Any] = (), **options: Any) -> None:
        self.bench.add(
            {
                "key": key,
                "converter": key,
                "factory": factory,
                "options": options,
                "version": "1",
                "distribution": "acme",
                "schemas": list(schemas),
            }
        )

    def header(self, content: bytes, *candidates: Any, mode: str = "choose", **more: Any) -> dict[str, Any]:
        self._number += 1
        rows = [[one, 2, None] if isinstance(one, str) else list(one) for one in candidates]
        return {
            "n": self._number,
            "mode": mode,
            "candidates": rows,
            "ordered": True,
            "size": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "modified": 1_500_000_000.0,
            "folder": "inbox",
            "occurrence": 0,
            "parts": [],
            "cpu": 0,
            "fds": 1,
            **more,
        }

    def open(self, content: bytes) -> int:
        import os

        path = self.folder / f"input-{self._number}"
        path.write_bytes(content)
        return os.open(path, os.O_RDONLY)

    def run(
        self,
        content: bytes | str,
        *candidates: Any,
        name: bytes = b"a.txt",
        before: Callable[[int], None] = lambda _: None,
        **more: Any,
    ) -> tuple[Kind, dict[str, Any]]:
        content = content.encode() if isinstance(content, str) else content
        header = self.header(content, *candidates, **more)
        call = Call.read(header, name, [self.open(content)])
        before(call.number)
        self.reports = []
        return self.runner.run(call, lambda head, body: self.reports.append((head, body)))

    def fault(self, text: str, **more: Any) -> tuple[Kind, dict[str, Any]]:
        return self.run(text + "\n", "faulty", **more)


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path)
