"""Calls whose server asks: they wait for answers outside of their time, survive restarts, and are sent at most once."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial

import pytest

from tests.tools_svc.domain.given import DEFINITION, House, batch, house
from threadmesh.conversation import CallFinished, CallOutcome, CallStarted, Text
from threadmesh.errors import ToolConnectionLost, ToolServerUnavailable
from threadmesh.questions import MOST_ROUNDS, Answer, AnswerAction, Form, InputRequired, Question
from tools_svc.adapters.memory_source import MemoryTool, Report
from tools_svc.domain.call import Asked, Batch, Continuation, Invocation, RunEvent, ToolOutput
from tools_svc.domain.tool import Effect, OfferedTool

QUESTION = Question(id="q", asked=Form(message="Which colour?", schema_json="{}"))
ANSWER = Answer(question_id="q", action=AnswerAction.ACCEPT, content_json='{"colour":"red"}')
ASKS = replace(batch("c", run_id="r"), answers_questions=True)
KINDS = pytest.mark.parametrize("held", [True, False], ids=["held", "stateless"])


class Curious:
    """A tool that asks so many times before it answers with what it was told, in either way."""

    def __init__(self, *, held: bool, rounds: int = 1) -> None:
        self.held, self.rounds = held, rounds
        self.invocations: list[Invocation] = []

    async def __call__(self, invocation: Invocation, report: Report) -> ToolOutput | Asked:
        self.invocations.append(invocation)
        if self.held:
            return await self._ask(report)
        state = len(invocation.request_state)
        if state == self.rounds:
            return _told(invocation.answers)
        return Asked(questions=(QUESTION,), request_state="s" * (state + 1))

    async def _ask(self, report: Report) -> ToolOutput:
        told: tuple[Answer, ...] = ()
        for _ in range(self.rounds):
            answered: asyncio.Future[tuple[Answer, ...]] = asyncio.get_running_loop().create_future()
            report(Asked(questions=(QUESTION,), reply=partial(_set, answered)))
            told = await answered
        return _told(told)


def _set(answered: "asyncio.Future[tuple[Answer, ...]]", answers: Sequence[Answer]) -> None:
    answered.set_result(tuple(answers))


def _told(answers: tuple[Answer, ...]) -> ToolOutput:
    return ToolOutput(parts=(Text(text=" ".join(answer.content_json or answer.action for answer in answers)),))


def answering(required: InputRequired, answer: Answer = ANSWER) -> Batch:
    """Come back with an answer."""
    continuation = Continuation(
        round=required.round, answers=(answer,), request_state=required.request_state, held=required.held
    )
    return replace(ASKS, continuations={"c": continuation})


async def asked(home: House, wanted: Batch = ASKS) -> InputRequired:
    """Run the call to its next question."""
    return question(await home.events(wanted))


def question(events: list[RunEvent]) -> InputRequired:
    last = events[-1].event
    assert isinstance(last, InputRequired)
    return last


@KINDS
async def test_a_call_goes_on_with_the_answer_and_starts_once(held: bool) -> None:
    tool = Curious(held=held)
    async with house(tool) as home:
        required = await asked(home)
        events = await home.events(answering(required))

    assert (required.name, required.server, required.questions, required.round) == ("s__t", "s", (QUESTION,), 1)
    assert (required.held, required.request_state) == (held, "" if held else "s")
    assert [type(event.event) for event in events] == [CallStarted, CallFinished]
    assert isinstance(finished := events[-1].event, CallFinished)
    assert (finished.outcome, finished.parts) == (CallOutcome.SUCCEEDED, (Text(text='{"colour":"red"}'),))
    assert len(tool.invocations) == (1 if held else 2)


@KINDS
async def test_a_call_without_anybody_who_answers_fails(held: bool) -> None:
    async with house(Curious(held=held)) as home:
        finished = await home.finished(batch("c", run_id="r"))

    assert finished.outcome is CallOutcome.FAILED
    assert finished.failure is not None
    assert finished.failure.reason == "TOOL_INPUT_REQUIRED"


@KINDS
async def test_the_time_of_a_call_stands_still_while_it_waits(held: bool) -> None:
    async with house(Curious(held=held), timeout_seconds=0.5) as home:
        required = await asked(home)
        loop = asyncio.get_running_loop()
        over = loop.create_future()
        loop.call_later(0.6, over.set_result, None)
        await over
        finished = await home.finished(answering(required))

    assert finished.outcome is CallOutcome.SUCCEEDED


@KINDS
async def test_what_nobody_answers_in_time_ends_the_call(held: bool) -> None:
    async with house(Curious(held=held), answer_seconds=0.05) as home:
        required = await asked(home)
        await home.finished_by_itself()
        finished = await home.finished(answering(required))

    assert finished.outcome is CallOutcome.FAILED
    assert finished.failure is not None
    assert finished.failure.message.startswith("Nobody answered")


@KINDS
async def test_the_eleventh_round_is_one_too_many(held: bool) -> None:
    async with house(Curious(held=held, rounds=MOST_ROUNDS + 1)) as home:
        required = await asked(home)
        for number in range(2, MOST_ROUNDS + 1):
            required = await asked(home, answering(required))
            assert required.round == number
        finished = await home.finished(answering(required))

    assert finished.failure is not None
    assert finished.failure.reason == "TOOL_INPUT_REQUIRED"


@KINDS
async def test_rounds_are_counted_on_by_another_process(held: bool) -> None:
    tool = Curious(held=held, rounds=MOST_ROUNDS + 1)
    continuation = Continuation(round=MOST_ROUNDS, answers=(ANSWER,), request_state="s", held=held)
    async with house(tool, effect=Effect.IDEMPOTENT) as home:
        finished = await home.finished(replace(ASKS, continuations={"c": continuation}))

    assert finished.failure is not None
    assert finished.failure.reason == "TOOL_INPUT_REQUIRED"


@pytest.mark.parametrize("effect", [Effect.READ_ONLY, Effect.UNSAFE])
@KINDS
async def test_whoever_asks_for_the_call_again_gets_the_same_question(held: bool, effect: Effect) -> None:
    tool = Curious(held=held)
    async with house(tool, effect=effect) as home:
        first = await asked(home)
        again = await asked(home, replace(ASKS, resumed=True))

    assert again == first
    assert len(tool.invocations) == 1


@KINDS
async def test_an_answer_counts_once(held: bool) -> None:
    tool = Curious(held=held, rounds=2)
    async with house(tool) as home:
        first = await asked(home)
        second = await asked(home, answering(first))
        repeated = await asked(home, answering(first, replace(ANSWER, content_json="{}")))
        finished = await home.finished(answering(second))
        late = await home.finished(answering(second))

    assert (second.round, repeated) == (2, second)
    assert finished == late
    assert finished.parts == (Text(text='{"colour":"red"}'),)


async def test_a_call_that_is_not_held_goes_on_in_another_process_whatever_its_effect() -> None:
    tool = Curious(held=False)
    async with house(tool) as first:
        required = await asked(first)
    async with house(tool) as second:
        finished = await second.finished(answering(required))

    assert finished.outcome is CallOutcome.SUCCEEDED
    assert tool.invocations[-1].request_state == "s"


async def test_a_process_that_has_just_begun_goes_on_once_its_servers_are_there() -> None:
    tool = Curious(held=False)
    async with house(tool) as first:
        required = await asked(first)
    settled = asyncio.Event()
    async with house(tool, settled=settled) as second:
        second.source.fail(ToolServerUnavailable(server="s"))
        going_on = asyncio.create_task(second.finished(answering(required)))
        await asyncio.wait({going_on}, timeout=0.05)
        second.source.offer({"t": MemoryTool(offer=OfferedTool(name="t", definition_hash=DEFINITION), run=tool)})
        settled.set()
        finished = await going_on

    assert finished.outcome is CallOutcome.SUCCEEDED


async def test_one_that_may_have_gone_on_already_is_not_sent_again() -> None:
    tool = Curious(held=False)
    async with house(tool) as first:
        required = await asked(first)
    async with house(tool) as second:
        finished = await second.finished(replace(answering(required), resumed=True))

    assert (finished.outcome, len(tool.invocations)) == (CallOutcome.UNKNOWN, 1)


@pytest.mark.parametrize(("effect", "sent"), [(Effect.UNSAFE, 1), (Effect.IDEMPOTENT, 2)])
async def test_a_held_call_whose_process_is_gone_is_treated_as_one_that_was_sent(effect: Effect, sent: int) -> None:
    tool = Curious(held=True)
    async with house(tool, effect=effect) as first:
        required = await asked(first)
    async with house(tool, effect=effect) as second:
        last = (await second.events(answering(required)))[-1].event

    assert len(tool.invocations) == sent
    if effect is Effect.UNSAFE:
        assert isinstance(last, CallFinished)
        assert last.outcome is CallOutcome.UNKNOWN
    else:
        assert isinstance(last, InputRequired)
        assert last.round == 2


@KINDS
async def test_a_call_that_waits_can_be_stopped(held: bool) -> None:
    async with house(Curious(held=held)) as home:
        required = await asked(home)
        assert await home.executor.cancel("r", "c")
        finished = await home.finished(answering(required))

    assert finished.outcome is (CallOutcome.UNKNOWN if held else CallOutcome.CANCELLED)


@KINDS
async def test_a_call_that_waits_for_answers_is_stopped_once_nobody_gives_them(held: bool) -> None:
    async with house(Curious(held=held)) as home:
        await asked(home)
        assert await home.executor.cancel("r", "c", if_asking=True)
        finished = await home.finished(ASKS)

    assert finished.outcome is (CallOutcome.UNKNOWN if held else CallOutcome.CANCELLED)
    assert finished.failure is not None
    assert finished.failure.message.startswith("Nobody answers")


@KINDS
async def test_a_call_whose_questions_nobody_answers_goes_on_until_it_asks(held: bool) -> None:
    tool, gate, begun = Curious(held=held), asyncio.Event(), asyncio.Event()

    async def slow(invocation: Invocation, report: Report) -> ToolOutput | Asked:
        begun.set()
        await gate.wait()
        return await tool(invocation, report)

    async with house(slow) as home, asyncio.timeout(10):
        running = asyncio.create_task(home.finished(ASKS))
        await begun.wait()
        assert not await home.executor.cancel("r", "c", if_asking=True)
        gate.set()
        finished = await running

    assert finished.outcome is (CallOutcome.UNKNOWN if held else CallOutcome.CANCELLED)


@KINDS
async def test_a_call_that_is_stopped_in_the_moment_of_its_answer_does_not_go_on(held: bool) -> None:
    tool = Curious(held=held, rounds=2)
    async with house(tool) as home:
        required = await asked(home)
        async with aclosing(home.executor.execute(answering(required))) as events, asyncio.timeout(10):
            await anext(events)
            assert await home.executor.cancel("r", "c")
            last = [event.event async for event in events][-1]

    assert isinstance(last, CallFinished)
    assert last.outcome is (CallOutcome.UNKNOWN if held else CallOutcome.CANCELLED)
    assert len(tool.invocations) == 1


async def test_an_answer_that_does_not_arrive_is_sent_again_only_if_that_is_certain() -> None:
    tool = Curious(held=False)

    async def breaking(invocation: Invocation, report: Report) -> ToolOutput | Asked:
        if invocation.answers and len(tool.invocations) == 1:
            tool.invocations.append(invocation)
            raise ToolConnectionLost
        return await tool(invocation, report)

    async with house(breaking, effect=Effect.IDEMPOTENT) as home:
        finished = await home.finished(answering(await asked(home)))

    assert finished.outcome is CallOutcome.SUCCEEDED
    assert [invocation.request_state for invocation in tool.invocations] == ["", "s", "s"]


@KINDS
async def test_what_came_of_an_answer_is_not_kept_for_others(held: bool) -> None:
    tool = Curious(held=held)
    async with house(tool, effect=Effect.READ_ONLY, cache_seconds=60) as home:
        await home.finished(answering(await asked(home)))
        other = await asked(home, replace(ASKS, run_id="another"))

    assert other.round == 1


async def test_of_several_calls_each_asks_for_itself() -> None:
    two = replace(batch("c", "d", run_id="r"), answers_questions=True)
    async with house(Curious(held=True)) as home:
        events = await home.events(two)

    assert {event.call_id for event in events if isinstance(event.event, InputRequired)} == {"c", "d"}


async def test_who_watches_a_run_sees_its_questions() -> None:
    async with house(Curious(held=True)) as home:
        await asked(home)
        async with asyncio.timeout(10), aclosing(home.executor.watch("r")) as events:
            seen = [type((await anext(events)).event) for _ in range(2)]

    assert seen == [CallStarted, InputRequired]
