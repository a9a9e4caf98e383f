from __future__ import annotations

import os
from pathlib import Path

import pytest

from dropmill.api import Magic, Part
from dropmill.config.settings import ConverterChoice
from dropmill.conversion.inputs import Job, Prepared, Unreadable, close_all, prepare
from dropmill.conversion.selection import Selector
from dropmill.queue.records import FileIdentity
from support.conversions import bind

SELECTOR = Selector(
    [ConverterChoice(id="lines", options={}), ConverterChoice(id="magic", options={})],
    {
        "lines": bind("lines", "Lines", ["*.txt"]),
        "magic": bind("magic", "Lines", ["*.bin"], magic=(Magic(b"AB"),)),
        "other": bind("other", "Lines", ["*.x"]),
    },
)


def job(path: Path, **more: object) -> Job:
    facts = {
        "id": "f1",
        "place": str(path),
        "name": path.name,
        "size": 3,
        "sha256": "",
        "folder": "inbox",
        "selector": SELECTOR,
    }
    return Job(**{**facts, **more})  # type: ignore[arg-type]


def identity(path: Path) -> FileIdentity:
    found = path.stat()
    return FileIdentity(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_dev, found.st_ino)


def one(given: Job) -> Prepared | Unreadable:
    (found,) = prepare([given])
    if isinstance(found, Prepared):
        close_all(found.descriptors)
    return found


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "a.txt"
    made.write_text("abc")
    return made


def test_a_file_is_opened_and_shortlisted(path: Path) -> None:
    found = one(job(path, identity=identity(path)))
    assert isinstance(found, Prepared)
    assert [candidate.binding.spec.id for candidate in found.shortlist.candidates] == ["lines"]
    assert found.modified == path.stat().st_mtime


def test_magic_is_read_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    for content, count in ((b"ABC", 1), (b"BCA", 0)):
        path.write_bytes(content)
        found = one(job(path))
        assert isinstance(found, Prepared)
        assert len(found.shortlist.candidates) == count


def test_a_forced_converter(path: Path) -> None:
    found = one(job(path, forced="other"))
    assert isinstance(found, Prepared)
    assert [candidate.binding.spec.id for candidate in found.shortlist.candidates] == ["other"]


def test_parts_are_opened_in_order(tmp_path: Path, path: Path) -> None:
    (tmp_path / "b").write_text("b")
    before = descriptors()
    (found,) = prepare([job(path, parts=[(Part("b", 1, ""), str(tmp_path / "b")), (Part("a", 3, ""), str(path))])])
    assert isinstance(found, Prepared)
    assert [os.read(descriptor, 9) for descriptor in found.descriptors] == [b"b", b"abc"]
    close_all(found.descriptors)
    missing = one(job(path, parts=[(Part("a", 3, ""), str(path)), (Part("c", 1, ""), str(tmp_path / "c"))]))
    assert isinstance(missing, Unreadable)
    assert descriptors() == before


def test_what_cannot_be_opened(tmp_path: Path, path: Path) -> None:
    before = descriptors()
    known = identity(path)
    path.write_text("abcd")
    cases = {
        "changed": (job(path, identity=known), "DM-V033", True),
        "gone": (job(tmp_path / "gone"), "DM-V030", True),
        "folder gone": (job(tmp_path / "no" / "gone"), "DM-V031", False),
        "folder": (job(tmp_path), "DM-V033", True),
        "long name": (job(tmp_path / ("x" * 300)), "DM-V031", False),
    }
    (tmp_path / "link").symlink_to(path)
    cases["link"] = (job(tmp_path / "link"), "DM-V033", True)
    os.mkfifo(tmp_path / "pipe")
    cases["pipe"] = (job(tmp_path / "pipe"), "DM-V033", True)
    for name, (given, code, lasting) in cases.items():
        found = one(given)
        assert isinstance(found, Unreadable), name
        assert (found.code, found.lasting) == (code, lasting), name
    assert descriptors() == before


def test_an_error_of_our_own_closes_the_file(path: Path) -> None:
    before = descriptors()
    with pytest.raises(AttributeError):
        prepare([job(path, selector=None)])
    assert descriptors() == before


def test_closing_what_is_closed_already() -> None:
    close_all([9_999])
