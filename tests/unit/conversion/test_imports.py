"""What a worker loads: little, and nothing of the agent."""

from __future__ import annotations

import os
import subprocess
import sys

ALLOWED = ("dropmill.api", "dropmill.foundation", "dropmill.reports", "dropmill.conversion.worker")
HEAVY = {
    "asyncio",
    "aiohttp",
    "starlette",
    "uvicorn",
    "watchdog",
    "sqlite3",
    "structlog",
    "rich",
    "click",
    "jsonschema",
    "lxml",
}


def test_a_worker_imports_nothing_of_the_agent() -> None:
    code = "import sys, dropmill.conversion.worker.__main__; print(*sorted(sys.modules), sep='\\n')"
    unmeasured = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=unmeasured)
    loaded = run.stdout.split()
    assert "dropmill.conversion.worker.session" in loaded
    ours = [name for name in loaded if name.startswith("dropmill.") and name != "dropmill.conversion"]
    assert [name for name in ours if not name.startswith(ALLOWED)] == []
    assert HEAVY.intersection(loaded) == set()
