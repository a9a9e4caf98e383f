from __future__ import annotations

import pytest

from dropmill.conversion.worker.page import SIZE, WINDOW, Cancelled, Page


@pytest.fixture
def page() -> Page:
    return Page(memoryview(bytearray(SIZE)))


def test_both_sides_see_the_same() -> None:
    memory = bytearray(SIZE)
    worker, agent = Page(memoryview(memory)), Page(memoryview(memory))
    worker.begin(7)
    worker.candidate(2)
    worker.advance(100)
    worker.advance(23)
    worker.beat(0.25)
    worker.beat()
    assert (agent.call, agent.candidate_index, agent.read, agent.work, agent.done) == (7, 2, 123, 2, 0.25)
    worker.begin(8)
    assert (agent.call, agent.candidate_index, agent.read, agent.work, agent.done) == (8, 0, 0, 0, 0.0)
    worker.end()
    assert agent.call == 0


def test_what_goes_on_after_its_call_is_ended_too(page: Page) -> None:
    page.begin(3)
    page.cancel(8)
    page.end()
    with pytest.raises(Cancelled):
        page.beat()
    with pytest.raises(Cancelled):
        page.advance(1)


def test_a_share_of_work_stays_between_0_and_1(page: Page) -> None:
    page.begin(1)
    for given, shown in ((-1.0, 0.0), (7.0, 1.0), (0.5, 0.5)):
        page.beat(given)
        assert page.done == shown


@pytest.mark.parametrize("check", [lambda page: page.advance(1), lambda page: page.beat()])
def test_a_cancelled_call_ends_at_its_next_step(page: Page, check: object) -> None:
    assert callable(check)
    page.begin(5)
    check(page)
    page.cancel(5)
    assert page.cancelled(5)
    with pytest.raises(Cancelled):
        check(page)


def test_calls_are_cancelled_one_by_one(page: Page) -> None:
    for call in range(10, 10 + WINDOW):
        page.cancel(call)
    for call in range(10, 10 + WINDOW):
        page.begin(call)
        with pytest.raises(Cancelled):
            page.beat()
    page.begin(10 + WINDOW)  # its slot still holds call 10
    page.beat()


def test_no_except_exception_holds_a_cancellation_up() -> None:
    assert not issubclass(Cancelled, Exception)


def test_a_released_page_is_of_no_use(page: Page) -> None:
    page.release()
    with pytest.raises(ValueError, match="released"):
        page.begin(1)
