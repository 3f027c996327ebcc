"""How calls end, by effect class: the promises of at most once and of a truthful `unknown`."""

import asyncio

import pytest

from tests.tools_svc.domain.given import batch, house
from threadmesh.conversation import CallOutcome, CallProgress, CallStarted, Text
from threadmesh.errors import (
    ToolAnswerUnreadable,
    ToolConnectionLost,
    ToolFailed,
    ToolResultTooLarge,
    ToolServerFailed,
    ToolServerResting,
    ToolServerUnavailable,
)
from threadmesh.testing.clock import FakeClock
from tools_svc.adapters.memory_source import Report
from tools_svc.domain.call import Invocation, ToolOutput
from tools_svc.domain.tool import Effect

DONE = ToolOutput(parts=(Text(text="done"),))


class Tool:
    """A tool that fails with the given errors, one an attempt, and then works."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.invocations: list[Invocation] = []
        self.begun = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, invocation: Invocation, report: Report) -> ToolOutput:
        self.invocations.append(invocation)
        self.begun.set()
        await self.gate.wait()
        if self.errors:
            raise self.errors.pop(0)
        return DONE


async def endless(invocation: Invocation, report: Report) -> ToolOutput:
    """Report progress without end and never answer."""
    while True:
        report(CallProgress(progress=1))
        await asyncio.sleep(0)


async def test_a_call_starts_and_ends_once() -> None:
    async with house(Tool()) as home:
        events = await home.events(batch())

    assert [type(event.event).__name__ for event in events] == ["CallStarted", "CallFinished"]
    assert [tool for tool, _ in home.ledger.calls] == ["s__t"]


@pytest.mark.parametrize(
    ("effect", "sent", "outcome"),
    [
        (Effect.READ_ONLY, 3, CallOutcome.FAILED),
        (Effect.IDEMPOTENT, 3, CallOutcome.UNKNOWN),
        (Effect.KEYED, 3, CallOutcome.UNKNOWN),
        (Effect.UNSAFE, 1, CallOutcome.UNKNOWN),
    ],
)
async def test_a_connection_that_always_breaks_ends_the_call_by_its_effect(
    effect: Effect, sent: int, outcome: CallOutcome
) -> None:
    tool = Tool(*(ToolConnectionLost() for _ in range(5)))
    async with house(tool, effect=effect) as home:
        finished = await home.finished(batch(run_id="r"))

    assert len(tool.invocations) == sent
    assert finished.outcome is outcome
    assert finished.failure is not None
    assert finished.failure.reason == "TOOL_CONNECTION_LOST"


async def test_a_call_without_a_key_by_which_its_server_could_know_it_again_is_not_repeated() -> None:
    tool = Tool(ToolConnectionLost())
    async with house(tool, effect=Effect.KEYED) as home:
        finished = await home.finished(batch(run_id=""))

    assert finished.outcome is CallOutcome.UNKNOWN
    assert len(tool.invocations) == 1


@pytest.mark.parametrize("effect", [Effect.READ_ONLY, Effect.IDEMPOTENT, Effect.KEYED])
async def test_a_repeatable_call_survives_one_broken_connection(effect: Effect) -> None:
    tool = Tool(ToolConnectionLost())
    async with house(tool, effect=effect) as home:
        events = await home.events(batch(run_id="r"))

    assert [event.event.attempt for event in events if isinstance(event.event, CallStarted)] == [1, 2]
    assert home.ledger.calls[0][1].outcome is CallOutcome.SUCCEEDED
    assert len({invocation.idempotency_key for invocation in tool.invocations}) == 1


async def test_a_second_try_that_cannot_be_made_leaves_the_first_ones_outcome_open() -> None:
    tool = Tool(ToolConnectionLost(), ToolServerUnavailable())
    async with house(tool, effect=Effect.IDEMPOTENT, retries=1) as home:
        finished = await home.finished(batch())

    assert finished.outcome is CallOutcome.UNKNOWN


@pytest.mark.parametrize("effect", Effect)
async def test_a_call_that_reached_nobody_has_failed_and_nothing_more(effect: Effect) -> None:
    tool = Tool(ToolServerUnavailable())
    async with house(tool, effect=effect, retries=0) as home:
        finished = await home.finished(batch())

    assert finished.outcome is CallOutcome.FAILED
    assert finished.failure is not None
    assert finished.failure.retryable
    assert len(tool.invocations) == 1


@pytest.mark.parametrize("effect", Effect)
async def test_a_call_that_reached_nobody_is_tried_again_whatever_it_does(effect: Effect) -> None:
    tool = Tool(ToolServerUnavailable(), ToolServerUnavailable())
    async with house(tool, effect=effect) as home:
        finished = await home.finished(batch())

    assert finished.outcome is CallOutcome.SUCCEEDED
    assert home.ledger.retries == [("s__t", "TOOL_SERVER_UNAVAILABLE")] * 2


async def test_an_unsafe_call_that_was_sent_after_it_reached_nobody_is_not_sent_again() -> None:
    tool = Tool(ToolServerUnavailable(), ToolConnectionLost())
    async with house(tool, effect=Effect.UNSAFE) as home:
        finished = await home.finished(batch())

    assert finished.outcome is CallOutcome.UNKNOWN
    assert len(tool.invocations) == 2


async def test_a_server_that_is_left_alone_is_not_tried_again() -> None:
    tool = Tool(ToolServerResting())
    async with house(tool, effect=Effect.READ_ONLY) as home:
        finished = await home.finished(batch())

    assert finished.failure is not None
    assert finished.failure.reason == "TOOL_SERVER_UNAVAILABLE"
    assert len(tool.invocations) == 1


@pytest.mark.parametrize(
    ("effect", "sent"),
    [(Effect.READ_ONLY, 3), (Effect.IDEMPOTENT, 1), (Effect.KEYED, 1), (Effect.UNSAFE, 1)],
)
async def test_a_servers_own_error_is_worth_another_try_of_a_read_only(effect: Effect, sent: int) -> None:
    tool = Tool(*(ToolServerFailed() for _ in range(5)))
    async with house(tool, effect=effect) as home:
        finished = await home.finished(batch(run_id="r"))

    assert len(tool.invocations) == sent
    assert finished.outcome is CallOutcome.FAILED


@pytest.mark.parametrize("effect", Effect)
async def test_what_the_tool_itself_reports_is_never_tried_again(effect: Effect) -> None:
    tool = Tool(ToolFailed())
    async with house(tool, effect=effect) as home:
        await home.finished(batch(run_id="r"))

    assert len(tool.invocations) == 1


async def test_an_attempt_that_would_begin_after_the_time_limit_is_not_waited_for() -> None:
    tool = Tool(ToolConnectionLost())
    async with house(tool, effect=Effect.READ_ONLY, timeout_seconds=60, pause_seconds=61) as home:
        finished = await home.finished(batch())

    assert finished.failure is not None
    assert finished.failure.reason == "TOOL_CONNECTION_LOST"
    assert home.ledger.retries == []


@pytest.mark.parametrize(
    ("effect", "outcome"), [(Effect.READ_ONLY, CallOutcome.FAILED), (Effect.UNSAFE, CallOutcome.UNKNOWN)]
)
async def test_progress_without_end_does_not_stretch_the_time_limit(effect: Effect, outcome: CallOutcome) -> None:
    async with house(endless, effect=effect, timeout_seconds=0.05) as home:
        finished = await home.finished(batch())

    assert finished.outcome is outcome
    assert finished.failure is not None
    assert finished.failure.reason == "DEADLINE_EXCEEDED"


async def test_a_batch_can_shorten_the_time_limit_but_not_stretch_it() -> None:
    tool = Tool()
    async with house(tool, timeout_seconds=5) as home:
        await home.events(batch("a", timeout_seconds=2))
        await home.events(batch("b", timeout_seconds=60))

    assert [invocation.timeout_seconds for invocation in tool.invocations] == pytest.approx([2, 5], abs=1)


async def test_an_answer_that_cannot_be_passed_on_is_a_failure_and_not_a_question() -> None:
    """The tool has answered, so its outcome is known."""
    async with house(Tool(ToolResultTooLarge())) as home:
        finished = await home.finished(batch())

    assert finished.outcome is CallOutcome.FAILED


@pytest.mark.parametrize(
    ("effect", "outcome"),
    [
        (Effect.READ_ONLY, CallOutcome.FAILED),
        (Effect.IDEMPOTENT, CallOutcome.UNKNOWN),
        (Effect.UNSAFE, CallOutcome.UNKNOWN),
    ],
)
async def test_an_answer_that_nobody_understands_leaves_the_outcome_open_and_is_not_asked_for_again(
    effect: Effect, outcome: CallOutcome
) -> None:
    tool = Tool(ToolAnswerUnreadable())
    async with house(tool, effect=effect) as home:
        finished = await home.finished(batch())

    assert finished.outcome is outcome
    assert len(tool.invocations) == 1


@pytest.mark.parametrize("parts", [(Text(text="x" * 5 * 1024 * 1024),), (Text(text="x"),) * 1_001])
async def test_a_result_that_is_too_large_is_left_out(parts: tuple[Text, ...]) -> None:
    async def flooding(invocation: Invocation, report: Report) -> ToolOutput:
        return ToolOutput(parts=parts)

    async with house(flooding) as home:
        finished = await home.finished(batch())

    assert finished.failure is not None
    assert finished.failure.reason == "TOOL_RESULT_TOO_LARGE"
    assert len(str(finished)) < 1000


@pytest.mark.parametrize("structured", ["", '{"n": "one"}', "{}"])
async def test_a_result_unlike_its_schema_is_a_failure_the_model_can_read(structured: str) -> None:
    async def lying(invocation: Invocation, report: Report) -> ToolOutput:
        return ToolOutput(parts=(Text(text="n"),), structured_json=structured)

    schema = '{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}'
    async with house(lying, output=schema) as home:
        finished = await home.finished(batch())

    assert finished.outcome is CallOutcome.FAILED
    assert finished.failure is not None
    assert finished.failure.reason == "TOOL_RESULT_INVALID"
    assert finished.parts == (Text(text=finished.failure.message),)


async def test_a_defect_ends_its_call_and_no_other() -> None:
    tool = Tool(ZeroDivisionError())
    async with house(tool, effect=Effect.READ_ONLY) as home:
        first = await home.finished(batch("a"))
        second = await home.finished(batch("b"))

    assert first.failure is not None
    assert first.failure.reason == "INTERNAL"
    assert second.outcome is CallOutcome.SUCCEEDED
    assert [type(defect) for defect in home.ledger.defects] == [ZeroDivisionError]


async def test_a_call_says_how_long_it_took() -> None:
    clock = FakeClock()

    async def slow(invocation: Invocation, report: Report) -> ToolOutput:
        clock.advance(3)
        return DONE

    async with house(slow, clock=clock) as home:
        finished = await home.finished(batch())

    assert finished.seconds == 3
