"""The power is cut at every point of a recorded life: what the queue had promised by then is on the disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from powercut import Disk, read_log
from promises import Promises, check

LIFE = Path(__file__).with_name("life.py")
COMPILER = shutil.which("cc") or shutil.which("gcc")


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if COMPILER is None:
        pytest.skip("the recorder is written in C, and there is no compiler")
    library = tmp_path_factory.mktemp("recorder") / "recorder.so"
    source = LIFE.with_name("recorder.c")
    subprocess.run(
        [COMPILER, "-shared", "-fPIC", "-O1", "-Wall", "-o", library, source, "-ldl", "-lpthread"], check=True
    )
    return library


async def test_power_cut_at_every_point(recorder: Path, tmp_path: Path) -> None:
    root = tmp_path / "life"
    root.mkdir()
    log = tmp_path / "log"
    seed = int(os.environ.get("DROPMILL_SEED", "5"))
    done = subprocess.run(
        [sys.executable, str(LIFE), str(root / "state"), str(seed), os.environ.get("DROPMILL_TURNS", "12")],
        env={
            **os.environ,
            "LD_PRELOAD": str(recorder),
            "RECORD_ROOT": str(root),
            "RECORD_LOG": str(log),
            "LIFE_SEGMENT": "150000",
        },
        capture_output=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr.decode()
    disk, promises, random = Disk(), Promises(), Random(seed)
    points = spoken = 0
    said = b""
    pending = False
    for record in read_log(log):
        if record.kind == "M":
            said += record.data
            spoken += 1
            pending = True
        changes = record.kind in "SD"
        if changes and pending:  # just before the disk changes again: all that was said must hold without it
            await cut(disk, root, tmp_path, said, None)
            points, pending = points + 1, False
        disk.apply(record)
        if changes:
            await cut(disk, root, tmp_path, said, random)
            points += 1
    await cut(disk, root, tmp_path, said, None)
    promises.hear(said)
    assert spoken > 30
    assert points > 60
    assert len(promises.queued) > 10
    print(f"{points} power cuts, {len(promises.queued)} promises")


async def cut(disk: Disk, root: Path, tmp_path: Path, said: bytes, random: Random | None) -> None:
    target = tmp_path / "cut"
    disk.cut(str(root), target, random)
    promises = Promises()
    promises.hear(said)
    (target / "state").mkdir(parents=True, exist_ok=True)
    try:
        await check(target / "state", promises)
    finally:
        shutil.rmtree(target)
