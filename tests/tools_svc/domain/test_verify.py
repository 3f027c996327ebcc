"""Calls of which nobody knows whether they took effect: their server is asked, and what it says holds."""

import asyncio
import json
from contextlib import aclosing
from typing import Any

import pytest

from tests.tools_svc.domain.given import batch, house
from tests.tools_svc.domain.given_tasks import LEASE, Store, died, process
from tests.tools_svc.domain.test_execute import DONE, Tool
from threadmesh.conversation import CallFinished, CallOutcome, Text
from threadmesh.errors import ToolAnswerUnreadable, ToolConnectionLost, ToolFailed
from threadmesh.testing.clock import FakeClock
from tools_svc.adapters.memory_source import Report
from tools_svc.domain.call import Invocation, ToolOutput
from tools_svc.domain.tool import Effect
from tools_svc.domain.verify import Verify, found

VERIFY = Verify(tool="find", arguments={"call": {"$from": "/call_id"}}, done="/found", after_seconds=0)
AGAIN = Verify(tool="find", arguments=VERIFY.arguments, done="/found", after_seconds=0, again=True)
CUT_OFF = batch("c", run_id="r")
RESUMED = batch("c", run_id="r", resumed=True)


class Finder:
    """Answers each question with the next of these values, the last for ever; an error is raised."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.questions: list[Invocation] = []

    async def __call__(self, invocation: Invocation, report: Report) -> ToolOutput:
        self.questions.append(invocation)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, ToolOutput) else ToolOutput(structured_json=json.dumps(answer))


def reason(finished: CallFinished) -> str:
    return finished.failure.reason if finished.failure else ""


@pytest.mark.parametrize("asked", [CUT_OFF, RESUMED])
async def test_a_call_that_was_done_has_succeeded_and_is_not_sent_again(asked: Any) -> None:
    tool, finder = Tool(ToolConnectionLost()), Finder({"found": True})
    async with house(tool, verify=VERIFY, finder=finder) as home:
        finished = await home.finished(asked)

    assert finished.outcome is CallOutcome.SUCCEEDED
    assert "find says" in str(finished.parts[0])
    assert len(tool.invocations) == (0 if asked.resumed else 1)
    assert [question.arguments for question in finder.questions] == [{"call": "c"}]


@pytest.mark.parametrize("asked", [CUT_OFF, RESUMED])
async def test_an_unsafe_call_that_was_not_done_has_failed_and_is_not_sent_again(asked: Any) -> None:
    tool = Tool(ToolConnectionLost())
    async with house(tool, verify=VERIFY, finder=Finder({"found": False})) as home:
        finished = await home.finished(asked)

    assert (finished.outcome, reason(finished)) == (CallOutcome.FAILED, "TOOL_CALL_NOT_DONE")
    assert len(tool.invocations) == (0 if asked.resumed else 1)


@pytest.mark.parametrize("asked", [CUT_OFF, RESUMED])
async def test_one_that_was_not_done_is_sent_once_more_where_the_operator_says_so(asked: Any) -> None:
    tool = Tool(*([] if asked.resumed else [ToolConnectionLost()]))
    async with house(tool, verify=AGAIN, finder=Finder({"found": False})) as home:
        finished = await home.finished(asked)

    assert (finished.outcome, finished.parts) == (CallOutcome.SUCCEEDED, DONE.parts)
    assert len(tool.invocations) == (1 if asked.resumed else 2)


async def test_it_is_sent_once_more_at_most() -> None:
    tool = Tool(*[ToolConnectionLost()] * 9)
    async with house(tool, verify=AGAIN, finder=Finder({"found": False})) as home:
        finished = await home.finished(CUT_OFF)

    assert (len(tool.invocations), reason(finished)) == (2, "TOOL_CALL_NOT_DONE")


async def test_an_effect_that_may_be_repeated_allows_it_too() -> None:
    tool = Tool(ToolAnswerUnreadable())
    async with house(tool, effect=Effect.IDEMPOTENT, verify=VERIFY, finder=Finder({"found": False})) as home:
        finished = await home.finished(CUT_OFF)

    assert (len(tool.invocations), finished.outcome) == (2, CallOutcome.SUCCEEDED)


@pytest.mark.parametrize(
    "answer",
    [
        {"other": True},
        ToolOutput(parts=(Text(text="I do not know"),)),
        ToolOutput(parts=(Text(text='{"found": true}'),), is_error=True),
        ToolFailed(),
    ],
)
async def test_an_answer_that_says_neither_leaves_the_outcome_unknown(answer: Any) -> None:
    async with house(Tool(ToolConnectionLost()), verify=AGAIN, finder=Finder(answer)) as home:
        finished = await home.finished(CUT_OFF)

    assert (finished.outcome, reason(finished)) == (CallOutcome.UNKNOWN, "TOOL_CONNECTION_LOST")


async def test_a_server_that_is_away_is_asked_again() -> None:
    finder = Finder(ToolConnectionLost(), ToolConnectionLost(), {"found": [1]})
    async with house(Tool(ToolConnectionLost()), verify=VERIFY, finder=finder) as home:
        finished = await home.finished(CUT_OFF)

    assert (len(finder.questions), finished.outcome) == (3, CallOutcome.SUCCEEDED)


async def test_a_tool_that_turns_out_not_to_be_read_only_is_not_asked() -> None:
    finder = Finder({"found": True})
    async with house(Tool(ToolConnectionLost()), verify=VERIFY, finder=finder, finder_effect=Effect.IDEMPOTENT) as home:
        finished = await home.finished(CUT_OFF)

    assert (finder.questions, finished.outcome) == ([], CallOutcome.UNKNOWN)


@pytest.mark.parametrize(("is_done", "outcome"), [(True, CallOutcome.SUCCEEDED), (False, CallOutcome.UNKNOWN)])
async def test_of_a_call_that_took_too_long_only_that_it_was_done_is_believed(
    is_done: bool, outcome: CallOutcome
) -> None:
    """Its server may still be at work on it, so `not done` may be wrong a moment later."""
    tool = Tool()
    tool.gate.clear()
    async with house(tool, timeout_seconds=0.2, verify=AGAIN, finder=Finder({"found": is_done})) as home:
        finished = await home.finished(CUT_OFF)

    assert (len(tool.invocations), finished.outcome) == (1, outcome)


async def test_a_call_that_a_person_stopped_is_left_as_it_is() -> None:
    tool, finder = Tool(), Finder({"found": False})
    tool.gate.clear()
    async with house(tool, verify=AGAIN, finder=finder) as home:
        async with asyncio.timeout(10), aclosing(home.executor.execute(CUT_OFF)) as events:
            await anext(events)
            await home.executor.cancel("r", "c")
        finished = await home.finished(CUT_OFF)

    assert (finder.questions, finished.outcome) == ([], CallOutcome.UNKNOWN)


@pytest.mark.parametrize(("is_done", "sent"), [(True, 0), (False, 1)])
async def test_a_task_whose_process_died_is_found_out_about_by_the_next(is_done: bool, sent: int) -> None:
    tool, store, clock = Tool(), Store(), FakeClock()
    await died(store, clock, effect=Effect.UNSAFE, verify=AGAIN)
    clock.advance(LEASE + 1)
    async with process(tool, store, clock=clock, verify=AGAIN, finder=Finder({"found": is_done})) as home:
        finished = await home.finished()

    assert (len(tool.invocations), finished.outcome) == (sent, CallOutcome.SUCCEEDED)


def test_what_comes_from_the_call_is_put_in_as_a_value_and_never_into_a_text() -> None:
    verify = Verify(
        tool="find",
        arguments={"where": [{"$from": "/arguments/a~1b/0"}], "key": {"$from": "/idempotency_key"}, "limit": 1},
        done="",
    )
    evil = '", "limit": 0, {"$from": "/call_id"}'
    call = Invocation(tool="t", arguments={"a/b": [evil]}, timeout_seconds=1, call_id="c", idempotency_key="k")

    assert verify.question(call) == {"where": [evil], "key": "k", "limit": 1}


@pytest.mark.parametrize("arguments", [{}, {"title": ""}, {"other": 1}])
def test_a_question_that_lacks_what_it_asks_about_is_not_asked(arguments: dict[str, Any]) -> None:
    call = Invocation(tool="t", arguments=arguments, timeout_seconds=1, call_id="c")
    with pytest.raises(LookupError):
        Verify(tool="find", arguments={"q": {"$from": "/arguments/title"}}, done="").question(call)


@pytest.mark.parametrize(
    ("value", "pointer", "meaning"),
    [
        ({"found": True}, "/found", True),
        ({"id": "7"}, "/id", True),
        ({"id": None}, "/id", False),
        ({"items": []}, "/items", False),
        ({"count": 0}, "/count", False),
        ({"items": [{"done": True}]}, "/items/0/done", True),
        ({}, "/found", None),
        ([], "", False),
        ([1], "", True),
        ({"error": "nothing found"}, "", None),
        ([1], "/-1", None),
    ],
)
def test_what_an_answer_means(value: Any, pointer: str, meaning: bool | None) -> None:
    verify = Verify(tool="find", arguments={}, done=pointer)

    assert verify.judged(ToolOutput(structured_json=json.dumps(value))) is meaning
    assert verify.judged(ToolOutput(parts=(Text(text=json.dumps(value)),))) is meaning


def test_a_pointer_of_nothing_is_the_whole() -> None:
    assert found({"a": 1}, "") == {"a": 1}
