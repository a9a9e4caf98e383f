"""Why a file is not taken."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dropmill.config.settings import FolderSettings
from dropmill.intake.explain import beneath, sight

Make = Any
Settings = Callable[..., FolderSettings]


def say(settings: FolderSettings, path: Path) -> tuple[str, str]:
    sighting = sight(settings, path)
    assert sighting is not None
    return sighting.state, sighting.reason


def test_what_lies_elsewhere_has_no_answer(root: Path, folder_settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "inbox2").mkdir()
    (tmp_path / "inbox2" / "a").touch()
    assert sight(folder_settings(root), tmp_path / "inbox2" / "a") is None
    assert sight(folder_settings(root), root / ".." / "x") is None
    assert sight(folder_settings(root), root) is None
    (root / "out").symlink_to(tmp_path)
    assert sight(folder_settings(root), root / "out" / "a") is None


def test_a_path_through_a_link_to_the_root_counts(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    assert beneath(root, tmp_path / "link" / "sub" / "a") == "sub/a"
    assert beneath(tmp_path / "link", root / "a") == "a"


def test_by_the_rules_alone(root: Path, folder_settings: Settings, tmp_path: Path) -> None:
    settings = folder_settings(root, exclude=("old*",), include=("*.csv",))
    for name in ("a.csv", "old.csv", "a.txt", ".a.csv"):
        (root / name).write_bytes(b"x")
    (root / "empty.csv").touch()
    (root / "link.csv").symlink_to(root / "a.csv")
    (root / "folder.csv").mkdir()
    (root / "sub").mkdir()
    (root / "sub" / "a.csv").write_bytes(b"x")
    assert say(settings, root / "a.csv") == ("waiting", "it is taken as soon as it has settled")
    assert say(settings, root / "old.csv") == ("excluded", "the exclude pattern 'old*' matches")
    assert say(settings, root / "a.txt") == ("excluded", "no include pattern matches: *.csv")
    assert say(settings, root / ".a.csv") == ("excluded", "the built-in exclude '.*' matches")
    assert say(settings, root / "empty.csv") == ("waiting", "it is empty, and empty files wait (zero_byte)")
    assert say(settings, root / "link.csv") == ("excluded", "it is a symbolic link: links are not followed")
    assert say(settings, root / "folder.csv") == ("excluded", "it is no regular file")
    assert say(settings, root / "none.csv")[0] == "missing"
    assert say(settings, root / "sub" / "a.csv") == ("excluded", "it lies in sub/, and the folder is not recursive")
    assert say(folder_settings(root, recursive=True), root / "sub" / "a.csv")[0] == "waiting"
    assert say(settings, root / "done" / "a.csv") == ("excluded", "done/ belongs to dropmill")


def test_an_open_writer_and_a_missing_marker(root: Path, folder_settings: Settings) -> None:
    with (root / "a.csv").open("wb") as file:
        file.write(b"x")
        file.flush()
        assert say(folder_settings(root), root / "a.csv") == ("waiting", "a program has it open for writing")
    marked = folder_settings(root, ready="marker")
    assert say(marked, root / "a.csv") == ("waiting", "it waits for its marker (.done, .ready)")
    (root / "a.done").touch()
    assert say(marked, root / "a.csv") == ("waiting", "it is taken as soon as it has settled")
    assert say(marked, root / "a.done") == ("excluded", "it is a marker for another file")


async def test_what_a_running_folder_knows(make: Make, root: Path) -> None:
    running = await make(settle=30.0)
    (root / "a.csv").write_bytes(b"x")
    await running.until(lambda: running.intake.status()[0].waiting, "the file to be seen")
    (sighting,) = await running.intake.explain(root / "a.csv")
    assert sighting.folder == "inbox"
    assert sighting.reason.startswith("it is settling: unchanged for")
    assert sighting.details["settle"] == 30.0
    assert sighting.details["size"] == 1
    assert await running.intake.explain(root.parent / "elsewhere") == []


async def test_reasons_of_a_running_folder(make: Make, root: Path) -> None:
    running = await make(ready="marker", zero_byte="wait")
    (root / "a.csv").write_bytes(b"x")
    (root / "b.csv").touch()
    (root / "b.csv.done").touch()
    await running.until(lambda: "empty" in running.intake.status()[0].reasons, "the reason")
    (marker,) = await running.intake.explain(root / "a.csv")
    (empty,) = await running.intake.explain(root / "b.csv")
    assert marker.reason.startswith("it waits for its marker")
    assert empty.reason == "it is empty, and empty files wait (zero_byte)"


async def test_a_file_system_that_hangs_is_said(make: Make, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dropmill.intake import service

    monkeypatch.setattr(service, "_EXPLAIN_LIMIT", 0.1)
    go = threading.Event()
    monkeypatch.setattr(service, "sight", lambda *_, **__: go.wait())
    running = await make()
    (sighting,) = await running.intake.explain(root / "a.csv")
    assert sighting.reason == "the file system does not answer"
    go.set()

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(service, "sight", fail)
    (sighting,) = await running.intake.explain(root / "a.csv")
    assert "Input/output error" in sighting.reason
    await asyncio.sleep(0)


def test_a_folder_that_is_gone(folder_settings: Settings, root: Path) -> None:
    os.rename(root, root.with_name("away"))
    assert say(folder_settings(root), root / "a.csv")[0] == "missing"
