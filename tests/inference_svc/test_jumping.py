"""What a grammar forces is said without being drawn."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from inference_svc.adapters.llama_cpp.backend import LlamaCppBackend
from inference_svc.domain.prompt import Grammar, JsonSchema
from inference_svc.domain.speculation import Speculation
from tests.inference_svc.engines import (
    GREEDY,
    Watcher,
    answered,
    backend_of,
    bundled,
    end_of,
    ids_of,
    prompt,
    text_of,
)
from threadmesh.conversation import FinishReason
from threadmesh.sampling import Sampling

pytestmark = pytest.mark.model


@pytest.fixture
def backend() -> LlamaCppBackend:
    return bundled()[0]


@asynccontextmanager
async def engine(**options: Any) -> AsyncIterator[tuple[LlamaCppBackend, Watcher]]:
    backend, watcher = await asyncio.to_thread(backend_of, **options)
    try:
        yield backend, watcher
    finally:
        await backend.close()


async def test_what_a_grammar_forces_is_not_drawn() -> None:
    names = ("needs_human_review", "is_spam", "language_detected")
    schema = {"type": "object", "properties": {name: {"type": "boolean"} for name in names}, "required": list(names)}
    form = JsonSchema(schema_json=json.dumps(schema))
    asked = prompt("Judge: the film was fine.", max_tokens=60, sampling=GREEDY, response_format=form)
    async with engine(sequences=1, speculation=Speculation.OFF) as (backend, watcher):
        drawn = await answered(backend, replace(asked, logprobs=0))
        steps, jumped = watcher.steps, watcher.jumped
        events = await answered(backend, asked)

    tokens = len(ids_of(events))
    assert jumped == 0, "whoever wants to know how likely a token is needs it drawn"
    assert set(json.loads(text_of(events))) == set(json.loads(text_of(drawn))) == set(names)
    assert end_of(events).usage.completion_tokens == tokens
    assert watcher.jumped > tokens // 2
    assert watcher.steps - steps <= tokens - watcher.jumped + 2


@pytest.mark.parametrize("most", range(1, 9))
async def test_an_answer_may_end_within_what_is_forced(backend: LlamaCppBackend, most: int) -> None:
    form = Grammar(gbnf='root ::= "{\\"a rather long name of a property\\": " [0-9] "}"')
    events = await answered(backend, prompt("Go.", max_tokens=most, sampling=GREEDY, response_format=form))

    assert len(ids_of(events)) == end_of(events).usage.completion_tokens == most
    assert end_of(events).reason is FinishReason.LENGTH


async def test_a_stop_text_is_found_in_what_is_forced(backend: LlamaCppBackend) -> None:
    form = Grammar(gbnf='root ::= "one two three four five " [a-z]+')
    events = await answered(backend, prompt("Go.", stop=(" four",), sampling=GREEDY, response_format=form))

    assert text_of(events) == "one two three"
    assert end_of(events).reason is FinishReason.STOP


async def test_an_answer_is_continued_within_what_is_forced(backend: LlamaCppBackend) -> None:
    form = Grammar(gbnf='root ::= "one two three four five six " [0-9] " seven eight nine."')
    asked = prompt("Go.", sampling=GREEDY, response_format=form, max_tokens=40, cache_scope="forced")
    whole = await answered(backend, asked)

    for said in range(1, len(ids_of(whole))):
        rest = await answered(backend, replace(asked, emitted_token_ids=tuple(ids_of(whole)[:said])))
        assert text_of(whole).endswith(text_of(rest))
        assert [*ids_of(whole)[:said], *ids_of(rest)] == ids_of(whole)


async def test_more_is_forced_than_a_step_can_hold() -> None:
    words = " ".join(f"word{number}" for number in range(12))
    form = Grammar(gbnf=f'root ::= "{words} " [0-9]')
    asked = prompt("Go.", sampling=GREEDY, response_format=form, max_tokens=80)
    async with engine(sequences=4, batch=32) as (backend, watcher):
        answers = await asyncio.gather(*(answered(backend, asked) for _ in range(4)))

    assert watcher.jumped > 4 * 20
    assert {text_of(events)[:-1] for events in answers} == {words + " "}


async def test_a_request_that_names_a_seed_draws_what_is_forced_too(backend: LlamaCppBackend) -> None:
    form = Grammar(gbnf='root ::= "one two three four five six " [0-9]')
    watcher = bundled()[1]
    before = watcher.jumped
    events = await answered(backend, prompt("Go.", sampling=Sampling(seed=1), response_format=form))

    assert text_of(events).startswith("one two three four five six ")
    assert watcher.jumped == before
