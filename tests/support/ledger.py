"""Accounts for every dropped file: where it lies, that it lies there once, and what was received for it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def places(root: Path) -> dict[str, list[str]]:
    """Where each content lies below a watched root, by sha256: relative paths; reason files, locks and the like left out."""
    found: dict[str, list[str]] = {}
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        if not path.is_file() or path.name.endswith(".reason.json"):
            continue
        if relative.parts[0] == ".dropmill" and "work" not in relative.parts:
            continue
        found.setdefault(sha256(path.read_bytes()), []).append(str(relative))
    return found


def account(root: Path, dropped: Mapping[str, bytes]) -> dict[str, str]:
    """Where each dropped file ended (`done` or `failed`), having checked that each lies in exactly one place.

    Args:
        dropped: Contents by the name they were dropped under; contents may repeat.
    """
    lying = places(root)
    wanted = Counter(sha256(data) for data in dropped.values())
    problems = []
    ended = {}
    for digest, count in wanted.items():
        paths = lying.pop(digest, [])
        names = [name for name, data in dropped.items() if sha256(data) == digest]
        if len(paths) != count:
            problems.append(f"{names}: dropped {count} times, lies at {paths}")
        folders = {path.split("/", 1)[0] for path in paths}
        if not folders <= {"done", "failed"} or len(folders) != 1:
            problems.append(f"{names}: lies at {paths}")
        ended.update(dict.fromkeys(names, folders.pop() if folders else "lost"))
    problems += [f"nobody dropped {paths}" for paths in lying.values()]
    assert not problems, "\n".join(problems)
    return ended


def received(files: Mapping[str, bytes]) -> dict[str, list[dict[str, Any]]]:
    """The reports that a destination holds, by the sha256 of their source; each report id once."""
    by_source: dict[str, list[dict[str, Any]]] = {}
    ids = Counter()
    for data in files.values():
        report = json.loads(data)
        ids[report["reportId"]] += 1
        by_source.setdefault(report["source"]["sha256"], []).append(report)
    twice = [report for report, count in ids.items() if count > 1]
    assert not twice, f"received more than once: {twice}"
    return by_source


def folder_files(folder: Path) -> dict[str, bytes]:
    """What lies below a folder, by relative path; what is still being written (dot files) left out."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if not path.name.startswith(".") and path.is_file()
    }
