"""One pass over a root."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dropmill.intake.beneath import open_beneath
from dropmill.intake.names import NameFilter
from dropmill.intake.scan import Listing, fingerprint, list_candidates
from dropmill.intake.settle import stamp_of


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    path.mkdir()
    return path


@pytest.fixture
def descriptor(root: Path) -> Iterator[int]:
    number = os.open(root, os.O_RDONLY)
    yield number
    os.close(number)


def write(path: Path, mtime: int = 1000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    os.utime(path, (mtime, mtime))


def scan(descriptor: int, names: NameFilter | None = None, **options: Any) -> Listing:
    return list_candidates(descriptor, names or NameFilter(own=["done"]), **options)


def paths(listing: Listing) -> list[str]:
    return [path for _, path, _, _ in listing.candidates]


def test_regular_files_only_with_their_stamps(root: Path, descriptor: int) -> None:
    write(root / "a.csv")
    (root / "link.csv").symlink_to(root / "a.csv")
    os.mkfifo(root / "pipe.csv")
    (root / "folder.csv").mkdir()
    write(root / ".hidden")
    listing = scan(descriptor)
    assert paths(listing) == ["a.csv"]
    assert listing.candidates[0][2] == stamp_of(os.stat(root / "a.csv"))
    assert listing.total == 1
    assert listing.folders == [""]


def test_the_same_root_can_be_read_again_and_again(root: Path, descriptor: int) -> None:
    write(root / "a")
    assert [paths(scan(descriptor)) for _ in range(3)] == [["a"]] * 3


def test_oldest_first_newest_first_by_name(root: Path, descriptor: int) -> None:
    for name, mtime in (("b", 10), ("a", 30), ("c", 20)):
        write(root / name, mtime)
    assert paths(scan(descriptor)) == ["b", "c", "a"]
    assert paths(scan(descriptor, order="newest")) == ["a", "c", "b"]
    assert paths(scan(descriptor, order="name")) == ["a", "b", "c"]


def test_the_limit_keeps_the_first_in_order_and_counts_all(root: Path, descriptor: int) -> None:
    for number in range(50):
        write(root / f"{number}", 1000 - number)
    listing = scan(descriptor, limit=5)
    assert paths(listing) == ["49", "48", "47", "46", "45"]
    assert listing.total == 50


def test_folders_are_read_only_where_asked_and_only_so_deep(root: Path, descriptor: int) -> None:
    write(root / "top")
    write(root / "a/one")
    write(root / "a/b/two")
    write(root / "done/not")
    write(root / ".dropmill/work/not")
    (root / "link").symlink_to(root / "a")
    assert paths(scan(descriptor)) == ["top"]
    assert sorted(paths(scan(descriptor, recursive=True))) == ["a/b/two", "a/one", "top"]
    listing = scan(descriptor, recursive=True, max_depth=1)
    assert sorted(paths(listing)) == ["a/one", "top"]
    assert sorted(listing.folders) == ["", "a"]
    assert sorted(paths(scan(descriptor, start="a", recursive=True))) == ["a/b/two", "a/one"]


def test_each_folder_is_announced_before_it_is_read(root: Path, descriptor: int) -> None:
    write(root / "a/one")

    def enter(folder: str) -> None:
        if folder == "a":
            write(root / "a/two")

    assert sorted(paths(scan(descriptor, recursive=True, enter=enter))) == ["a/one", "a/two"]


def test_progress_is_shown(root: Path, descriptor: int) -> None:
    for number in range(1100):
        (root / f"{number}").touch()
    signs: list[int] = []
    scan(descriptor, sign=lambda: signs.append(1))
    assert len(signs) == 3


def test_names_of_all_kinds_come_back_as_they_are(root: Path, descriptor: int) -> None:
    names = [
        "ü.csv",
        "u\u0308.csv",
        " lead",
        "trail. ",
        "a\\b",
        "new\nline",
        os.fsdecode(b"bad\xff\xfe.csv"),
        "x" * 255,
        "-rf",
    ]
    for name in names:
        (root / name).write_bytes(b"x")
    assert sorted(paths(scan(descriptor))) == sorted(names)


def test_a_link_in_place_of_a_folder_is_never_followed(root: Path, descriptor: int, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    write(outside / "secret/file")
    (root / "in").symlink_to(outside)
    for path in ("in", "in/secret", "../outside", "in/../..", "./x", "a//b"):
        with pytest.raises(OSError):
            os.close(open_beneath(descriptor, path))


def test_descriptors_are_not_leaked(root: Path, descriptor: int) -> None:
    write(root / "a/b/c/file")
    before = len(os.listdir("/proc/self/fd"))
    scan(descriptor, recursive=True)
    os.close(open_beneath(descriptor, "a/b/c/file", flags=os.O_RDONLY))
    os.close(open_beneath(descriptor, ""))
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.skipif(os.getuid() != 0, reason="becomes another user")
def test_what_may_not_be_read_is_told_and_the_rest_is_listed(root: Path, tmp_path: Path) -> None:
    write(root / "a/one")
    write(root / "b/two")
    (root / "b").chmod(0o700)
    program = f"""
import os
from dropmill.intake.names import NameFilter
from dropmill.intake.scan import list_candidates
root = os.open({str(root)!r}, os.O_RDONLY)
os.setresuid(65534, 65534, 65534)
listing = list_candidates(root, NameFilter(), recursive=True)
print([c[1] for c in listing.candidates], {{p: e.errno for p, e in listing.unreadable.items()}})
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "['a/one'] {'b': 13}\n", done.stderr


def test_each_is_seen_at_its_own_moment(root: Path, descriptor: int) -> None:
    for number in range(3):
        write(root / f"{number}")
    moments = iter([1.0, 2.0, 3.0])
    assert sorted(at for _, _, _, at in scan(descriptor, now=lambda: next(moments)).candidates) == [1.0, 2.0, 3.0]


def test_files_that_were_set_aside_are_only_counted_until_they_change(root: Path, descriptor: int) -> None:
    write(root / "a", 10)
    write(root / "b", 20)
    aside = {fingerprint("a", stamp_of(os.stat(root / "a")))}
    listing = scan(descriptor, aside=aside)
    assert paths(listing) == ["b"]
    assert (listing.total, listing.aside) == (1, 1)
    write(root / "a", 30)
    assert paths(scan(descriptor, aside=aside)) == ["b", "a"]


def test_without_its_marker_a_file_is_only_counted(root: Path, descriptor: int) -> None:
    for name in ("a.csv", "b.csv", "b.pdf", "c.csv", "in/d.csv", "in/d.csv.done"):
        write(root / name)
    write(root / "a.csv.done")
    write(root / "b.ready")
    names = NameFilter(marker_suffixes=(".done", ".ready"))
    listing = scan(descriptor, names, recursive=True)
    assert sorted(paths(listing)) == ["a.csv", "b.csv", "b.pdf", "in/d.csv"]
    assert listing.unmarked == 1
