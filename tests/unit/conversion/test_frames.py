from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropmill.conversion.worker.frames import MAX_BODY, MAX_HEADER, Decoder, Kind, ProtocolError, clean, pack

FRAMES = st.lists(
    st.tuples(st.sampled_from(Kind), st.dictionaries(st.text(max_size=5), st.integers(0, 99)), st.binary(max_size=40)),
    max_size=6,
)


@given(FRAMES, st.lists(st.integers(1, 30), min_size=1))
def test_frames_survive_any_cutting(frames: list[tuple[Kind, dict[str, int], bytes]], cuts: list[int]) -> None:
    data = b"".join(pack(kind, header, body) for kind, header, body in frames)
    decoder, found, turn = Decoder(), [], 0
    while data:
        size = cuts[turn % len(cuts)]
        found += list(decoder.feed(data[:size]))
        data = data[size:]
        turn += 1
    assert found == frames


@pytest.mark.parametrize(
    "data",
    [
        b"hello, this is no frame at all",
        bytes.fromhex("d3000000 00000002 00000000") + b"{}",
        bytes.fromhex("d3080000 00000002 00000000") + b"{}",
        struct.pack("!BBxxII", 0xD3, 1, MAX_HEADER + 1, 0),
        struct.pack("!BBxxII", 0xD3, 1, 2, MAX_BODY + 1),
        bytes.fromhex("d3010000 00000002 00000000") + b"[]",
        bytes.fromhex("d3010000 00000002 00000000") + b"{,",
        bytes.fromhex("d3010000 00000002 00000000") + b"\xff\xff",
    ],
)
def test_what_is_no_frame_is_a_violation(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        list(Decoder().feed(data))


def test_frames_before_a_violation_are_given(tmp_path: object) -> None:
    found = []
    with pytest.raises(ProtocolError):
        for frame in Decoder().feed(pack(Kind.OK, {"n": 1}) + b"garbage, garbage"):
            found.append(frame)
    assert found == [(Kind.OK, {"n": 1}, b"")]


def test_what_is_over_the_caps_is_not_sent() -> None:
    with pytest.raises(ProtocolError):
        pack(Kind.REPORT, {}, b"x" * (MAX_BODY + 1))
    with pytest.raises(ProtocolError):
        pack(Kind.REPORT, {"a": "x" * MAX_HEADER})


def test_any_object_becomes_text_that_fits() -> None:
    class Nasty:
        def __str__(self) -> str:
            raise ValueError

    assert clean("a\udcff") == "a\\udcff"
    assert clean("x" * 50, 10) == "xxxxxxxxx…"
    assert clean(Nasty()) == "<Nasty>"
    assert clean(7) == "7"
