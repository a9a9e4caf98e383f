"""`NAME.reason.json` beside a file in `failed/`: what was wrong, and the command that tries it again. For whoever has no console.

Written before the file appears, so that nobody ever finds a failed file without its reason. It carries the file's id: one that
a crash left behind is known again and replaced; anybody else's file of that name is never touched.
"""

from __future__ import annotations

import json
import os
from typing import Any

from dropmill.foundation.clock import utc_iso
from dropmill.foundation.files import rename_no_replace, write_all
from dropmill.intake.names import printable
from dropmill.queue.records import FileRecord

__all__ = [
    "SUFFIX",
    "encode_reason",
    "owner_of",
    "publish_reason",
    "reason_document",
    "reason_path",
    "remove_reason",
    "stage_reason",
]

SUFFIX = ".reason.json"

_NAME_MAX = 255
_READ_LIMIT = 1 << 20


def reason_path(target: str) -> str:
    """Where the reason of a file at `target` lies; a name too long for the suffix is cut."""
    folder, name = os.path.split(target)
    while len(os.fsencode(name)) + len(SUFFIX) > _NAME_MAX:
        name = name[:-1]
    return os.path.join(folder, name + SUFFIX)


def reason_document(file: FileRecord, now: float) -> dict[str, Any]:
    """What is written. The failure's record stands in `error` as it is."""
    error = dict(file.error or {})
    return {
        "id": file.id,
        "file": printable(file.name),
        "folder": file.folder,
        "code": error.get("code"),
        "reason": file.reason or error.get("message") or "a delivery of it was refused for good",
        "line": error.get("line"),
        "converter": file.converter,
        "attempts": file.attempts,
        "deadDeliveries": file.dead,
        "size": file.size,
        "sha256": file.sha256,
        "claimedAt": utc_iso(file.claimed_at),
        "failedAt": utc_iso(now),
        "retry": f"dropmill retry {file.id}",
        "error": error,
    }


def owner_of(path: str, folder: int | None = None) -> str | None:
    """The file id that a reason file (relative to the open `folder`) carries; None: there is none, or it is not one of ours."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return None
    try:
        document = json.loads(os.read(descriptor, _READ_LIMIT))
    except (OSError, ValueError):
        return None
    finally:
        os.close(descriptor)
    owner = document.get("id") if isinstance(document, dict) else None
    return owner if isinstance(owner, str) else None


def encode_reason(file: FileRecord, now: float) -> bytes:
    """The content of a reason file."""
    text = json.dumps(reason_document(file, now), indent=2, ensure_ascii=False, default=str)
    return text.encode("utf-8", "backslashreplace") + b"\n"


def stage_reason(folder: int, file: FileRecord, now: float) -> str:
    """Write a file's reason under a hidden name in the open folder that the file is about to lie in; not synced. The name.

    Once it is synced, `publish_reason` gives it its own.
    """
    name = f".dropmill-{file.id}.reason"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, 0o644, dir_fd=folder)
    try:
        write_all(descriptor, encode_reason(file, now))
    finally:
        os.close(descriptor)
    return name


def publish_reason(folder: int, staged: str, name: str, file_id: str) -> None:
    """Give a staged reason its name, as that of the file `name`; one of the same file, left by a crash, is replaced.

    Raises:
        FileExistsError: somebody else's file has that name.
    """
    target = reason_path(name)
    try:
        rename_no_replace(staged, target, source_folder=folder, target_folder=folder)
    except FileExistsError:
        if owner_of(target, folder) != file_id:
            raise
        os.replace(staged, target, src_dir_fd=folder, dst_dir_fd=folder)


def remove_reason(target: str, file_id: str) -> None:
    """Remove the reason of a file that no longer lies at `target`, if it is that file's."""
    path = reason_path(target)
    if owner_of(path) == file_id:
        os.unlink(path)
