"""Which waiting files are looked at when, and in what order."""

from __future__ import annotations

import math

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dropmill.intake.scan import Candidate, Listing, Order, fingerprint, rank
from dropmill.intake.settle import Gaps, Stamp
from dropmill.intake.tracker import Tracker, Why


def stamp(mtime: int = 1, size: int = 5, inode: int = 1) -> Stamp:
    return (size, mtime, mtime, 1, inode)


def candidates(*files: tuple[str, Stamp], at: float = 0.0, order: Order = "oldest") -> list[Candidate]:
    return sorted((rank(order, mark), path, mark, at) for path, mark in files)


def scan(one: Tracker, found: list[Candidate], total: int, *, now: float = 0.0) -> None:
    one.reconcile(Listing(candidates=found, total=total), now)


def tracker(settle: float = 2.0, **options: object) -> Tracker:
    return Tracker(gaps=Gaps(settle), **options)  # type: ignore[arg-type]


def test_a_file_is_handed_out_once_it_has_stood_for_the_settle_time() -> None:
    one = tracker()
    one.observe("a", stamp(), 10.0)
    assert one.take(11.9, 10) == []
    assert one.next_due(11.9) == 12.0
    assert one.take(12.0, 10) == ["a"]
    assert one.take(13.0, 10) == []


def test_a_change_makes_it_wait_again() -> None:
    one = tracker()
    one.observe("a", stamp(1), 10.0)
    one.observe("a", stamp(2), 11.5)
    assert one.take(12.0, 10) == []
    assert one.take(13.5, 10) == ["a"]


def test_a_change_after_it_was_queued_takes_it_out_of_the_queue() -> None:
    one = tracker()
    one.observe("a", stamp(1), 0.0)
    one.observe("b", stamp(2), 0.0)
    assert one.take(2.0, 1) == ["a"]
    one.observe("b", stamp(3), 2.0)
    assert one.take(2.0, 10) == []
    assert one.take(4.0, 10) == ["b"]


@pytest.mark.parametrize(
    ("order", "expected"), [("oldest", ["b", "c", "a"]), ("newest", ["a", "c", "b"]), ("name", ["a", "b", "c"])]
)
def test_the_order_holds_before_the_batch_is_cut(order: Order, expected: list[str]) -> None:
    one = tracker(order=order)
    scan(one, candidates(("a", stamp(30)), ("b", stamp(10)), ("c", stamp(20)), order=order), 3)
    taken = [path for _ in range(3) for path in one.take(2.0, 1)]
    assert taken == expected


def test_a_full_scan_observes_each_at_its_own_moment() -> None:
    one = tracker()
    scan(one, [*candidates(("a", stamp()), at=1.0), *candidates(("b", stamp()), at=2.0)], 2)
    assert one.take(2.9, 9) == []
    assert one.take(3.0, 9) == ["a"]
    assert one.take(4.0, 9) == ["b"]


def test_what_a_full_scan_does_not_find_is_gone() -> None:
    one = tracker()
    scan(one, candidates(("a", stamp()), ("b", stamp())), 2)
    scan(one, candidates(("b", stamp()), at=1.0), 1)
    assert len(one) == 1
    assert one.take(9.0, 9) == ["b"]


def test_files_beyond_the_limit_are_counted_and_asked_for_later() -> None:
    one = tracker(limit=4)
    scan(one, candidates(*[(f"{n}", stamp(n)) for n in range(4)]), 10)
    assert one.untracked == 6
    assert not one.wants_scan
    one.observe("new", stamp(), 0.0)
    assert one.get("new") is None
    assert one.untracked == 7
    one.forget("0")
    one.forget("1")
    assert one.wants_scan


def test_a_postponed_file_stands_before_nobody() -> None:
    one = tracker()
    scan(one, candidates(("a", stamp(1)), ("b", stamp(2))), 2)
    assert one.take(2.0, 1) == ["a"]
    one.postpone("a", Why.WRITER, 10.0)
    assert one.take(2.0, 1) == ["b"]
    assert one.take(9.9, 1) == []
    assert one.take(10.0, 1) == ["a"]


def test_tries_count_looks_in_a_row_with_the_same_reason() -> None:
    one = tracker()
    one.observe("a", stamp(), 0.0)
    for number in range(1, 4):
        one.postpone("a", Why.UNREADABLE, 1.0, "no")
        assert one.tries("a", Why.UNREADABLE) == number
    one.postpone("a", Why.WRITER, 1.0)
    assert one.tries("a", Why.UNREADABLE) == 0
    assert one.tries("a", Why.WRITER) == 1
    assert one.tries("gone", Why.WRITER) == 0
    one.postpone("gone", Why.WRITER, 1.0)


def test_a_hint_ends_a_wait_for_something_else() -> None:
    one = tracker()
    one.observe("a", stamp(), 0.0)
    assert one.take(2.0, 1) == ["a"]
    one.postpone("a", Why.MARKER, math.inf)
    assert one.next_due(5.0) is None
    one.observe("a", stamp(), 5.0)
    assert one.take(5.0, 1) == ["a"]


def test_an_empty_file_waits_until_it_changes_or_is_hinted_at() -> None:
    one = tracker()
    empty = stamp(size=0)
    one.observe("a", empty, 0.0)
    one.take(2.0, 1)
    one.postpone("a", Why.EMPTY, math.inf)
    scan(one, candidates(("a", empty), at=5.0), 1)
    assert one.take(60.0, 1) == []
    scan(one, candidates(("a", stamp(2, size=3)), at=61.0), 1)
    assert one.take(63.0, 1) == ["a"]


def test_a_scan_takes_up_what_was_handed_out_and_never_came_back() -> None:
    one = tracker()
    one.observe("a", stamp(), 0.0)
    assert one.take(2.0, 1) == ["a"]
    scan(one, candidates(("a", stamp()), at=60.0), 1)
    assert one.take(60.0, 1) == ["a"]


def test_what_was_not_looked_at_is_due_at_once() -> None:
    one = tracker()
    one.observe("a", stamp(), 0.0)
    assert one.take(2.0, 1) == ["a"]
    one.give_back("a")
    one.give_back("gone")
    assert one.next_due(2.0) == 2.0
    assert one.take(2.0, 1) == ["a"]


def test_a_file_that_was_renamed_in_settles_sooner() -> None:
    one = tracker(settle=2.0, quick=0.25)
    one.observe("a", stamp(), 0.0, renamed_in=True)
    assert one.take(0.25, 1) == ["a"]
    one.observe("b", stamp(), 0.0)
    one.observe("b", stamp(), 0.1, renamed_in=True)  # it was seen before: not dropped whole
    assert one.take(1.0, 1) == []
    assert tracker(settle=0.1, quick=0.25).settle_time(one.get("a"), 0.0) == 0.1  # type: ignore[arg-type]


def test_counts_say_how_many_wait_for_what() -> None:
    one = tracker()
    one.observe("a", stamp(), 0.0)
    one.observe("b", stamp(), 0.0)
    one.postpone("b", Why.WRITER, 1.0)
    assert one.counts() == {"settling": 1, "being written": 1}
    assert {path for path, _ in one} == {"a", "b"}


def test_stale_entries_are_swept() -> None:
    one = tracker()
    one.observe("b", stamp(7), 0.0)
    assert one.take(2.0, 1) == ["b"]
    for number in range(3000):
        one.observe("a", stamp(number), float(number))
        one.give_back("b")
    assert len(one._due) >= 3000
    assert len(one._ready) >= 3000
    scan(one, candidates(("a", stamp(2999)), ("b", stamp(7)), at=3000.0), 2)
    assert len(one._due) < 10
    assert len(one._ready) < 10
    assert one.take(5000.0, 9) == ["b", "a"]


class Waiting(RuleBasedStateMachine):
    """Against a model: a dictionary of since-when-unchanged."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.tracker = tracker(settle=2.0)
        self.files: dict[str, tuple[Stamp, float]] = {}
        self.out: set[str] = set()
        self.mtime = 0

    names = st.sampled_from(["a", "b", "c", "d"])

    @rule(seconds=st.floats(0.1, 3.0))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(name=names)
    def write(self, name: str) -> None:
        self.mtime += 1
        mark = stamp(self.mtime)
        self.files[name] = (mark, self.now)
        self.out.discard(name)
        self.tracker.observe(name, mark, self.now)

    @precondition(lambda self: self.files)
    @rule(data=st.data())
    def hint(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.files)))
        self.tracker.observe(name, self.files[name][0], self.now)
        self.out.discard(name)

    @precondition(lambda self: self.files)
    @rule(data=st.data())
    def vanish(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.files)))
        del self.files[name]
        self.out.discard(name)
        self.tracker.forget(name)

    @rule()
    def scan(self) -> None:
        found = candidates(*[(name, mark) for name, (mark, _) in self.files.items()], at=self.now)
        scan(self.tracker, found, len(found), now=self.now)
        self.out.clear()

    @rule(limit=st.integers(1, 4))
    def take(self, limit: int) -> None:
        due = sorted(
            (mark[1], name)
            for name, (mark, since) in self.files.items()
            if name not in self.out and self.now >= since + 2.0
        )
        taken = self.tracker.take(self.now, limit)
        assert taken == [name for _, name in due[:limit]]
        self.out.update(taken)

    @invariant()
    def tracks_what_is_there(self) -> None:
        assert {name for name, _ in self.tracker} == set(self.files)

    @invariant()
    def says_when_something_is_due(self) -> None:
        moments = [since + 2.0 for name, (_, since) in self.files.items() if name not in self.out]
        due = self.tracker.next_due(self.now)
        if moments:
            assert due is not None
            assert max(due, self.now) == max(min(moments), self.now)
        else:
            assert due is None


Waiting.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestWaiting = Waiting.TestCase


def test_a_pause_of_a_writer_that_holds_the_file_open_lengthens_the_settle_time() -> None:
    one = tracker(settle=2.0)
    one.observe("a", stamp(1), 0.0)
    one.observe("b", stamp(1), 0.0)
    one.take(2.0, 2)
    one.postpone("a", Why.WRITER, 4.0)
    one.observe("a", stamp(2), 6.0)
    assert one.take(8.0, 9) == []
    assert one.take(15.0, 9) == ["a"]


def test_a_change_of_a_file_that_only_waited_teaches_nothing() -> None:
    one = tracker(settle=2.0)
    one.observe("a", stamp(1), 0.0)
    one.observe("a", stamp(2), 100.0)
    assert one.take(102.0, 9) == ["a"]


def test_many_that_are_due_at_once_keep_their_order() -> None:
    one = tracker()
    scan(one, candidates(*[(f"{n}", stamp(10_000 - n)) for n in range(500)]), 500)
    for number in range(500, 600):
        one.observe(f"{number}", stamp(10_000 - number), 0.0)
    one.observe("later", stamp(1), 1.0)
    taken = [path for _ in range(7) for path in one.take(2.0, 100)]
    assert taken == [f"{number}" for number in reversed(range(600))]
    assert one.take(3.0, 1) == ["later"]


@pytest.mark.parametrize("why", [Why.EMPTY, Why.UNREADABLE])
def test_very_many_that_wait_for_a_change_take_no_places(why: Why, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dropmill.intake.tracker._STUCK", 3)
    one = tracker(limit=20)
    found = candidates(*[(f"{n}", stamp(n, size=0)) for n in range(20)])
    scan(one, found, 50)
    for path in one.take(2.0, 100):
        one.postpone(path, why, 1000.0)
    assert len(one) == 3
    assert one.wants_scan
    assert {fingerprint(path, mark) for _, path, mark, _ in found[3:]} == one.aside
    scan(one, [*found[:3], *candidates(("new", stamp(99)), at=3.0)], 4, now=3.0)
    assert one.take(5.0, 9) == ["new"]
    scan(one, found[:3], 3, now=700.0)
    assert one.aside == set()  # each is looked at again now and then


def test_files_that_changed_or_went_make_room_among_the_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dropmill.intake.tracker._STUCK", 1)
    one = tracker()
    for name in ("a", "b"):
        one.observe(name, stamp(), 0.0)
    one.take(2.0, 9)
    one.postpone("a", Why.EMPTY, math.inf)
    one.postpone("a", Why.EMPTY, math.inf)
    one.observe("a", stamp(2), 3.0)
    one.postpone("b", Why.EMPTY, math.inf)
    assert one.get("b") is not None
    assert one.aside == set()
