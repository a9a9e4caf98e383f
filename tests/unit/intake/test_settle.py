"""When a file counts as written to its end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dropmill.intake.settle import Gaps, Stamp, Watched, identity_of, observe, settled

A: Stamp = (10, 1, 1, 1, 1)
B: Stamp = (20, 2, 2, 1, 1)
OTHER_INODE: Stamp = (10, 1, 1, 1, 2)


def test_one_observation_never_settles_a_file() -> None:
    assert not settled(observe(None, A, 5.0), 0.0)


def test_two_observations_that_span_the_time_settle_it() -> None:
    watched = observe(observe(None, A, 5.0), A, 7.0)
    assert settled(watched, 2.0)
    assert not settled(watched, 2.1)


def test_a_change_begins_the_wait_anew() -> None:
    watched = observe(observe(observe(None, A, 0.0), A, 9.0), B, 10.0)
    assert watched.since == 10.0
    assert watched.first == 0.0
    assert not settled(observe(watched, B, 11.0), 2.0)


def test_another_inode_under_the_name_is_another_file() -> None:
    watched = observe(observe(None, A, 0.0), OTHER_INODE, 100.0)
    assert watched.first == 100.0


def test_the_identity_keeps_all_five_fields() -> None:
    identity = identity_of((1, 2, 3, 4, 5))
    assert (identity.size, identity.mtime_ns, identity.ctime_ns, identity.device, identity.inode) == (1, 2, 3, 4, 5)


stamps = st.tuples(*[st.integers(0, 2)] * 5)


@given(st.lists(st.tuples(stamps, st.floats(0.0, 3.0)), min_size=1, max_size=30), st.floats(0.01, 5.0))
def test_settled_means_the_same_stamp_over_the_whole_time(looks: list[tuple[Stamp, float]], settle: float) -> None:
    watched: Watched | None = None
    now = 0.0
    history: list[tuple[float, Stamp]] = []
    for stamp, pause in looks:
        now += pause
        history.append((now, stamp))
        watched = observe(watched, stamp, now)
        same = []
        for at, seen in reversed(history):
            if seen != stamp:
                break
            same.append(at)
        assert settled(watched, settle) == (len(same) >= 2 and same[0] - same[-1] >= settle and same[0] > same[-1])


def test_the_settle_time_follows_pauses_that_were_seen() -> None:
    gaps = Gaps(2.0)
    assert gaps.settle(0.0) == 2.0
    gaps.note(observe(None, A, 0.0), B, 7.0)
    assert gaps.settle(7.0) == 10.5


def test_pauses_within_the_settle_time_teach_nothing() -> None:
    gaps = Gaps(2.0)
    gaps.note(observe(None, A, 0.0), B, 1.9)
    assert gaps.settle(2.0) == 2.0


def test_a_file_that_was_empty_had_only_been_begun() -> None:
    gaps = Gaps(2.0)
    gaps.note(observe(None, (0, 1, 1, 1, 1), 0.0), B, 30.0)
    assert gaps.settle(30.0) == 2.0


def test_a_replaced_file_is_no_pause() -> None:
    gaps = Gaps(2.0)
    gaps.note(observe(None, A, 0.0), OTHER_INODE, 30.0)
    assert gaps.settle(30.0) == 2.0


def test_pauses_are_forgotten_and_bounded() -> None:
    gaps = Gaps(2.0, limit=20.0)
    gaps.note(observe(None, A, 0.0), B, 500.0)
    assert gaps.settle(500.0) == 20.0
    assert gaps.settle(500.0 + Gaps.MEMORY + 1) == 2.0
    for number in range(1000):
        gaps.note(observe(None, A, 0.0), B, 5000.0 + number)
    assert len(gaps._gaps) == Gaps.KEPT
