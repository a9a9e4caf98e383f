"""`python -m benchmarks [NAME ...]`: run all benchmarks, or those named, and print one table."""

from __future__ import annotations

import importlib
import pkgutil
import sys
import tempfile
from pathlib import Path

import benchmarks
from benchmarks.harness import Figure, show


def main(names: list[str]) -> int:
    found = sorted(info.name for info in pkgutil.iter_modules(benchmarks.__path__) if info.name.startswith("bench_"))
    chosen = [f"bench_{name}" for name in names] or found
    if unknown := sorted(set(chosen) - set(found)):
        print(f"no such benchmark: {', '.join(unknown)}; there are: {', '.join(found)}", file=sys.stderr)
        return 2
    figures: list[Figure] = []
    for name in chosen:
        print(f"{name} ...", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="dropmill-bench-") as scratch:
            figures += importlib.import_module(f"benchmarks.{name}").figures(Path(scratch))
    return 0 if show(figures) else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
