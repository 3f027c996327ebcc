"""What one request has computed, others find: at the same time, later, and after it had to leave the context."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from inference_svc.adapters.llama_cpp.backend import LlamaCppBackend
from inference_svc.adapters.llama_cpp.options import Device
from inference_svc.domain.events import Event
from inference_svc.domain.prompt import Prompt
from inference_svc.domain.speculation import Speculation
from tests.inference_svc.engines import GREEDY, Watcher, answered, backend_of, end_of, ids_of, prompt, text_of
from threadmesh.conversation import Message, Role, message
from threadmesh.sampling import Sampling

pytestmark = pytest.mark.model

PERSONA = "You are Ada, who keeps the lighthouse. " + "You know the sea, the birds and every ship that passes. " * 12
NAMES = ("Ann", "Bob", "Cleo", "Dan", "Eve", "Finn")


@asynccontextmanager
async def engine(**options: Any) -> AsyncIterator[tuple[LlamaCppBackend, Watcher]]:
    backend, watcher = await asyncio.to_thread(backend_of, **options)
    try:
        yield backend, watcher
    finally:
        await backend.close()


def to_ada(text: str) -> list[Message]:
    return [message(Role.SYSTEM, PERSONA), message(Role.USER, text)]


def cached(events: list[Event]) -> int:
    return end_of(events).usage.cached_tokens


def read(events: list[Event]) -> int:
    return end_of(events).usage.prompt_tokens


async def test_a_beginning_that_requests_share_is_read_once_though_they_come_together() -> None:
    async with engine(sequences=6) as (backend, _):
        asked = [prompt(to_ada(f"I am {name}."), max_tokens=4, sampling=GREEDY) for name in NAMES]
        together = await asyncio.gather(*(answered(backend, each) for each in asked))

    computed = sum(read(events) - cached(events) for events in together)
    assert min(map(read, together)) > 150
    assert computed < max(map(read, together)) + 5 * 25


async def test_answers_to_one_prompt_share_all_of_it() -> None:
    async with engine(sequences=4) as (backend, _):
        asked = [prompt(to_ada("Sing."), max_tokens=6, sampling=Sampling(temperature=1.5, seed=n)) for n in range(4)]
        answers = await asyncio.gather(*(answered(backend, each) for each in asked))

    assert min(sorted(map(cached, answers))[1:]) >= read(answers[0]) - 9
    assert len({text_of(events) for events in answers}) > 1


async def test_requests_of_different_scopes_share_nothing() -> None:
    async with engine() as (backend, _):
        asked = [prompt(to_ada("Hello."), max_tokens=1, cache_scope=name) for name in NAMES]
        together = await asyncio.gather(*(answered(backend, each) for each in asked))
        again = await answered(backend, replace(asked[0], cache_scope="somebody else"))

    assert [cached(events) for events in together] == [0] * len(NAMES)
    assert cached(again) == 0


async def test_a_request_goes_on_when_the_one_that_read_for_it_leaves() -> None:
    async with engine(sequences=2) as (backend, _):
        leading = backend.stream(prompt(to_ada("Wait for me. " * 40), cache_scope="left"))
        await anext(leading)
        following = asyncio.create_task(
            answered(backend, prompt(to_ada("I follow."), max_tokens=2, cache_scope="left"))
        )
        await anext(leading)
        await leading.aclose()

        assert end_of(await following).usage.completion_tokens == 2


async def turns(backend: LlamaCppBackend, name: str, turn: int, before: list[Message]) -> tuple[int, int]:
    """Take a turn of a conversation; gives how much of the prompt was cached, and how long it was."""
    before.append(message(Role.USER, f"This is {name}, turn {turn}. " + f"{name} likes boats. " * 8))
    events = await answered(backend, prompt(before, max_tokens=4, sampling=GREEDY))
    before.append(message(Role.ASSISTANT, text_of(events)))
    return cached(events), read(events)


async def test_more_conversations_than_slots_find_their_history() -> None:
    async with engine(sequences=2, idle=64) as (backend, watcher):
        said: dict[str, list[Message]] = {name: [] for name in NAMES}
        first = [await turns(backend, name, 1, said[name]) for name in NAMES]
        second = [await turns(backend, name, 2, said[name]) for name in NAMES]
        parked = watcher.parked

    assert parked > 0
    for (_, before), (found, now) in zip(first, second, strict=True):
        assert before - 2 <= found < now


async def test_a_conversation_that_was_parked_goes_on_as_if_it_had_stayed() -> None:
    texts = []
    for idle in (100_000, 0):
        async with engine(sequences=2, idle=idle, context_tokens=1024, threads=1) as (backend, _):
            said: dict[str, list[Message]] = {name: [] for name in NAMES[:3]}
            for turn in range(2):
                for name, before in said.items():
                    await turns(backend, name, turn, before)
            texts.append([before[-1].text for before in said.values()])

    assert texts[0] == texts[1]


async def test_without_room_in_host_memory_the_least_recently_used_conversation_is_forgotten() -> None:
    async with engine(sequences=1, idle=0, parked=9_000_000) as (backend, watcher):
        asked = [prompt(f"{name} {PERSONA}", max_tokens=1) for name in NAMES]
        for each in asked:
            await answered(backend, each)
        newest, oldest = await answered(backend, asked[-2]), await answered(backend, asked[0])

        assert 0 < watcher.parked <= 9_000_000
    assert cached(newest) > read(newest) // 2
    assert cached(oldest) < read(oldest) // 2


async def test_nothing_is_parked_where_that_is_not_wished() -> None:
    async with engine(sequences=1, idle=0, parked=0) as (backend, watcher):
        for name in NAMES:
            await answered(backend, prompt(f"{name} {PERSONA}", max_tokens=1))

        assert watcher.parked == 0


@pytest.mark.parametrize("sampling", [GREEDY, Sampling(temperature=0.8, seed=7)], ids=["greedy", "drawn"])
async def test_an_answer_goes_on_exactly_where_another_server_was_cut(sampling: Sampling) -> None:
    asked = prompt("Tell me of the sea.", max_tokens=40, sampling=sampling)
    async with engine(sequences=1, threads=1, parked=0, speculation=Speculation.OFF) as (backend, _):
        whole = ids_of(await answered(backend, replace(asked, cache_scope="whole")))
        for cut in range(1, 40, 3):
            rest = await answered(
                backend, replace(asked, cache_scope=f"cut {cut}", emitted_token_ids=tuple(whole[:cut]))
            )
            assert [*whole[:cut], *ids_of(rest)] == whole, cut


async def test_guesses_change_how_fast_an_answer_comes_and_not_what_it_says() -> None:
    asked = prompt(
        "Say again: one two three four five six. One two three four five six.", max_tokens=48, sampling=GREEDY
    )
    async with engine(sequences=1, speculation=Speculation.OFF) as (backend, plain):
        expected = await answered(backend, asked)
    async with engine(sequences=1, speculation=Speculation.ALWAYS) as (backend, guessing):
        events = await answered(backend, asked)

    assert ids_of(events) == ids_of(expected)
    assert plain.guesses["proposed"] == 0
    assert guessing.guesses["accepted"] > 0


async def test_a_predicted_answer_is_computed_several_tokens_at_a_time() -> None:
    asked = prompt("Tell me about the sea.", max_tokens=24, sampling=GREEDY)
    async with engine(sequences=1) as (backend, plain):
        said = text_of(await answered(backend, asked))
    async with engine(sequences=1, speculation=Speculation.ALWAYS) as (backend, guessing):
        foreseen = await answered(backend, replace(asked, prediction=said))

    assert text_of(foreseen) == said
    assert guessing.guesses["accepted"] >= 12
    assert end_of(foreseen).usage.accepted_prediction_tokens >= 20
    assert guessing.steps < plain.steps


async def test_a_request_that_names_a_seed_is_computed_without_guesses() -> None:
    async with engine(sequences=1, speculation=Speculation.ALWAYS) as (backend, watcher):
        sampling = Sampling(temperature=0.0, seed=1)
        await answered(backend, prompt("Say again: one two three one two three.", max_tokens=24, sampling=sampling))

        assert watcher.guesses["proposed"] == 0


async def test_warming_makes_the_next_request_find_its_beginning() -> None:
    async with engine() as (backend, _):
        warmed = await backend.warm(Prompt(conversation=prompt(to_ada("Are you there?")).conversation))
        again = await backend.warm(Prompt(conversation=prompt(to_ada("Are you there?")).conversation))
        events = await answered(backend, prompt(to_ada("Are you there?"), max_tokens=1))

    assert warmed.cached_tokens == 0
    assert again.cached_tokens == again.prompt_tokens - 1
    assert cached(events) >= warmed.prompt_tokens - 1


@pytest.mark.parametrize("form", ["f16", "q8_0", "bf16"])
async def test_the_cache_has_the_form_that_was_asked_for(form: str) -> None:
    device = Device(cache_k=form, cache_v=form, flash_attention="on")
    async with engine(sequences=2, idle=0, device=device) as (backend, watcher):
        for name in NAMES[:2]:
            events = await answered(backend, prompt(f"{name} {PERSONA}", max_tokens=2, sampling=GREEDY))
        parked = watcher.parked

    assert end_of(events).usage.completion_tokens == 2
    bytes_per_token = parked / read(events)
    assert bytes_per_token == pytest.approx(30 * 2 * 192 * {"f16": 2, "q8_0": 34 / 32, "bf16": 2}[form], rel=0.1)


async def test_a_model_computes_without_flash_attention() -> None:
    async with engine(sequences=1, device=Device(flash_attention="off")) as (backend, _):
        assert ids_of(await answered(backend, prompt("Hi", max_tokens=3, sampling=GREEDY)))


async def test_a_seed_repeats_an_answer_whatever_was_asked_in_between() -> None:
    sampling = Sampling(temperature=1.0, seed=11)
    asked = prompt(to_ada("Tell me of the birds."), max_tokens=24, sampling=sampling)
    said = []
    async with engine(sequences=2) as (backend, _):
        for name in NAMES[:4]:
            said.append(ids_of(await answered(backend, asked)))
            await answered(backend, prompt(to_ada(f"I am {name}."), max_tokens=5))
            await answered(backend, prompt(f"{name} likes boats.", max_tokens=5))

    assert said == [said[0]] * 4
