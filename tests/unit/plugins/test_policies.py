from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from dropmill.api import Evict, Offer, Pause, PolicySpec, QueueView, Reject
from dropmill.plugins.records import checked
from dropmill_plugins.policies import oldest_first, pause, reject

POLICIES = {
    "reject": (reject, reject.RejectPolicy),
    "pause": (pause, pause.PausePolicy),
    "oldest_first": (oldest_first, oldest_first.OldestFirstPolicy),
}


def view(**changes: Any) -> QueueView:
    values: dict[str, Any] = {
        "max_items": 100,
        "max_bytes": 10_000,
        "items": 100,
        "bytes": 5_000,
        "high_items": 90,
        "low_items": 75,
        "oldest_age": 60.0,
        "evictable_items": 100,
        "evictable_bytes": 5_000,
    }
    return QueueView(**values | changes)


@some.composite
def situations(draw: some.DrawFn) -> tuple[Offer, QueueView]:
    """A queue and an offer that does not fit."""
    most_items, most_bytes = draw(some.integers(1, 1000)), draw(some.integers(1, 10**6))
    items, size = draw(some.integers(0, most_items)), draw(some.integers(0, most_bytes))
    over = draw(some.booleans())
    offer = Offer(
        draw(some.integers(max(1, most_items - items + 1) if over else 1, most_items * 2 + 1)),
        draw(some.integers(0 if over else most_bytes - size + 1, most_bytes * 2 + 1)),
    )
    return offer, view(
        max_items=most_items,
        max_bytes=most_bytes,
        items=items,
        bytes=size,
        evictable_items=draw(some.integers(0, items)),
        evictable_bytes=draw(some.integers(0, size)),
        oldest_age=draw(some.floats(0, 1e6)),
    )


@pytest.mark.parametrize("name", POLICIES)
def test_each_registers_one_sound_spec(name: str) -> None:
    module, factory = POLICIES[name]
    [spec] = module.register_queue_policies()
    assert checked(spec, PolicySpec) == (spec, [])
    assert spec.id == name
    assert spec.factory == f"{module.__name__}:{factory.__name__}"


@settings(deadline=None)
@given(situations(), some.sampled_from(sorted(POLICIES)))
def test_the_same_situation_has_the_same_answer(situation: tuple[Offer, QueueView], name: str) -> None:
    _, factory = POLICIES[name]
    first = factory({}).on_full(*situation)
    assert isinstance(first, Reject | Pause | Evict)
    assert factory({}).on_full(*situation) == first


def test_reject_says_how_full_the_queue_is() -> None:
    answer = reject.RejectPolicy({}).on_full(Offer(3, 700), view())
    assert answer == Reject("the queue holds 100 of 100 items and 5000 of 10000 bytes; 3 items of 700 bytes do not fit")


@pytest.mark.parametrize(("options", "below"), [({}, None), ({"resume_below": 0.5}, 50), ({"resume_below": 0}, 0)])
def test_pause_resumes_where_the_admin_says(options: dict[str, Any], below: int | None) -> None:
    assert pause.PausePolicy(options).on_full(Offer(1, 1), view()) == Pause(below)


def test_only_oldest_first_lets_intake_go_on() -> None:
    stops = {name: getattr(factory, "stops_intake", True) for name, (_, factory) in POLICIES.items()}
    assert stops == {"reject": True, "pause": True, "oldest_first": False}


@pytest.mark.parametrize(
    ("offer", "changes", "answer"),
    [
        (Offer(3, 300), {}, Evict(3, 0)),
        (Offer(1, 6_000), {"items": 10}, Evict(0, 1_000)),
        (Offer(5, 5_500), {}, Evict(5, 500)),
    ],
)
def test_oldest_first_drops_what_the_offer_needs(offer: Offer, changes: dict[str, Any], answer: Evict) -> None:
    assert oldest_first.OldestFirstPolicy({}).on_full(offer, view(**changes)) == answer


def test_a_margin_is_dropped_on_top() -> None:
    assert oldest_first.OldestFirstPolicy({"margin": 0.1}).on_full(Offer(1, 100), view()) == Evict(11, 0)
    assert oldest_first.OldestFirstPolicy({"margin": 0.1}).on_full(Offer(1, 100), view(evictable_items=4)) == Evict(
        4, 0
    )


@pytest.mark.parametrize(
    ("offer", "options", "changes", "said"),
    [
        (Offer(101, 1), {}, {}, "more than the whole queue"),
        (Offer(1, 10_001), {}, {}, "more than the whole queue"),
        (Offer(2, 100), {}, {"evictable_items": 1}, "99 deliveries are being sent"),
        (Offer(1, 9_000), {}, {"items": 5, "evictable_bytes": 3_000}, "2000 bytes are being sent"),
        (Offer(1, 1), {"minimum_age": 61}, {}, "less than minimum_age"),
    ],
)
def test_oldest_first_rejects_what_dropping_cannot_help(
    offer: Offer, options: dict[str, Any], changes: dict[str, Any], said: str
) -> None:
    answer = oldest_first.OldestFirstPolicy(options).on_full(offer, view(**changes))
    assert isinstance(answer, Reject)
    assert said in answer.reason


@settings(deadline=None)
@given(situations(), some.floats(0, 0.5))
def test_what_oldest_first_evicts_makes_room_and_is_there_to_evict(
    situation: tuple[Offer, QueueView], margin: float
) -> None:
    offer, queue = situation
    answer = oldest_first.OldestFirstPolicy({"margin": margin}).on_full(offer, queue)
    if isinstance(answer, Evict):
        assert 0 <= answer.items <= queue.evictable_items
        assert 0 <= answer.bytes <= queue.evictable_bytes
        assert queue.items - answer.items + offer.items <= queue.max_items
        assert queue.bytes - answer.bytes + offer.bytes <= queue.max_bytes
    else:
        too_large = offer.items > queue.max_items or offer.bytes > queue.max_bytes
        stuck_items = queue.items - queue.evictable_items + offer.items > queue.max_items
        stuck_bytes = queue.bytes - queue.evictable_bytes + offer.bytes > queue.max_bytes
        assert too_large or stuck_items or stuck_bytes
