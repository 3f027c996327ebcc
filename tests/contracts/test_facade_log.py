"""What a reader of a run's log may rely on, whether its own process writes the run or another one."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing
from functools import partial
from pathlib import Path

import pytest

from context_svc.app import app as context_app
from context_svc.settings import ContextSettings
from facade.adapters.context_client import ContextClient
from facade.domain.events import Body, ModelFinished, ModelStarted, RunEvent, RunFinished, RunState
from facade.domain.records import Batch
from facade.domain.retries import Retries
from tests.contracts.test_facade_ports import ENDED, batch, claimed, logged, new_run
from tests.turn.mesh import served
from threadmesh.clock import SystemClock
from threadmesh.conversation import (
    CallFinished,
    CallOutcome,
    CallProgress,
    CallStarted,
    Failure,
    FinishReason,
    ReasoningDelta,
    Text,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from threadmesh.errors import InvalidArgument, RunAlreadyFinished, StaleEpoch, ToolFailed
from threadmesh.rpc.channel import MeshChannel, connect
from threadmesh.testing.clock import FakeClock

Log = AsyncGenerator[Sequence[RunEvent], None]
BODIES: list[Body] = [
    ModelStarted(model="m", backend="b", fingerprint="f", seed=7, item=0, trusted_context=True),
    TextDelta(text="Hé", token_ids=(1, 2), token_index=3, logprobs=(TokenLogprob(token=b"H\xff", logprob=-0.1),)),
    ReasoningDelta(text="hm", token_ids=(4,), token_index=5),
    ToolCallDelta(index=1, id="c", name="t", arguments_json="{", token_ids=(6,), token_index=6),
    ModelFinished(reason=FinishReason.TOOL_CALLS, usage=Usage(prompt_tokens=1, completion_tokens=2)),
    CallStarted(name="t", server="s", arguments_json="{}"),
    CallProgress(progress=0.3, total=None, message="a third"),
    CallFinished(outcome=CallOutcome.SUCCEEDED, name="t", parts=(Text(text="42"),), structured_json="42", seconds=0.25),
    CallFinished(outcome=CallOutcome.FAILED, failure=Failure.of(ToolFailed(tool="t"))),
]


@pytest.fixture
async def channel(tmp_path: Path, clock: FakeClock) -> AsyncIterator[MeshChannel]:
    app = partial(context_app, clock=clock)
    async with AsyncExitStack() as stack:
        port = await served(stack, app, ContextSettings(store=f"sqlite:{tmp_path / 'context.db'}"))
        yield await stack.enter_async_context(connect(f"127.0.0.1:{port}"))


@pytest.fixture
def context(channel: MeshChannel) -> ContextClient:
    return ContextClient(channel, owner="test", claim_seconds=10, retries=Retries.by(SystemClock()))


@pytest.fixture(params=["its own", "another"])
def reader(request: pytest.FixtureRequest, channel: MeshChannel, context: ContextClient) -> ContextClient:
    """Who reads: the process that writes, or another one."""
    return (
        context
        if request.param == "its own"
        else ContextClient(channel, owner="another", claim_seconds=10, retries=Retries.by(SystemClock()))
    )


async def heard(log: Log) -> Sequence[RunEvent]:
    """Give the next events, signs of life left out."""
    async with asyncio.timeout(10):
        while not (events := await anext(log)):
            pass
    return events


def said(events: Sequence[RunEvent]) -> list[str]:
    return [event.body.text for event in events if isinstance(event.body, TextDelta)]


async def test_a_log_is_read_from_before_its_writer_to_its_end(context: ContextClient, reader: ContextClient) -> None:
    run, _ = await context.start(new_run())
    reading = asyncio.create_task(logged(reader, run))
    run = await context.claim(run.id)
    async with context.writer() as writer:
        for number in range(20):
            await writer.append(batch(run, str(number), first=number))
        await writer.finish(batch(run, "end", first=20), ENDED)

    events = await reading

    assert [event.sequence for event in events] == list(range(22))
    assert said(events) == [*map(str, range(20)), "end"]
    assert events[-1].body == ENDED


async def test_a_log_reads_the_same_while_it_is_written_and_later(context: ContextClient) -> None:
    run, _ = await context.start(new_run())
    reading = asyncio.create_task(logged(context, run))
    run = await context.claim(run.id)
    events = [RunEvent(sequence=0, round=2, choice=3, call_id="c", body=body) for body in BODIES]
    failed = RunFinished(state=RunState.FAILED, failure=Failure.of(ToolFailed(tool="t")), usage=Usage(cached_tokens=3))
    async with context.writer() as writer:
        await writer.append(Batch(run_id=run.id, epoch=run.epoch, first_sequence=0, events=events[:-1]))
        await writer.finish(Batch(run_id=run.id, epoch=run.epoch, first_sequence=8, events=events[-1:]), failed)

    written = await reading

    assert [event.body for event in written] == [*BODIES, failed]
    assert await logged(context, run) == written
    assert await logged(context, run, after=4) == written[5:]


async def test_a_log_can_be_entered_anywhere_while_it_is_written(context: ContextClient, reader: ContextClient) -> None:
    run = await claimed(context)
    async with context.writer() as writer:
        await writer.append(batch(run, *"abc"))
        for after, expected in ((None, "abc"), (0, "bc"), (1, "c")):
            async with asyncio.timeout(10), aclosing(reader.watch(run.id, after=after)) as log:
                assert said(await anext(log)) == list(expected)
        with pytest.raises(InvalidArgument):
            async with asyncio.timeout(10), aclosing(reader.watch(run.id, after=17)) as log:
                await anext(log)


async def test_a_reader_hears_a_sign_of_life_while_nothing_is_written(
    context: ContextClient, reader: ContextClient
) -> None:
    run = await claimed(context)
    async with context.writer() as writer, aclosing(reader.watch(run.id)) as log:
        async with asyncio.timeout(10):
            assert not await anext(log)
        await writer.append(batch(run, "a"))
        assert said(await heard(log)) == ["a"]


async def test_readers_of_a_run_that_is_cancelled_in_the_queue_see_its_end(
    context: ContextClient, reader: ContextClient
) -> None:
    run, _ = await context.start(new_run())
    reading = asyncio.create_task(logged(reader, run))
    await context.cancel(run.id)
    with pytest.raises(RunAlreadyFinished):
        await context.claim(run.id)

    (end,) = await reading

    assert isinstance(end.body, RunFinished)
    assert end.body.state is RunState.CANCELLED


async def test_readers_go_on_in_the_store_when_another_process_writes(
    context: ContextClient, reader: ContextClient, channel: MeshChannel, clock: FakeClock
) -> None:
    run = await claimed(context)
    successor = ContextClient(channel, owner="successor", claim_seconds=10, retries=Retries.by(SystemClock()))
    async with aclosing(reader.watch(run.id)) as log:
        async with context.writer() as writer, successor.writer() as next_writer:
            await writer.append(batch(run, "a"))
            assert said(await heard(log)) == ["a"]
            clock.advance(5)
            second = await successor.claim(run.id)
            await next_writer.append(batch(second, "b", first=1))
            with pytest.raises(StaleEpoch):
                await writer.append(batch(run, "late", first=1))
        async with successor.writer() as next_writer:
            await next_writer.finish(batch(second, first=2), ENDED)

        async with asyncio.timeout(10):
            rest = [event async for events in log for event in events]

    assert (said(rest), rest[-1].body) == (["b"], ENDED)


async def test_a_write_that_is_refused_harms_no_other_run(context: ContextClient) -> None:
    runs = [await claimed(context) for _ in range(4)]
    stale = Batch(run_id=runs[1].id, epoch=9, first_sequence=0, events=batch(runs[1], "x").events)
    malformed = Batch(run_id="", epoch=1, first_sequence=0, events=batch(runs[2], "x").events)
    batches = [batch(runs[0], "a"), stale, malformed, batch(runs[3], "b")]
    async with context.writer() as writer:
        answers = await asyncio.gather(*(writer.append(each) for each in batches), return_exceptions=True)

    assert answers[0] is False
    assert isinstance(answers[1], StaleEpoch)
    assert isinstance(answers[2], InvalidArgument)
    assert answers[3] is False
