from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from dropmill.api import Part, Source
from dropmill.conversion.worker.page import SIZE, Cancelled, Page
from dropmill.conversion.worker.source import HEAD, FileSource

CONTENT = bytes(range(256)) * 1_000


@pytest.fixture
def page() -> Page:
    made = Page(memoryview(bytearray(SIZE)))
    made.begin(1)
    return made


def make(tmp_path: Path, page: Page, content: bytes = CONTENT, *more: bytes, name: str = "sub/a.csv") -> FileSource:
    paths = []
    for number, data in enumerate((content, *more)):
        path = tmp_path / f"file-{number}"
        path.write_bytes(data)
        paths.append(path)
    parts = [Part(f"part-{number}", len(data), "") for number, data in enumerate((content, *more))] if more else []
    (tmp_path / "task").mkdir()
    return FileSource(
        name=name,
        size=len(content),
        sha256="",
        modified=0.0,
        parts=parts,
        descriptors=[os.open(path, os.O_RDONLY) for path in paths],
        page=page,
        folder=lambda: tmp_path / "task",
    )


def test_it_is_a_source(tmp_path: Path, page: Page) -> None:
    source = make(tmp_path, page)
    assert isinstance(source, Source)
    source.close()


def test_reading_is_counted_and_starts_anew_each_time(tmp_path: Path, page: Page) -> None:
    source = make(tmp_path, page)
    with source.open() as stream:
        assert stream.read() == CONTENT
    assert page.read == len(CONTENT)
    with source.open() as one, source.open() as other:
        assert one.read(10) == other.read(10) == CONTENT[:10]
        assert one.readline() == CONTENT[10:11]
    source.close()


def test_seeking(tmp_path: Path, page: Page) -> None:
    source = make(tmp_path, page)
    with source.open() as stream:
        assert stream.seek(-6, os.SEEK_END) == len(CONTENT) - 6
        assert stream.read(3) == CONTENT[-6:-3]
        assert stream.seek(-3, os.SEEK_CUR) == len(CONTENT) - 6
        assert stream.tell() == len(CONTENT) - 6
        stream.seek(len(CONTENT) + 100)
        assert stream.read() == b""
        with pytest.raises(ValueError, match="before the start"):
            stream.raw.seek(-1)  # type: ignore[attr-defined]
        assert stream.seekable()
        assert stream.readable()
        assert not stream.writable()
        assert stream.name == "sub/a.csv"
    source.close()


def test_libraries_may_wrap_it(tmp_path: Path, page: Page) -> None:
    source = make(tmp_path, page, "Zeile eins\nZeile zwei\n".encode("utf-16"))
    with io.TextIOWrapper(source.open(), encoding="utf-16") as text:
        assert list(text) == ["Zeile eins\n", "Zeile zwei\n"]
    source.close()


def test_the_head_is_64_kib_and_knows_whether_it_is_all(tmp_path: Path, page: Page) -> None:
    source = make(tmp_path, page)
    head = source.head()
    assert (head.name, head.size, head.data, head.complete) == ("a.csv", len(CONTENT), CONTENT[:HEAD], False)
    source.close()


def test_an_empty_file(tmp_path: Path, page: Page) -> None:
    source = make(tmp_path, page, b"")
    assert source.head().complete
    with source.open() as stream:
        assert stream.read() == b""
    source.close()


def test_parts_are_opened_by_name(tmp_path: Path, page: Page) -> None:
    source = make(tmp_path, page, b"one", b"two")
    with source.open("part-1") as stream:
        assert stream.read() == b"two"
    assert Path(source.local_path("part-1")).read_bytes() == b"two"
    with pytest.raises(KeyError, match="no part 'x'"):
        source.open("x")
    source.close()


def test_a_local_path_keeps_the_name_and_is_made_once(tmp_path: Path, page: Page) -> None:
    source = make(tmp_path, page)
    path = source.local_path()
    assert path.endswith("/a.csv")
    assert source.local_path() == path
    assert Path(path).read_bytes() == CONTENT
    source.close()


def test_a_cancelled_call_reads_no_further(tmp_path: Path, page: Page) -> None:
    source = make(tmp_path, page)
    stream = source.open()
    stream.read(10)
    page.cancel(1)
    with pytest.raises(Cancelled):
        stream.read()
    source.close()


def test_a_read_that_fails_is_remembered(tmp_path: Path, page: Page) -> None:
    source = make(tmp_path, page)
    stream = source.open()
    folder = os.open(tmp_path, os.O_RDONLY)
    os.dup2(folder, source._descriptors[0])
    os.close(folder)
    for read in (lambda: stream.read(10), stream.read, source.head):
        with pytest.raises(IsADirectoryError):
            read()
    assert isinstance(source.trouble, IsADirectoryError)
    source.close()


def test_a_file_that_was_written_to_is_changed(tmp_path: Path, page: Page) -> None:
    source = make(tmp_path, page)
    assert not source.changed()
    os.utime(tmp_path / "file-0", ns=(1, 1))
    assert source.changed()
    source.close()


def test_a_file_of_another_size_than_was_claimed_is_changed(tmp_path: Path, page: Page) -> None:
    source = make(tmp_path, page)
    source.size += 1
    assert source.changed()
    source.close()


def test_closing_closes_what_the_converter_left_open(tmp_path: Path, page: Page) -> None:
    source = make(tmp_path, page)
    stream = source.open()
    descriptor = source._descriptors[0]
    source.close()
    assert stream.closed
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
