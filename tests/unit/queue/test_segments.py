"""Segments: what is needed is never overwritten, what is not needed makes room."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from dropmill.foundation.failpoints import Failpoints
from dropmill.queue.sqlite.segments import Segments, SyncFailed
from dropmill.testing.store_suite.bench import deliver

SIZE = 1000


def opened(folder: Path, failpoints: str = "", live: Any = ()) -> Segments:
    segments = Segments(folder, Failpoints(failpoints), size=SIZE)
    segments.open(live)
    return segments


def put(segments: Segments, text: bytes) -> tuple[int, int]:
    place = segments.append(len(text), (text,))
    segments.sync()
    segments.keep(place[0])
    return place


def test_payloads_stand_one_behind_the_other(tmp_path: Path) -> None:
    segments = opened(tmp_path)
    places = [put(segments, bytes([65 + index]) * 300) for index in range(5)]
    assert places == [(1, 0), (1, 300), (1, 600), (2, 0), (2, 300)]
    assert segments.read(1, 300, 300) == b"B" * 300
    assert (tmp_path / "1").stat().st_size == SIZE
    segments.close()


def test_an_empty_segment_is_used_again(tmp_path: Path) -> None:
    segments = opened(tmp_path)
    for _ in range(3):
        put(segments, b"x" * 300)
    put(segments, b"y" * 300)
    for _ in range(3):
        segments.release(1)
    assert put(segments, b"z" * 600) == (2, 300)
    assert put(segments, b"z" * 600) == (1, 0)
    segments.release(1)
    segments.release(1)
    assert put(segments, b"z" * 900) == (1, 0), "one release too many harms nobody"
    segments.close()


def test_what_is_not_committed_or_being_read_is_not_overwritten(tmp_path: Path) -> None:
    segments = opened(tmp_path)
    segments.append(900, (b"a" * 900,))
    assert put(segments, b"b" * 900) == (2, 0)
    segments.release(2)
    segments.pin(2)
    assert put(segments, b"c" * 900) == (3, 0)
    segments.unpin(2)
    segments.drop(1)
    assert put(segments, b"d" * 900)[0] in (1, 2)
    segments.pin(99)
    segments.unpin(99)
    segments.close()


def test_a_payload_that_breaks_off_takes_no_place(tmp_path: Path) -> None:
    segments = opened(tmp_path)
    for pieces, number in (((b"short",), errno.EIO), ((b"x" * 11,), errno.EFBIG)):
        with pytest.raises(OSError, match="payload of 10") as caught:
            segments.append(10, pieces)
        assert caught.value.errno == number
    assert put(segments, b"y" * 900) == (1, 0)
    segments.close()


def test_a_payload_never_writes_beyond_its_place(tmp_path: Path) -> None:
    segments = opened(tmp_path)
    first = segments.append(10, (b"x" * 10,))
    put(segments, b"n" * 10)
    with pytest.raises(OSError, match="had more"):
        segments.append(10, (b"a" * 10, b"b"))
    assert segments.read(1, 10, 10) == b"n" * 10
    assert first == (1, 0)
    segments.close()


def test_every_touched_segment_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segments = opened(tmp_path)
    for _ in range(3):
        segments.append(600, (b"x" * 600,))
    synced: list[str] = []
    monkeypatch.setattr(os, "fdatasync", lambda number: synced.append(os.readlink(f"/proc/self/fd/{number}")))
    segments.sync()
    assert sorted(synced) == [str(tmp_path / name) for name in ("1", "2", "3")]
    segments.sync()
    assert len(synced) == 3, "and not again"
    segments.sync_one(2)
    assert synced[-1] == str(tmp_path / "2")
    segments.close()


def test_a_segment_that_failed_to_sync_takes_no_more(tmp_path: Path) -> None:
    segments = opened(tmp_path, "queue.segment.sync=error:EIO")
    segments.append(10, (b"x" * 10,))
    with pytest.raises(SyncFailed):
        segments.sync()
    segments.sync()
    assert put(segments, b"y" * 10) == (2, 0)
    segments.close()


def test_after_a_restart_it_goes_on_behind_what_is_needed(tmp_path: Path) -> None:
    segments = opened(tmp_path)
    put(segments, b"a" * 300)
    put(segments, b"b" * 300)
    segments.close()
    (tmp_path / "notes.txt").write_text("not ours")
    segments = opened(tmp_path, live=[(1, 1, 300), (7, 1, 100)])
    assert put(segments, b"c" * 300) == (1, 300)
    assert put(segments, b"d" * 900) == (8, 0), "a number that rows point to is not given to another file"
    with pytest.raises(FileNotFoundError):
        segments.read(7, 0, 1)
    segments.close()


def test_opened_anew_it_keeps_its_files(tmp_path: Path) -> None:
    segments = opened(tmp_path)
    put(segments, b"a" * 300)
    pending = segments.append(300, (b"p" * 300,))
    segments.open([(1, 1, 300)])
    assert put(segments, b"c" * 300) == (1, 600)
    segments.keep(pending[0])
    assert segments.read(1, 300, 300) == b"p" * 300
    segments.close()


def test_surplus_empty_segments_go(tmp_path: Path) -> None:
    segments = opened(tmp_path)
    for _ in range(6):
        put(segments, b"x" * 900)
    for number in range(1, 6):
        segments.release(number)
    assert segments.trim() == 3
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["1", "2", "6"]
    assert segments.trim() == 0
    segments.close()


def test_a_segment_is_written_ahead_for_later(tmp_path: Path) -> None:
    segments = opened(tmp_path)
    assert not segments.provide(), "nobody uses segments"
    put(segments, b"a" * 300)
    assert segments.provide()
    assert not segments.provide(), "one is enough"
    assert put(segments, b"b" * 300) == (2, 0), "what was written before is preferred"
    segments.release(1)
    assert segments.provide(), "the first one, now that it is empty"
    assert put(segments, b"c" * 600) == (2, 300)
    assert put(segments, b"d" * 600) == (1, 0)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["1", "2"]
    segments.close()
    segments = opened(tmp_path, live=[(2, 2, 900)])
    assert put(segments, b"e" * 600) == (1, 0)
    assert segments.provide()
    segments.close()


def test_threads_append_side_by_side(tmp_path: Path) -> None:
    segments = opened(tmp_path)
    places: list[tuple[tuple[int, int], bytes]] = []

    def work(number: int) -> None:
        for turn in range(50):
            text = f"{number:02}{turn:03}".encode() * 8
            place = segments.append(len(text), (text[:7], text[7:]))
            places.append((place, text))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(places) == 400
    for (number, offset), text in places:
        assert segments.read(number, offset, len(text)) == text
    segments.close()


# --- in a store --------------------------------------------------------------------------------------------------------------


async def test_a_dead_letter_does_not_hold_a_whole_segment(bench: Any) -> None:
    body = b"k" * 1_000_000
    async with bench.store() as store:
        await store.offer([bench.report("dead", b"d" * 100_000)])
        (dead,) = (await store.claim("out", 1)).leases
        await store.fail(dead, error={}, delay=None, permanent=True)
        for index in range(70):
            await store.offer([bench.report(f"r{index}", body)])
            await deliver(store)
        assert sorted(entry.name for entry in (bench.state / "segments").iterdir()) == ["1", "2"]
        while await store.maintain():
            pass
        await store.offer([bench.report("next", body)])
        await deliver(store)
        for _ in range(70):
            await store.offer([bench.report(f"again{_}", body)])
            await deliver(store)
        assert len(list((bench.state / "segments").iterdir())) <= 3
        await store.retry([dead.id])
        (again,) = (await store.claim("out", 1)).leases
        assert b"".join([piece async for piece in store.read(again, 65_536)]) == b"d" * 100_000


async def test_segments_are_recycled_at_work(bench: Any) -> None:
    async with bench.store() as store:
        for index in range(200):
            await store.offer([bench.report(f"r{index}", b"x" * 1_000_000)])
            await deliver(store)
        assert len(list((bench.state / "segments").iterdir())) <= 3
