"""What a turn may rely on in the other units: the facade's ports, over the real units behind their clients."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from context_svc.app import app as context_app
from context_svc.settings import ContextSettings
from facade.adapters.context_client import ContextClient
from facade.adapters.inference_client import InferenceClient, encode_generation
from facade.adapters.tools_client import ToolsClient
from facade.domain.events import ModelFinished, ModelStarted, Run, RunEvent, RunFinished, RunState
from facade.domain.metered import MeteredInference, MeteredTools
from facade.domain.parameters import TurnParameters
from facade.domain.ports import Context, Conversation, Generation, Inference, Tools
from facade.domain.rate_limits import RateLimits
from facade.domain.records import Batch, NewItem, NewRun
from facade.domain.refusals import Refusals
from facade.domain.retries import Retries
from inference_svc.app import app as inference_app
from inference_svc.edge.codec import decode_generate
from inference_svc.settings import InferenceSettings
from tests.inference_svc.tiny_models import tiny_encoder
from tests.servers.given import WORKSHOP
from tests.turn.mesh import SCRIPT, served
from threadmesh.clock import SystemClock
from threadmesh.conversation import (
    CallFinished,
    CallOutcome,
    CallStarted,
    FinishReason,
    Role,
    TextDelta,
    ToolCall,
    message,
)
from threadmesh.errors import BackendUnavailable, ContextLengthExceeded, ModelNotFound, RunNotFound, StaleEpoch
from threadmesh.keys.key import KeyLimits
from threadmesh.rpc.channel import connect
from threadmesh.sampling import Dry, Mirostat, Sampling, Xtc
from tools_svc.app import app as tools_app
from tools_svc.settings import ToolsSettings

HELLO = message(Role.USER, "hello")
RUN = Run(
    id="run_1",
    thread_id="thread_1",
    state=RunState.RUNNING,
    create_time=datetime(2026, 1, 1, tzinfo=UTC),
    epoch=1,
    parameters_json=TurnParameters().to_json(),
)


def unlimited() -> RateLimits:
    return RateLimits(lambda _: KeyLimits(tokens_per_minute=1, tool_calls_per_minute=1000), SystemClock())


@pytest.fixture(params=["sqlite", "memory"])
async def context(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Context]:
    store = f"sqlite:{tmp_path / 'context.db'}" if request.param == "sqlite" else "memory:"
    async with AsyncExitStack() as stack:
        port = await served(stack, context_app, ContextSettings(store=store))
        channel = await stack.enter_async_context(connect(f"127.0.0.1:{port}"))
        yield ContextClient(channel, owner="test", claim_seconds=10, retries=Retries.by(SystemClock()))


@pytest.fixture(params=["plain", "metered"])
async def inference(request: pytest.FixtureRequest) -> AsyncIterator[Inference]:
    async with AsyncExitStack() as stack:
        port = await served(stack, inference_app, InferenceSettings(model="none", script=str(SCRIPT)))
        client = InferenceClient(await stack.enter_async_context(connect(f"127.0.0.1:{port}")))
        yield client if request.param == "plain" else MeteredInference(client, unlimited(), Refusals(SystemClock()))


@pytest.fixture(params=["plain", "metered"])
async def tools(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Tools]:
    servers = tmp_path / "servers.json"
    workshop = {"command": sys.executable, "args": [WORKSHOP, "stdio"]}
    servers.write_text(json.dumps({"mcpServers": {"workshop": workshop}}))
    async with AsyncExitStack() as stack:
        port = await served(stack, tools_app, ToolsSettings(servers_file=str(servers)))
        client = ToolsClient(await stack.enter_async_context(connect(f"127.0.0.1:{port}")))
        async with asyncio.timeout(30):
            while not (await client.offer()).tools:
                await asyncio.sleep(0.01)
        yield (
            client
            if request.param == "plain"
            else MeteredTools(client, unlimited(), on_refused=lambda error: pytest.fail(str(error)))
        )


def new_run(key: str = "", **more: Any) -> NewRun:
    return NewRun(input=[HELLO], parameters=TurnParameters(), thread_key=key, timeout_seconds=60, **more)


async def claimed(context: Context, key: str = "") -> Run:
    run, _ = await context.start(new_run(key))
    return await context.claim(run.id)


def batch(run: Run, *texts: str, first: int = 0, items: Sequence[NewItem] = ()) -> Batch:
    events = [RunEvent(sequence=0, body=TextDelta(text=text)) for text in texts]
    return Batch(run_id=run.id, epoch=run.epoch, first_sequence=first, events=events, items=items)


ENDED = RunFinished(state=RunState.SUCCEEDED, reason=FinishReason.STOP)


async def logged(context: Context, run: Run, *, after: int | None = None) -> list[RunEvent]:
    async with asyncio.timeout(10), aclosing(context.watch(run.id, after=after)) as log:
        return [event async for events in log for event in events]


async def test_what_is_appended_is_watched_in_order_to_the_terminal_event(context: Context) -> None:
    run = await claimed(context)
    async with context.writer() as writer:
        await writer.append(batch(run, "a", "b"))
        await writer.append(batch(run, "c", first=2))
        await writer.finish(batch(run, "d", first=3), ENDED)

    events = await logged(context, run)

    assert [event.sequence for event in events] == [0, 1, 2, 3, 4]
    assert [event.body.text for event in events if isinstance(event.body, TextDelta)] == ["a", "b", "c", "d"]
    assert events[-1].body == ENDED
    assert await logged(context, run, after=3) == events[4:]


async def test_a_write_may_be_repeated(context: Context) -> None:
    run = await claimed(context)
    async with context.writer() as writer:
        await writer.append(batch(run, "a"))
        await writer.append(batch(run, "a"))
        await writer.finish(batch(run, first=1), ENDED)
        await writer.finish(batch(run, first=1), ENDED)

    assert len(await logged(context, run)) == 2


async def test_a_stale_writer_is_refused(context: Context) -> None:
    run = await claimed(context)
    stale = Batch(run_id=run.id, epoch=run.epoch + 1, first_sequence=0, events=batch(run, "x").events)
    async with context.writer() as writer:
        with pytest.raises(StaleEpoch):
            await writer.append(stale)
        with pytest.raises(StaleEpoch):
            await writer.finish(stale, ENDED)

    with pytest.raises(StaleEpoch):
        await context.renew(replace(run, epoch=run.epoch + 1))


async def test_a_writer_learns_that_it_should_stop(context: Context) -> None:
    run = await claimed(context)
    assert not await context.renew(run)

    await context.cancel(run.id)

    assert await context.renew(run)
    async with context.writer() as writer:
        assert await writer.append(batch(run, "a"))


async def test_one_key_starts_one_run(context: Context) -> None:
    started = await asyncio.gather(
        *(context.start(new_run("k", idempotency_key="once", fingerprint="f")) for _ in range(8))
    )

    assert len({run.id for run, _ in started}) == 1
    assert sorted(replayed for _, replayed in started) == [False] + [True] * 7


async def test_a_run_that_has_ended_gives_its_key_to_one_run_in_its_place(context: Context) -> None:
    new = new_run(idempotency_key="once", fingerprint="f")
    first, _ = await context.start(new, claim=True)
    async with context.writer() as writer:
        await writer.finish(batch(first), ENDED)
    anew = replace(new, instead_of=first.id)
    started = await asyncio.gather(*(context.start(anew, claim=True) for _ in range(8)))

    assert {run.id for run, _ in [*started, await context.start(new)]} == {started[0][0].id} != {first.id}
    assert sorted(replayed for _, replayed in started) == [False] + [True] * 7


async def test_a_run_that_is_claimed_as_it_starts_brings_its_window(context: Context) -> None:
    run, _ = await context.start(new_run("k", window_tokens=100), claim=True)
    waiting, _ = await context.start(new_run("k", window_tokens=100), claim=True)

    assert (run.epoch, waiting.epoch) == (1, 0)
    async with context.writer() as writer:
        await writer.append(batch(run, items=[NewItem(message=HELLO)]))
    foreseen = await context.window(run, token_budget=100)
    asked = await context.window(run, token_budget=100)
    assert [len(window.messages) for window in (foreseen, asked)] == [1, 2]


async def test_a_window_of_another_size_than_was_foreseen_is_read_anew(context: Context) -> None:
    run, _ = await context.start(new_run("k", window_tokens=100), claim=True)
    async with context.writer() as writer:
        await writer.append(batch(run, items=[NewItem(message=HELLO)]))

    assert len((await context.window(run, token_budget=99)).messages) == 2


async def test_a_run_is_claimed_only_after_those_before_it_in_its_thread(context: Context) -> None:
    first = await claimed(context, "k")
    second, _ = await context.start(new_run("k"))
    claiming = asyncio.create_task(context.claim(second.id))
    async with context.writer() as writer:
        await writer.append(batch(first, "a", items=[NewItem(message=message(Role.ASSISTANT, "hi"))]))
        assert not claiming.done()
        await writer.finish(batch(first, first=1), ENDED)

    run = await claiming

    assert run.id == second.id
    assert [each.text for each in (await context.window(run, token_budget=1000)).messages] == ["hello", "hi", "hello"]


async def test_a_window_leaves_old_turns_out_but_never_the_runs_own(context: Context) -> None:
    for _ in range(3):
        run = await claimed(context, "k")
        async with context.writer() as writer:
            await writer.finish(batch(run), ENDED)
    last = await claimed(context, "k")

    assert len((await context.window(last, token_budget=1000)).messages) == 4
    smallest = await context.window(last, token_budget=1)
    assert (len(smallest.messages), smallest.omitted_items) == (1, 3)


async def test_a_window_leaves_the_oldest_of_a_runs_input_out_where_that_is_asked_for(context: Context) -> None:
    said = [message(Role.USER, "one"), message(Role.ASSISTANT, "two"), message(Role.USER, "three")]
    run, _ = await context.start(replace(new_run("k"), input=said, window_tokens=1), claim=True)

    shortened = await context.window(run, token_budget=1, shorten_input=True)
    assert [each.text for each in shortened.messages] == ["three"]
    whole = await context.window(run, token_budget=1)
    assert (len(whole.messages), whole.omitted_items) == (3, 0)


async def test_a_run_that_is_not_there_is_not_found(context: Context) -> None:
    with pytest.raises(RunNotFound):
        await context.claim("run_none")


def asking(text: str, **parameters: Any) -> Generation:
    return Generation(
        messages=[message(Role.USER, text)], tools=(), tool_choice=None, parameters=TurnParameters(**parameters)
    )


async def test_an_answer_begins_and_ends_as_promised(inference: Inference) -> None:
    events = [event async for event in inference.generate(asking("some words"))]

    assert isinstance(events[0], ModelStarted)
    assert isinstance(events[-1], ModelFinished)
    assert sum(isinstance(event, ModelStarted | ModelFinished) for event in events) == 2
    assert events[-1].usage.completion_tokens == sum(
        len(event.token_ids) for event in events if isinstance(event, TextDelta)
    )


def test_how_an_answer_is_to_be_drawn_arrives_as_it_was_asked_for() -> None:
    sampling = Sampling(
        temperature=0.0,
        top_k=0,
        seed=-1,
        logit_bias={5: -1.5},
        typical_p=0.5,
        repeat_last_n=0,
        dry=Dry(multiplier=0.5, base=1.5, allowed_length=0, penalty_last_n=0, sequence_breakers=("a", "\n")),
        mirostat=Mirostat(mode=1, tau=0.0, eta=0.0),
        ignore_eos=True,
        xtc=Xtc(probability=0.25, threshold=0.0),
        top_n_sigma=0.0,
    )
    asked = decode_generate(
        encode_generation(asking("hi", sampling=sampling, thinking=False, reasoning_effort="low", top_logprobs=0))
    )

    assert asked.sampling == sampling
    assert (asked.conversation.thinking, asked.conversation.reasoning_effort, asked.logprobs) == (False, "low", 0)
    assert decode_generate(encode_generation(asking("hi"))).sampling == Sampling()
    assert decode_generate(encode_generation(asking("hi"))).conversation.thinking is None


@pytest.mark.parametrize(
    ("generation", "error"),
    [
        (asking("hi", model="no-such-model"), ModelNotFound),
        (asking("word " * 2_000), ContextLengthExceeded),
    ],
)
async def test_a_refusal_comes_before_the_first_event(
    inference: Inference, generation: Generation, error: type[Exception]
) -> None:
    async with aclosing(inference.generate(generation)) as events:
        with pytest.raises(error):
            await anext(events)


async def test_an_answer_that_breaks_raises_after_what_it_said(inference: Inference) -> None:
    said = []
    with pytest.raises(BackendUnavailable):
        async for event in inference.generate(asking("break")):
            said.append(event)

    assert any(isinstance(event, TextDelta) for event in said)


async def test_what_was_read_ahead_is_known_to_an_answer_of_the_same_scope(inference: Inference) -> None:
    read = Conversation(messages=[message(Role.USER, "some words to read")])
    first = await inference.warm(read, model="scripted", cache_scope="a")
    again = await inference.warm(read, model="scripted", cache_scope="a")
    stranger = await inference.warm(read, model="scripted", cache_scope="b")

    assert first.tokens > 0
    assert (first.cached_tokens, stranger.cached_tokens) == (0, 0)
    assert again.tokens == first.tokens
    assert first.tokens - 1 <= again.cached_tokens <= first.tokens, "a model may read the last token once more"
    asked = replace(asking("some words to read"), parameters=TurnParameters(model="scripted", cache_scope="a"))
    events = [event async for event in inference.generate(asked)]
    assert isinstance(events[-1], ModelFinished)
    assert events[-1].usage.cached_tokens >= first.tokens - 1
    with pytest.raises(ModelNotFound):
        await inference.warm(read, model="unknown", cache_scope="")


async def test_the_offer_is_of_all_tools_or_of_those_that_are_asked_for(tools: Tools) -> None:
    everything = await tools.offer()
    one = await tools.offer(["workshop__echo", "workshop__nothing"])
    many = await tools.offer([f"workshop__{number}" for number in range(600)])

    assert {"workshop__echo", "workshop__work"} <= everything.known.keys()
    assert list(one.known.items()) == [("workshop__echo", everything.known["workshop__echo"])]
    assert [(server.name, server.listed) for server in one.servers] == [("workshop", True)]
    assert many.known.keys() == everything.known.keys()


async def test_every_call_ends_once_and_a_made_up_one_is_never_started(tools: Tools) -> None:
    calls = [
        ToolCall(id="a", name="workshop__echo", arguments_json='{"value": 12345678901234567890}'),
        ToolCall(id="b", name="workshop__nothing", arguments_json="{}"),
    ]
    events = [event async for event in tools.execute(calls, run=RUN)]

    ends = {call_id: event for call_id, event in events if isinstance(event, CallFinished)}
    assert len(events) == len(ends) + 1
    assert [call_id for call_id, event in events if isinstance(event, CallStarted)] == ["a"]
    assert ends["a"].outcome is CallOutcome.SUCCEEDED
    assert "12345678901234567890" in ends["a"].structured_json
    assert ends["b"].outcome is CallOutcome.FAILED


async def test_a_batch_of_a_stale_run_is_refused(tools: Tools) -> None:
    call = [ToolCall(id="a", name="workshop__pid", arguments_json="{}")]
    async for _ in tools.execute(call, run=replace(RUN, epoch=2)):
        pass

    with pytest.raises(StaleEpoch):
        async for _ in tools.execute(call, run=RUN):
            pass


async def test_a_model_that_waits_to_be_loaded_can_answer_and_one_that_cannot_talk_is_not_the_default(
    tmp_path: Path,
) -> None:
    tiny_encoder(tmp_path / "encoder.gguf")
    (tmp_path / "models.toml").write_text(
        '[models.vectors]\npath = "encoder.gguf"\nload = "lazy"\n[models.far]\npath = "hf:a/b/far.gguf"\n'
    )
    settings = InferenceSettings(models_file=str(tmp_path / "models.toml"), models_dir=tmp_path / "hub")
    async with AsyncExitStack() as stack:
        port = await served(stack, inference_app, settings)
        client = InferenceClient(await stack.enter_async_context(connect(f"127.0.0.1:{port}")))
        await client.ping()
        far, vectors = await client.models()

    assert (far.name, vectors.name) == ("far", "vectors")
    assert not far.ready
    assert far.context_tokens > vectors.context_tokens > 0
