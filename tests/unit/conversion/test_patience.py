from __future__ import annotations

import pytest

from dropmill.conversion.patience import Patience


def test_no_progress_uses_up_the_soft_limit() -> None:
    patience = Patience(10.0, 100.0)
    assert patience.exhausted(109.9, 0) is None
    assert patience.exhausted(110.0, 0) == "it made no progress for 10 s"


def test_progress_extends_it_to_the_hard_limit_and_no_further() -> None:
    patience = Patience(10.0, 0.0)
    for now in range(1, 100):
        assert patience.exhausted(float(now), now) is None
    assert patience.exhausted(100.0, 100) == "it was still at work after 100 s, the most that a file may take"


def test_progress_counts_from_when_it_was_seen() -> None:
    patience = Patience(10.0, 0.0)
    assert patience.exhausted(9.0, 5) is None
    assert patience.exhausted(18.9, 5) is None
    assert patience.exhausted(19.0, 5) is not None


@pytest.mark.parametrize(("soft", "hard"), [(1.0, 10.0), (60.0, 600.0)])
def test_each_candidate_has_its_own_limit(soft: float, hard: float) -> None:
    patience = Patience(5.0, 0.0)
    patience.limit(soft)
    assert (patience.soft, patience.hard) == (soft, hard)
    patience.limit(soft)
    assert patience.hard == hard
