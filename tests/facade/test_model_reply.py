"""What the run's model answers to tool servers, and what that costs."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing
from typing import Any, cast

import pytest

from facade.adapters.inference_client import InferenceClient
from facade.domain.call_log import CallLog, ResultShape
from facade.domain.events import ModelEvent
from facade.domain.limits import Limits, Mesh
from facade.domain.model_reply import ModelReply
from facade.domain.parameters import TurnParameters
from facade.domain.ports import Generation
from facade.domain.progress import Progress
from facade.domain.records import CallRecord, CallState
from facade.domain.retries import Retries
from facade.domain.tokens import TokenCount
from inference_svc.app import app as inference_app
from inference_svc.settings import InferenceSettings
from tests.turn.mesh import SCRIPT, served
from threadmesh.clock import SystemClock
from threadmesh.conversation import Role, TextDelta, ToolCall, message
from threadmesh.errors import BackendUnavailable
from threadmesh.questions import Answer, AnswerAction, Form, InputRequired, Question, SamplingRequest
from threadmesh.rpc.channel import connect

NOBODY = cast(Any, None)
"""Stands for what a reply has nothing to do with."""


@pytest.fixture
async def inference() -> AsyncIterator[InferenceClient]:
    async with AsyncExitStack() as stack:
        port = await served(stack, inference_app, InferenceSettings(model="none", script=str(SCRIPT)))
        yield InferenceClient(await stack.enter_async_context(connect(f"127.0.0.1:{port}")))


def log_of(inference: InferenceClient) -> CallLog:
    record = CallRecord(call=ToolCall(id="c", name="t", arguments_json="{}"), ordinal=0, state=CallState.INTENT)
    shape = ResultShape(characters=100, count=TokenCount(inference, ""))
    return CallLog([record], NOBODY, in_round=0, shape=shape, attempts={})


def asked(text: str, *, max_tokens: int = 50) -> Question:
    request = SamplingRequest(messages=(message(Role.USER, text),), max_tokens=max_tokens)
    return Question(id="m", asked=request)


class Breaking:
    """Breaks its first answer off in the middle."""

    def __init__(self, inference: InferenceClient) -> None:
        self._inference = inference
        self.asked = 0

    async def generate(self, generation: Generation) -> AsyncGenerator[ModelEvent, None]:
        self.asked += 1
        async with aclosing(self._inference.generate(generation)) as events:
            async for event in events:
                yield event
                if self.asked == 1 and isinstance(event, TextDelta):
                    raise BackendUnavailable(model="scripted")


async def replied(
    inference: InferenceClient | Breaking, *questions: Question, sampling_tokens: int = 100, seconds: float = 0.1
) -> tuple[CallLog, Progress]:
    """Let the model reply to what a call's server asks."""
    log, at = log_of(cast(Any, inference)), Progress()
    await log.take("c", InputRequired(name="t", server="s", questions=questions, round=1))
    mesh = Mesh(inference=cast(Any, inference), tools=NOBODY, context=NOBODY, retries=Retries.by(SystemClock()))
    limits = Limits(return_seconds=seconds, sampling_tokens=sampling_tokens)
    await ModelReply(mesh, TurnParameters(model="scripted"), limits, at)(log, "c")
    return log, at


async def test_a_model_answers_and_its_tokens_are_the_runs(inference: InferenceClient) -> None:
    log, at = await replied(inference, asked("Say hello."))

    (answer,) = log.answered["c"].answers
    assert answer == Answer(question_id="m", action=AnswerAction.ACCEPT, text="hello there", model="scripted")
    assert at.usage.completion_tokens > 0
    assert [call.id for call in log.open] == ["c"]


@pytest.mark.parametrize(("wanted", "most"), [(1, 100), (50, 1)])
async def test_it_says_no_more_than_the_server_or_the_run_lets_it(
    inference: InferenceClient, wanted: int, most: int
) -> None:
    log, _ = await replied(inference, asked("Say hello.", max_tokens=wanted), sampling_tokens=most)

    (answer,) = log.answered["c"].answers
    assert (len(answer.text) < len("hello there"), answer.truncated) == (True, True)


async def test_a_model_that_cannot_answer_declines(inference: InferenceClient) -> None:
    log, at = await replied(inference, asked("busy"))

    (answer,) = log.answered["c"].answers
    assert answer == Answer(question_id="m", action=AnswerAction.DECLINE, model="scripted")
    assert at.usage.completion_tokens == 0


async def test_an_answer_that_breaks_off_is_given_anew(inference: InferenceClient) -> None:
    breaking = Breaking(inference)
    log, at = await replied(breaking, asked("Say hello."), seconds=10)

    (answer,) = log.answered["c"].answers
    assert (answer.text, breaking.asked) == ("hello there", 2)
    assert at.usage.completion_tokens == 2


async def test_what_a_person_is_asked_waits_with_the_models_answer_beside_it(inference: InferenceClient) -> None:
    form = Question(id="p", asked=Form(message="?", schema_json="{}"))
    log, _ = await replied(inference, asked("Say hello."), form)

    assert log.open == []
    assert log.asking["c"].open == (form,)
    assert [answer.text for answer in log.asking["c"].given] == ["hello there"]
