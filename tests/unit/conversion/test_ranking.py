from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropmill.api import Level
from dropmill.conversion.worker.ranking import Answer, Broken, Decision, Nobody, Tie, Winners, decide

W, P, L, C = Level.WEAK, Level.POSSIBLE, Level.LIKELY, Level.CERTAIN
NO = Answer(None)
FAILED = Answer(None, failed=True)


@pytest.mark.parametrize(
    ("answers", "ordered", "decision"),
    [
        ([], True, Nobody()),
        ([NO, NO], True, Nobody()),
        ([Answer(W)], False, Winners((0,))),
        ([Answer(W), Answer(C), Answer(L)], False, Winners((1, 2, 0))),
        ([Answer(L), Answer(L)], True, Winners((0, 1))),
        ([Answer(L), Answer(L)], False, Tie((0, 1))),
        ([Answer(W), Answer(L), NO, Answer(L)], False, Tie((1, 3))),
        ([Answer(W), Answer(W), Answer(L)], False, Winners((2, 0, 1))),
        ([Answer(P, minimum=L)], True, Nobody()),
        ([Answer(C, minimum=C), Answer(L)], True, Winners((0, 1))),
        ([FAILED], True, Broken(0)),
        ([Answer(L), FAILED], True, Broken(1)),
        ([FAILED, Answer(C)], True, Winners((1,))),
        ([FAILED, Answer(C), Answer(L)], True, Winners((1,))),
        ([FAILED, Answer(C, minimum=C), Answer(C)], False, Tie((1, 2))),
        ([NO, FAILED, FAILED], True, Broken(1)),
    ],
)
def test_decisions(answers: list[Answer], ordered: bool, decision: Decision) -> None:
    assert decide(answers, ordered=ordered) == decision


ANSWERS = st.builds(
    Answer, st.none() | st.sampled_from(Level), failed=st.just(False), minimum=st.none() | st.sampled_from(Level)
)


@given(st.lists(ANSWERS | st.just(FAILED), max_size=6), st.booleans())
def test_nobody_gets_a_file_that_did_not_take_it(answers: list[Answer], ordered: bool) -> None:
    decision = decide(answers, ordered=ordered)
    if isinstance(decision, Winners):
        levels = [answers[index].level for index in decision.order]
        assert all(answers[index].accepted for index in decision.order)
        assert levels == sorted(levels, reverse=True)  # type: ignore[type-var]
        assert not any(answer.failed for answer in answers) or set(levels) == {Level.CERTAIN}
    elif isinstance(decision, Nobody):
        assert not any(answer.accepted or answer.failed for answer in answers)
    elif isinstance(decision, Tie):
        assert not ordered
        assert len({answers[index].level for index in decision.indices}) == 1
    else:
        assert answers[decision.index].failed
