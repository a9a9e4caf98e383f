from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from dropmill.reports.ids import NAMESPACE, KeyCounter, report_id

FACTS = {"sha256": "ab" * 32, "folder": "inbox", "converter": "csv", "key": None, "ordinal": 0, "occurrence": 0}


def test_ids_never_change() -> None:
    """Every id ever delivered depends on this: a change here makes all of them new."""
    assert report_id(**FACTS) == "18ffe999-3493-51e2-b5a2-1000f35123f7"
    assert report_id(**{**FACTS, "key": "Grüße"}) == "ef88bf68-22a3-5057-9165-ee44193c5931"


def test_an_id_is_a_version_5_uuid_of_the_facts() -> None:
    made = uuid.UUID(report_id(**FACTS))
    assert made.version == 5
    assert made == uuid.uuid5(NAMESPACE, '["' + "ab" * 32 + '","inbox","csv",0,0]')


def test_each_fact_counts() -> None:
    others = [
        {"sha256": "cd" * 32},
        {"folder": "other"},
        {"converter": "json"},
        {"key": "S1"},
        {"key": "0"},  # a key that reads like an ordinal is none
        {"ordinal": 1},
        {"occurrence": 1},
    ]
    assert len({report_id(**{**FACTS, **other}) for other in [{}, *others]}) == 8


def test_a_key_takes_the_place_of_the_ordinal() -> None:
    assert report_id(**{**FACTS, "key": "S1"}) == report_id(**{**FACTS, "key": "S1", "ordinal": 7})


def test_facts_cannot_be_shifted_into_one_another() -> None:
    one = report_id(**{**FACTS, "folder": 'a","b', "converter": "c"})
    other = report_id(**{**FACTS, "folder": "a", "converter": 'b","c'})
    assert one != other


def test_repeated_keys_are_told_apart() -> None:
    counter = KeyCounter()
    made = [counter.distinct(key) for key in ("A", "B", "A", None, "A#2", "A", None)]
    assert made == ["A", "B", "A#2", None, "A#2#2", "A#3", None]


@given(st.lists(st.sampled_from(["A", "A#2", "A#3", "A#2#2", "B"]), max_size=30))
def test_no_two_reports_of_a_file_share_a_key(keys: list[str]) -> None:
    counter = KeyCounter()
    made = [counter.distinct(key) for key in keys]
    assert len(set(made)) == len(keys)
    assert made == [*map(KeyCounter().distinct, keys[:1]), *made[1:]]
