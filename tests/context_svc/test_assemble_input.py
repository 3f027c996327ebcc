"""Windows of runs whose own input may be shortened."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from context_svc.domain.item import Item, NewItem
from tests.context_svc.given import asking, result, said
from tests.context_svc.test_assemble import INSTRUCTIONS, THREADS, bounded, built, spoken, thread, window
from threadmesh.conversation import Role

ASKED = (
    said("be kind", Role.SYSTEM, tokens=5),
    said("q1", tokens=10),
    said("a1", Role.ASSISTANT, tokens=10),
    said("be brief", Role.SYSTEM, tokens=5),
    said("q2", tokens=10),
    said("a2", Role.ASSISTANT, tokens=10),
    said("q3", tokens=10),
    said("so", Role.ASSISTANT, tokens=10),
)


@pytest.mark.parametrize(
    ("budget", "turns"),
    [(70, ["q1", "a1", "q2", "a2", "q3", "so"]), (69, ["q2", "a2", "q3", "so"]), (1, ["q3", "so"])],
)
def test_the_oldest_turns_of_an_input_that_may_be_shortened_go_first(budget: int, turns: list[str]) -> None:
    items = thread(*ASKED, run_id="r")
    shortened = window(items, budget=max(budget, 10), run_id="r", shorten_input=True)

    assert [each for each in spoken(shortened) if not each.startswith("be ")] == turns
    assert {"be kind", "be brief"} <= set(spoken(shortened))
    assert (shortened.least_tokens, window(items, budget=70, run_id="r").least_tokens) == (30, 70)


def test_earlier_turns_of_a_thread_go_before_those_of_an_input_that_may_be_shortened() -> None:
    items = thread(said("old", tokens=10), *ASKED)
    items = [*items[:1], *thread(said("old"), *ASKED, run_id="r")[1:]]

    assert spoken(window(items, budget=70, run_id="r", shorten_input=True))[:2] == ["be kind", "q1"]


def test_a_pinned_item_of_an_input_that_is_shortened_stays() -> None:
    items = thread(*ASKED, run_id="r")

    assert "a1" in spoken(window(items, budget=40, run_id="r", pinned=[2], shorten_input=True))


def test_a_call_stays_whose_result_follows_the_last_message_of_a_shortened_input() -> None:
    written = (said("q1"), said("q2", tokens=9), asking("c"), said("well?", tokens=9), result("c"))
    shortened = window(thread(*written, run_id="r"), budget=1, run_id="r", shorten_input=True)

    assert spoken(shortened) == ["q2", "", "noon", "well?"]


def test_an_input_in_which_nobody_asks_is_not_shortened() -> None:
    items = [*thread(said("q"), asking("c")), *thread(said("q"), asking("c"), result("c"), run_id="r")[2:]]

    assert spoken(window(items, budget=1, run_id="r", shorten_input=True)) == ["q", "", "noon"]


@settings(deadline=None)
@given(written=THREADS, budget=st.integers(1, 200))
def test_of_an_input_that_may_be_shortened_the_last_message_stays_with_all_that_follows(
    written: list[tuple[NewItem, str]], budget: int
) -> None:
    items = built(written)
    assembled = bounded(items, budget=budget, run_id="r1", shorten_input=True)
    whole = bounded(items, budget=budget, run_id="r1")
    own = [item for item in items if item.run_id == "r1"]
    last = max((item.sequence for item in own if item.message.role is Role.USER), default=0)

    assert (assembled is None) == (whole is None)
    if assembled and whole:
        assert all(item.message in assembled.messages for item in own if _stays(item, last))
        assert assembled.least_tokens <= whole.least_tokens


def _stays(item: Item, last: int) -> bool:
    return item.message.role in INSTRUCTIONS or (item.sequence >= last and item.message.role is not Role.TOOL)
