"""What a model reads in the later rounds of a run: the same as if its thread were asked again, which it seldom is."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facade.domain import records
from facade.domain.reading import Reading
from facade.domain.records import NewItem, Window
from tests.context_svc.given import asking, result, said
from tests.context_svc.test_assemble import thread, window
from tests.facade.test_journal import RUN
from threadmesh.conversation import Media, Message, Role, ToolCall, message
from threadmesh.errors import ContextLengthExceeded

BUDGET = 1_000
HELLO = message(Role.USER, "hello")
FIRST = Window(messages=(HELLO,), tokens=5, omitted_items=0)
CALL = ToolCall(id="call", name="echo", arguments_json="{}")
ASKED = NewItem(message=Message(role=Role.ASSISTANT, parts=(), tool_calls=(CALL,)), tokens=9)
ANSWERED = NewItem(message=replace(message(Role.TOOL, "done"), tool_call_id="call", name="echo"))
IMAGE = NewItem(message=replace(ANSWERED.message, parts=(Media(mime_type="image/png", data=b"png"),)))


class Thread:
    """A `Context` that gives these windows one after the other, and notes the budgets it was asked for."""

    def __init__(self, *windows: Window) -> None:
        self._windows = list(windows)
        self.asked: list[int] = []
        self.shortened: list[bool] = []

    async def window(self, _: object, *, token_budget: int, shorten_input: bool) -> Window:
        self.asked.append(token_budget)
        self.shortened.append(shorten_input)
        return self._windows.pop(0)


def reading(found: Thread, *, shortens_input: bool = False) -> Reading:
    return Reading(cast(Any, found), RUN, shortens_input=shortens_input)


async def test_what_the_run_has_said_is_read_without_asking_again() -> None:
    found = Thread(FIRST)
    read = reading(found)
    journal: list[NewItem] = []
    windows = []
    for _ in range(3):
        windows.append(await read.window(BUDGET, said=journal))
        journal += [ASKED, ANSWERED]

    assert [list(each.messages[1:]) for each in windows] == [[each.message for each in journal[:n]] for n in (0, 2, 4)]
    assert found.asked == [BUDGET]


@pytest.mark.parametrize(
    ("first", "added", "budget"),
    [
        pytest.param(replace(FIRST, omitted_items=1), [ASKED, ANSWERED], BUDGET, id="something was left out"),
        pytest.param(replace(FIRST, summary=0), [ASKED, ANSWERED], BUDGET, id="something was summarized"),
        pytest.param(FIRST, [ASKED, ANSWERED], BUDGET - 1, id="there is less room"),
        pytest.param(FIRST, [ASKED, IMAGE], BUDGET, id="an image has unknown tokens"),
        pytest.param(replace(FIRST, tokens=BUDGET - 28), [ASKED, ANSWERED], BUDGET, id="it may not fit"),
    ],
)
async def test_the_thread_is_asked_where_it_may_say_something_else(
    first: Window, added: Sequence[NewItem], budget: int
) -> None:
    found = Thread(first, FIRST)
    read = reading(found)
    await read.window(BUDGET, said=[])

    assert await read.window(budget, said=added) is FIRST
    assert found.asked == [BUDGET, budget]


async def test_what_just_fits_is_not_asked_for() -> None:
    found = Thread(replace(FIRST, tokens=BUDGET - 29))
    read = reading(found)
    await read.window(BUDGET, said=[])

    assert (await read.window(BUDGET, said=[ASKED, ANSWERED])).tokens == BUDGET
    assert found.asked == [BUDGET]


async def test_the_thread_is_asked_again_after_it_was_too_long() -> None:
    found = Thread(replace(FIRST, tokens=900), replace(FIRST, tokens=600), FIRST)
    read = reading(found)
    whole = await read.window(BUDGET, said=[])
    await read.shorter(BUDGET, whole, ContextLengthExceeded())

    assert await read.window(BUDGET, said=[]) is FIRST
    assert found.asked == [BUDGET, BUDGET * 2 // 3, BUDGET]


LONG = replace(FIRST, tokens=1_500, least_tokens=1_500)


async def test_an_input_that_is_too_long_is_shortened_only_once_the_model_has_said_so() -> None:
    found = Thread(LONG, replace(FIRST, tokens=900, least_tokens=400), FIRST, LONG)
    read = reading(found, shortens_input=True)
    whole = await read.window(BUDGET, said=[])
    budget, window = await read.shorter(BUDGET, whole, ContextLengthExceeded())
    budget, _ = await read.shorter(budget, window, ContextLengthExceeded())
    await read.window(BUDGET, said=[ASKED])

    assert found.asked == [BUDGET, BUDGET, BUDGET * 2 // 3, BUDGET]
    assert found.shortened == [False, True, True, False], "each round begins as that of another process would"


@pytest.mark.parametrize(("shortens_input", "asked"), [(False, 1), (True, 2)])
async def test_an_input_that_cannot_be_shortened_is_too_long(shortens_input: bool, asked: int) -> None:
    found = Thread(LONG, LONG)
    read = reading(found, shortens_input=shortens_input)
    whole = await read.window(BUDGET, said=[])

    with pytest.raises(ContextLengthExceeded):
        await read.shorter(BUDGET, whole, ContextLengthExceeded())
    assert len(found.asked) == asked


@given(before=st.lists(st.sampled_from([Role.SYSTEM, Role.USER, Role.ASSISTANT]), max_size=6), calls=st.integers(1, 3))
def test_it_is_what_the_context_service_would_say(before: list[Role], calls: int) -> None:
    earlier = [said(f"{role.value} {number}", role) for number, role in enumerate(before)]
    own = [said("do it"), asking(*map(str, range(calls))), *(result(str(each)) for each in range(calls))]
    stored = [*thread(*earlier), *thread(*earlier, *own, run_id="run")[len(earlier) :]]
    begun, whole = (window(stored[:end], budget=BUDGET, run_id="run") for end in (len(earlier) + 1, len(stored)))

    first = records.Window(messages=begun.messages, tokens=begun.tokens, omitted_items=begun.omitted_items)
    extended = first.extended([NewItem(message=each.message) for each in own[1:]], budget=BUDGET)
    assert extended is not None
    assert tuple(extended.messages) == whole.messages
    assert extended.tokens >= whole.tokens
