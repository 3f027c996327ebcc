"""The engine with the bundled model: batching, cancellation, cache, how it ends."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from inference_svc.adapters.llama_cpp.backend import LlamaCppBackend
from inference_svc.adapters.llama_cpp.model import LoadedModel, ModelFileError
from inference_svc.adapters.llama_cpp.options import ModelOptions
from inference_svc.domain.events import Event, Finished, Progress, Started
from inference_svc.domain.prompt import Priority, Prompt
from tests.inference_svc.engines import (
    GREEDY,
    Watcher,
    answered,
    backend_of,
    bundled,
    bundled_model,
    end_of,
    ids_of,
    prompt,
)
from threadmesh.conversation import (
    FinishReason,
    TextDelta,
)
from threadmesh.errors import BackendUnavailable, Internal, Overloaded
from threadmesh.sampling import Sampling

pytestmark = pytest.mark.model

LONG = "The quick brown fox jumps over the lazy dog. " * 70
COUNT = "Count: one two three four five six seven eight nine ten."


@pytest.fixture
def backend() -> LlamaCppBackend:
    return bundled()[0]


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return LoadedModel(bundled_model(), vocabulary_only=True)


@asynccontextmanager
async def engine(**options: Any) -> AsyncIterator[tuple[LlamaCppBackend, Watcher]]:
    """An engine of its own, for tests that fill it."""
    backend, watcher = await asyncio.to_thread(backend_of, **options)
    try:
        yield backend, watcher
    finally:
        await backend.close()


async def begun(backend: LlamaCppBackend, asked: Prompt) -> AsyncGenerator[Event, None]:
    """Start an answer and give its stream once it is accepted."""
    events = backend.stream(asked)
    assert isinstance(await anext(events), Started)
    return events


async def test_leaving_while_the_prompt_is_read_frees_the_engine(backend: LlamaCppBackend) -> None:
    watcher = bundled()[1]
    left = watcher.phases["prefill"]
    async with aclosing(backend.stream(prompt(LONG, cache_scope="leaving"))) as events:
        async for event in events:
            if isinstance(event, Progress) and 0 < event.prefilled_tokens < event.prompt_tokens:
                break
    after = await answered(backend, prompt("Hi", max_tokens=1))

    assert watcher.phases["prefill"] == left + 1
    assert isinstance(after[-1], Finished)
    assert watcher.running == 0


async def test_what_was_read_before_leaving_is_found_by_the_next_request(backend: LlamaCppBackend) -> None:
    asked = prompt("Remember. " + LONG, max_tokens=1, cache_scope="read before")
    async with aclosing(backend.stream(asked)) as events:
        async for event in events:
            if isinstance(event, Progress) and event.prefilled_tokens > 100:
                break
    again = await answered(backend, asked)

    assert end_of(again).usage.cached_tokens > 100


async def test_a_short_request_is_answered_while_a_long_prompt_is_read(backend: LlamaCppBackend) -> None:
    ended: list[str] = []

    async def ask(name: str, asked: Prompt) -> None:
        await answered(backend, asked)
        ended.append(name)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(ask("long", prompt("Read on. " + LONG, max_tokens=1, cache_scope="long")))
        tasks.create_task(ask("short", prompt("Hi", max_tokens=2, cache_scope="short")))

    assert ended == ["short", "long"]


async def test_requests_are_answered_at_the_same_time(backend: LlamaCppBackend) -> None:
    watcher = bundled()[1]
    watcher.most = 0
    asked = [prompt(f"{n} {COUNT}", max_tokens=16, sampling=GREEDY) for n in range(3)]
    answers = await asyncio.gather(*(answered(backend, each) for each in asked))

    assert watcher.most == 3
    assert all(end_of(events).usage.completion_tokens for events in answers)


async def test_more_requests_than_may_wait_are_refused() -> None:
    async with engine(sequences=1, queue=1) as (backend, _):
        streams = [await begun(backend, prompt(LONG, cache_scope=str(n))) for n in range(2)]
        with pytest.raises(Overloaded):
            await answered(backend, prompt("Hi"))
        for stream in streams:
            await stream.aclose()

        assert isinstance((await answered(backend, prompt("Hi", max_tokens=1)))[-1], Finished)


async def test_one_keys_many_requests_leave_a_slot_to_another_key() -> None:
    async with engine(sequences=4, queue=60) as (backend, watcher), asyncio.TaskGroup() as tasks:
        await answered(backend, prompt("Hi", max_tokens=1, caller="bob"))
        endless: Any = {"max_tokens": 400, "sampling": Sampling(ignore_eos=True), "caller": "ann"}
        asked = [prompt(f"{n} {COUNT}", **endless) for n in range(20)]
        anns = [tasks.create_task(answered(backend, each)) for each in asked]
        while watcher.running < 3:
            await asyncio.sleep(0.001)
        theirs = await answered(backend, prompt("Hi", max_tokens=4, caller="bob"))
        ended = sum(each.done() for each in anns)
        for each in anns:
            each.cancel()

    assert isinstance(theirs[-1], Finished)
    assert (ended, watcher.most) == (0, 4)


async def test_one_keys_prompts_do_not_all_go_before_another_keys() -> None:
    ended: list[str] = []
    callers = {"ann 1": 200, "ann 2": 200, "ann 3": 200, "bob 1": 260}
    async with engine(sequences=4, cells=4096) as (backend, _):
        asked = [
            prompt(f"{name} {'word ' * words}", max_tokens=1, caller=name[:3], cache_scope=name)
            for name, words in callers.items()
        ]
        streams = [await begun(backend, each) for each in asked]

        async def read(who: str, events: AsyncGenerator[Event, None]) -> None:
            async for _ in events:
                pass
            ended.append(who)

        async with asyncio.TaskGroup() as tasks:
            for who, events in zip(callers, streams, strict=True):
                tasks.create_task(read(who, events))

    assert ended.index("bob 1") < ended.index("ann 3")


async def test_all_pause_while_the_prompt_of_one_who_asks_for_little_is_read() -> None:
    """A37: what others were doing is broken off, and none of them gets a token until the guest has his first."""
    endless: Any = {"max_tokens": 400, "sampling": Sampling(ignore_eos=True), "caller": "ann"}
    meanwhile = [0] * 6
    waiting = True
    async with engine(sequences=8, cells=4096) as (backend, _), asyncio.TaskGroup() as tasks:

        async def count(place: int, events: AsyncGenerator[Event, None]) -> None:
            async for event in events:
                meanwhile[place] += waiting and isinstance(event, TextDelta)

        anns = [
            tasks.create_task(count(place, await begun(backend, prompt(f"{place} {COUNT}", **endless))))
            for place in range(len(meanwhile))
        ]
        async with asyncio.timeout(60):
            while not all(meanwhile):
                await asyncio.sleep(0.001)
        meanwhile[:] = [0] * len(meanwhile)
        bobs = await answered(backend, prompt("word " * 60, max_tokens=1, caller="bob"))
        waiting = False
        for each in anns:
            each.cancel()

    assert end_of(bobs).usage.completion_tokens == 1
    assert max(meanwhile) <= 2


async def test_a_spoken_request_goes_before_one_that_nobody_waits_for() -> None:
    ended: list[str] = []
    async with engine(sequences=1) as (backend, _):
        first = await begun(backend, prompt(COUNT, max_tokens=12))

        async def ask(priority: Priority) -> None:
            await answered(backend, prompt("Hi", max_tokens=1, priority=priority))
            ended.append(priority.name)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(ask(Priority.BACKGROUND))
            tasks.create_task(ask(Priority.INTERACTIVE))
            tasks.create_task(ask(Priority.VOICE))
            async for _ in first:
                pass

    assert ended == ["VOICE", "INTERACTIVE", "BACKGROUND"]


async def test_requests_that_outgrow_the_cache_take_turns_and_all_end() -> None:
    async with engine(context_tokens=192, cells=192, batch=32, sequences=3) as (backend, _):
        sampling = Sampling(temperature=1.0, seed=4, logit_bias={2: -100.0, 0: -100.0, 4: -100.0})
        asked = [prompt(f"{n} {COUNT}", max_tokens=90, sampling=sampling, cache_scope=str(n)) for n in range(3)]
        answers = await asyncio.gather(*(answered(backend, each) for each in asked))

    for events in answers:
        assert end_of(events).usage.completion_tokens == len(ids_of(events)) == 90


async def test_the_end_of_the_context_ends_an_answer() -> None:
    async with engine(context_tokens=64, sequences=1) as (backend, _):
        sampling = Sampling(temperature=1.0, seed=4, logit_bias={2: -100.0, 0: -100.0, 4: -100.0})
        end = end_of(await answered(backend, prompt("Tell a story.", sampling=sampling)))

    assert end.reason is FinishReason.LENGTH
    assert end.usage.prompt_tokens + end.usage.completion_tokens == 64


async def test_closing_the_backend_ends_its_streams() -> None:
    async with engine(sequences=1) as (backend, _):
        stream = await begun(backend, prompt(LONG))
        await backend.close()
        with pytest.raises(BackendUnavailable):
            async for _ in stream:
                pass
        with pytest.raises(BackendUnavailable):
            await backend.ping()


class Breaking(Watcher):
    """Breaks the engine's thread at the first step of a request, as a defect would."""

    def __init__(self) -> None:
        super().__init__()
        self.armed = False

    def stepped(self, *, seconds: float, threads: int) -> None:
        if self.armed:
            raise RuntimeError(seconds)


async def test_an_engine_that_breaks_fails_its_requests_and_says_so() -> None:
    watcher = Breaking()
    options = ModelOptions(name="breaking", threads=1, created=1, context_tokens=256)
    backend = LlamaCppBackend(options, observer=watcher)
    await backend.load(bundled_model())
    watcher.armed = True

    with pytest.raises(BackendUnavailable):
        await answered(backend, prompt("Hi"))
    with pytest.raises(Internal):
        await backend.until_stopped()
    with pytest.raises(BackendUnavailable):
        await backend.ping()
    await backend.close()


async def test_a_backend_that_is_not_loaded_is_unavailable() -> None:
    backend = LlamaCppBackend(ModelOptions(name="later", threads=1, created=1), observer=Watcher())

    assert not backend.describe().ready
    with pytest.raises(BackendUnavailable):
        await answered(backend, prompt("Hi"))
    with pytest.raises(BackendUnavailable):
        await backend.ping()
    await backend.close()


@pytest.mark.parametrize("size", [0, 1_000, 50_000_000])
async def test_a_file_that_is_cut_is_no_model(tmp_path: Path, size: int) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(bundled_model().read_bytes()[:size])
    backend = LlamaCppBackend(ModelOptions(name="cut", threads=1, created=1), observer=Watcher())

    with pytest.raises(ModelFileError, match="not a usable GGUF file"):
        await backend.load(cut)
    await backend.close()
