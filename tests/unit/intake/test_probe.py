"""One look at a waiting file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dropmill.intake.lease import Proof
from dropmill.intake.probe import Held, Interrupted, Refusal, probe
from dropmill.intake.settle import stamp_of


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def look(path: Path, parent: int, **options: Any) -> Held | Refusal:
    options.setdefault("expected", stamp_of(os.stat(path)))
    return probe(path.name, parent, **options)


@pytest.mark.parametrize("size", [1, 65_536, 65_537, 3_000_000])
def test_a_file_that_stands_still_is_held_with_its_hash(tmp_path: Path, parent: int, size: int) -> None:
    path = tmp_path / "a"
    data = os.urandom(size)
    path.write_bytes(data)
    held = look(path, parent)
    assert isinstance(held, Held)
    assert held.sha256 == hashlib.sha256(data).hexdigest()
    assert held.proof is Proof.FREE
    held.close()
    held.close()


def test_a_changed_file_says_its_new_stamp(tmp_path: Path, parent: int) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    expected = stamp_of(os.stat(path))
    path.write_bytes(b"three")
    answer = look(path, parent, expected=expected)
    assert answer == Refusal("changed", stamp_of(os.stat(path)))


def test_a_writer_keeps_it_from_being_taken(tmp_path: Path, parent: int) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    with path.open("ab"):
        answer = look(path, parent)
    assert isinstance(answer, Refusal)
    assert answer.kind == "writer"


def test_without_leases_the_writer_is_not_seen_but_a_proof_can_be_asked_for(tmp_path: Path, parent: int) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    with path.open("ab"):
        held = look(path, parent, leases=False)
        assert isinstance(held, Held)
        assert held.proof is Proof.UNKNOWN
        held.close()
        answer = look(path, parent, leases=False, need_proof=True)
    assert isinstance(answer, Refusal)
    assert answer.kind == "unsettled"


def test_a_file_that_grows_while_it_is_read_is_noticed_without_leases(tmp_path: Path, parent: int) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * 3_000_000)

    def grow() -> None:
        with path.open("ab") as file:
            file.write(b"more")

    answer = look(path, parent, leases=False, sign=grow)
    assert isinstance(answer, Refusal)
    assert answer.kind == "changed"


def test_empty_files(tmp_path: Path, parent: int) -> None:
    path = tmp_path / "a"
    path.touch()
    answer = look(path, parent)
    assert isinstance(answer, Refusal)
    assert answer.kind == "empty"
    held = look(path, parent, take_empty=True)
    assert isinstance(held, Held)
    assert held.sha256 == hashlib.sha256(b"").hexdigest()
    held.close()


def test_what_is_no_regular_file_is_gone(tmp_path: Path, parent: int) -> None:
    (tmp_path / "target").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    stamp = (1, 1, 1, 1, 1)
    for name in ("link", "pipe", "folder", "missing"):
        assert probe(name, parent, stamp) == Refusal("gone")


def test_an_error_is_handed_over(tmp_path: Path, parent: int) -> None:
    answer = probe("x" * 300, parent, (1, 1, 1, 1, 1))
    assert isinstance(answer, Refusal)
    assert answer.kind == "error"
    assert answer.error is not None


def test_a_long_read_can_be_interrupted(tmp_path: Path, parent: int) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * 3_000_000)

    def stop() -> None:
        raise Interrupted

    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(Interrupted):
        look(path, parent, sign=stop)
    assert len(os.listdir("/proc/self/fd")) == before
