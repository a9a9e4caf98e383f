"""One folder at work, with a real store: from the drop to done/ and failed/."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Make = Any


async def test_a_dropped_file_is_claimed_converted_and_laid_down(make: Make, root: Path) -> None:
    running = await make()
    (root / "a.csv").write_bytes(b"one")
    (file,) = await running.claimed(1)
    assert file.name == "a.csv"
    assert Path(file.place).read_bytes() == b"one"
    assert Path(file.place).parent == root / ".dropmill" / "work"
    assert not (root / "a.csv").exists()

    await running.finish(file)
    await running.until((root / "done" / "a.csv").exists, "the file in done/")
    assert (root / "done" / "a.csv").read_bytes() == b"one"
    assert not list((root / ".dropmill" / "work").iterdir())


async def test_a_failed_file_lies_beside_its_reason(make: Make, root: Path) -> None:
    running = await make()
    (root / "bad.csv").write_bytes(b"bad")
    (file,) = await running.claimed(1)
    await running.fail(file, line=7)
    await running.until((root / "failed" / "bad.csv").exists, "the file in failed/")
    reason = json.loads((root / "failed" / "bad.csv.reason.json").read_text())
    assert reason["id"] == file.id
    assert reason["code"] == "DM-V001"
    assert reason["reason"] == "it is no good"
    assert reason["line"] == 7
    assert reason["retry"] == f"dropmill retry {file.id}"


async def test_files_that_lie_there_at_the_start_are_taken(make: Make, root: Path) -> None:
    for number in range(50):
        (root / f"{number}.csv").write_bytes(str(number).encode())
    running = await make()
    files = await running.claimed(50)
    assert {file.name for file in files} == {f"{number}.csv" for number in range(50)}
