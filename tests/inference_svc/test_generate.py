"""A generation is routed by its model, never silent for long, and tells its failure before it ends."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import pytest

from inference_svc.adapters.script import Script
from inference_svc.adapters.scripted_backend import ScriptedBackend
from inference_svc.domain.events import Event, Failed, Finished, Phase, Progress, Started
from inference_svc.domain.generate import beating, generate, telling_failure
from inference_svc.domain.router import Router
from tests.inference_svc.engines import prompt
from threadmesh.conversation import FinishReason, TextDelta, ToolCallDelta, Usage
from threadmesh.errors import BackendUnavailable, MeshError, ModelNotFound, Overloaded

STARTED = Started(model="m", backend="b", fingerprint="f", prompt_tokens=7, seed=1)
FINISHED = Finished(reason=FinishReason.STOP, usage=Usage())


async def stream(*events: Event | Exception | asyncio.Event) -> AsyncGenerator[Event, None]:
    """Give events, raise errors, wait for what must happen first."""
    for event in events:
        if isinstance(event, asyncio.Event):
            await event.wait()
        elif isinstance(event, Exception):
            raise event
        else:
            yield event


async def collected(events: AsyncGenerator[Event, None]) -> tuple[list[Event], Exception | None]:
    found: list[Event] = []
    try:
        async with aclosing(events):
            async for event in events:
                found.append(event)
    except (MeshError, RuntimeError) as error:
        return found, error
    return found, None


def scripted(**script: object) -> Router:
    return Router([ScriptedBackend(Script.model_validate(script), created=1)])


async def test_the_default_model_answers_where_none_is_named() -> None:
    found, error = await collected(generate(prompt("hello"), scripted(), heartbeat=60))

    assert error is None
    assert isinstance(found[0], Started)
    assert found[0].model == "scripted"


@pytest.mark.parametrize("name", ["gpt-4", "../scripted", "x" * 300])
async def test_an_unknown_model_is_refused_before_any_event(name: str) -> None:
    found, error = await collected(generate(prompt("hello", model=name), scripted(), heartbeat=60))

    assert found == []
    assert isinstance(error, ModelNotFound)
    assert len(error.facts["model"]) <= 64


async def test_silence_is_filled_with_the_last_known_progress() -> None:
    release = asyncio.Event()
    halfway = Progress(phase=Phase.PREFILL, prefilled_tokens=3, prompt_tokens=7)
    beats: list[Event] = []
    async with aclosing(beating(stream(STARTED, halfway, release, FINISHED), every=0.001)) as events:
        async for event in events:
            beats.append(event)
            if len(beats) == 5:
                release.set()

    assert beats[:2] == [STARTED, halfway]
    assert beats[2:5] == [halfway] * 3
    assert beats[-1] == FINISHED


async def test_a_request_that_waits_for_its_place_says_so() -> None:
    release = asyncio.Event()
    async with aclosing(beating(stream(STARTED, release, FINISHED), every=0.001)) as events:
        assert await anext(events) == STARTED
        assert await anext(events) == Progress(phase=Phase.QUEUED, prefilled_tokens=0, prompt_tokens=7)


async def test_a_request_that_draws_unseen_tokens_says_so() -> None:
    release = asyncio.Event()
    async with aclosing(beating(stream(STARTED, TextDelta(text="a"), release), every=0.001)) as events:
        found = [await anext(events) for _ in range(3)]

    assert found[2] == Progress(phase=Phase.DECODE, prefilled_tokens=7, prompt_tokens=7)


async def test_nothing_is_sent_before_the_backend_has_accepted() -> None:
    release = asyncio.Event()
    async with aclosing(beating(stream(release, STARTED), every=0.001)) as events:
        first = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        release.set()

        assert await first == STARTED


async def test_closing_a_silent_stream_closes_the_backends_stream() -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncGenerator[Event, None]:
        try:
            yield STARTED
            await asyncio.Event().wait()
        finally:
            closed.set()

    async with aclosing(endless()) as inner, aclosing(beating(inner, every=0.001)) as events:
        assert await anext(events) == STARTED
        assert isinstance(await anext(events), Progress)

    assert closed.is_set()


@pytest.mark.parametrize(
    ("error", "reason"), [(BackendUnavailable(), "BACKEND_UNAVAILABLE"), (RuntimeError("secret"), "INTERNAL")]
)
async def test_a_failure_after_the_start_is_told_and_then_raised(error: Exception, reason: str) -> None:
    found, raised = await collected(telling_failure(stream(STARTED, error)))

    assert raised is error
    [failed] = [event for event in found if isinstance(event, Failed)]
    assert failed.failure.reason == reason
    assert "secret" not in failed.failure.message


async def test_a_failure_before_the_start_is_only_raised() -> None:
    found, raised = await collected(telling_failure(stream(Overloaded())))

    assert found == []
    assert isinstance(raised, Overloaded)


SCRIPTS: Sequence[tuple[dict[str, object], str]] = [
    (
        {"rules": [{"match": "x", "steps": [{"text": "a b c"}], "fail": {"reason": "ABORTED", "after_tokens": 2}}]},
        "a b",
    ),
    (
        {"rules": [{"match": "x", "steps": [{"text": "a b c"}], "fail": {"reason": "ABORTED", "after_tokens": 9}}]},
        "a b c",
    ),
    ({"rules": [{"match": "x", "fail": {"reason": "INTERNAL"}}]}, ""),
]


@pytest.mark.parametrize(("script", "text"), SCRIPTS)
async def test_a_scripted_failure_comes_after_its_tokens(script: dict[str, object], text: str) -> None:
    found, raised = await collected(generate(prompt("x"), scripted(**script), heartbeat=60))

    assert "".join(event.text for event in found if isinstance(event, TextDelta)) == text
    assert isinstance(raised, MeshError)
    assert isinstance(found[-1], Failed)
    assert found[-1].failure.error().reason == raised.reason


async def test_text_that_waited_for_its_reader_is_joined_and_loses_no_token() -> None:
    call = ToolCallDelta(index=0, id="c", name="t", token_ids=(5,), token_index=3)
    spoken = [TextDelta(text=text, token_ids=(number,), token_index=number) for number, text in enumerate("abc")]
    tail = TextDelta(text="d", token_index=4)
    found, _ = await collected(beating(stream(STARTED, *spoken, call, tail, tail, FINISHED), every=60))

    assert found == [
        STARTED,
        TextDelta(text="abc", token_ids=(0, 1, 2), token_index=0),
        call,
        TextDelta(text="dd", token_index=4),
        FINISHED,
    ]


async def test_the_first_word_and_the_end_are_not_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inference_svc.domain.generate._APART_SECONDS", 60)
    progress = Progress(phase=Phase.PREFILL, prefilled_tokens=7, prompt_tokens=7)
    pauses = [asyncio.Event() for _ in range(3)]
    events = stream(STARTED, pauses[0], progress, pauses[1], TextDelta(text="a"), pauses[2], FINISHED)
    async with asyncio.timeout(10), aclosing(beating(events, every=60)) as beats:
        found = [await anext(beats)]
        for pause in pauses:
            pause.set()
            found.append(await anext(beats))

    assert found == [STARTED, progress, TextDelta(text="a"), FINISHED]
