"""What every backend promises."""

import asyncio
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from inference_svc.domain.events import Event, Finished, Phase, Progress, Started
from inference_svc.domain.ports import Backend
from inference_svc.domain.prompt import Conversation
from tests.inference_svc.engines import GREEDY, answered, end_of, ids_of, prompt, text_of
from threadmesh.conversation import (
    FinishReason,
    Role,
    TextDelta,
    message,
)
from threadmesh.errors import ContextLengthExceeded, InvalidArgument, Unsupported
from threadmesh.sampling import Sampling

COUNT = "Count: one two three four five six seven eight nine ten eleven twelve."


def started(events: list[Event]) -> Started:
    """Give how an answer began, once the model was loaded."""
    first = next(event for event in events if not (isinstance(event, Progress) and event.phase is Phase.LOADING))
    assert isinstance(first, Started)
    return first


async def test_a_stream_begins_with_started_and_ends_with_exactly_one_finished(backend: Backend) -> None:
    events = await answered(backend, prompt(COUNT, max_tokens=5))

    assert started(events).model == backend.describe().name
    assert started(events).fingerprint == backend.describe().fingerprint
    assert [isinstance(event, Finished) for event in events].count(True) == 1
    assert isinstance(events[-1], Finished)


async def test_the_length_of_the_prompt_is_told_at_the_beginning_and_at_the_end(backend: Backend) -> None:
    asked = prompt("Hello, you there.", max_tokens=3)
    events = await answered(backend, asked)

    assert started(events).prompt_tokens == end_of(events).usage.prompt_tokens
    assert started(events).prompt_tokens == await backend.count_tokens(asked.conversation)


async def test_token_indices_have_no_gap_and_usage_counts_them(backend: Backend) -> None:
    events = await answered(backend, prompt(COUNT, max_tokens=9))
    expected = 0
    for event in events:
        if isinstance(event, TextDelta):
            assert event.token_index == expected
            expected += len(event.token_ids)

    assert end_of(events).usage.completion_tokens == expected
    assert end_of(events).usage.prompt_tokens == started(events).prompt_tokens > 0


async def test_the_token_limit_ends_an_answer(backend: Backend) -> None:
    events = await answered(backend, prompt(COUNT, max_tokens=3, sampling=GREEDY))

    assert len(ids_of(events)) == 3
    assert end_of(events).reason is FinishReason.LENGTH


async def test_a_seed_repeats_an_answer(backend: Backend) -> None:
    asked = prompt(COUNT, max_tokens=12, sampling=Sampling(temperature=1.0, seed=11))
    first, second = await answered(backend, asked), await answered(backend, asked)

    assert started(first).seed == 11
    assert text_of(first) == text_of(second)
    assert ids_of(first) == ids_of(second)


async def test_a_stop_string_ends_the_answer_before_it(backend: Backend) -> None:
    whole = text_of(await answered(backend, prompt(COUNT, max_tokens=20, sampling=GREEDY)))
    stop = whole[len(whole) // 2 :][:4]
    events = await answered(backend, prompt(COUNT, max_tokens=20, sampling=GREEDY, stop=(stop,)))

    assert text_of(events) == whole[: whole.index(stop)]
    assert end_of(events).reason is FinishReason.STOP


async def test_the_second_turn_finds_the_first_in_the_cache(backend: Backend) -> None:
    scope = "second turn"
    first = await answered(backend, prompt(COUNT, max_tokens=6, cache_scope=scope))
    turns = (message(Role.USER, COUNT), message(Role.ASSISTANT, text_of(first)), message(Role.USER, "And now?"))
    second = await answered(backend, prompt(turns, max_tokens=4, cache_scope=scope))

    assert end_of(first).usage.cached_tokens == 0
    assert end_of(second).usage.cached_tokens >= end_of(first).usage.prompt_tokens - 1


async def test_caches_are_not_shared_across_scopes(backend: Backend) -> None:
    await answered(backend, prompt(COUNT, max_tokens=2, cache_scope="ann"))
    other = await answered(backend, prompt(COUNT, max_tokens=2, cache_scope="bob"))

    assert end_of(other).usage.cached_tokens == 0


async def test_a_warmed_prompt_is_found_in_the_cache(backend: Backend) -> None:
    asked = prompt("Tell me about whales. " + COUNT, max_tokens=2, cache_scope="warmed")
    warmed = await backend.warm(asked)
    events = await answered(backend, asked)

    assert (warmed.cached_tokens, warmed.prompt_tokens > 10) == (0, True)
    assert end_of(events).usage.cached_tokens >= warmed.prompt_tokens - 2


async def test_a_continuation_goes_on_where_the_tokens_end(backend: Backend) -> None:
    asked = prompt(COUNT, max_tokens=14, sampling=Sampling(temperature=0.9, seed=5), cache_scope="continued")
    whole = await answered(backend, asked)
    tokens = ids_of(whole)
    said = tuple(tokens[:5])
    rest = await answered(
        backend,
        prompt(
            COUNT,
            max_tokens=14,
            sampling=Sampling(temperature=0.9, seed=5),
            emitted_token_ids=said,
            cache_scope="continued",
        ),
    )
    deltas = [event for event in rest if isinstance(event, TextDelta)]

    assert deltas[0].token_index == 5
    assert [*said, *ids_of(rest)] == tokens
    assert text_of(whole).endswith(text_of(rest))


@pytest.mark.parametrize("asked", [{"max_tokens": 6}, {"stop": (" three",)}, {"max_tokens": 40}])
async def test_a_continuation_of_a_whole_answer_tells_how_it_ended(backend: Backend, asked: dict[str, Any]) -> None:
    question = prompt(COUNT, sampling=Sampling(seed=5), cache_scope="whole", **asked)
    whole = await answered(backend, question)
    rest = await answered(backend, replace(question, emitted_token_ids=tuple(ids_of(whole))))

    assert (ids_of(rest), text_of(rest)) == ([], "")
    assert end_of(rest).reason is end_of(whole).reason
    assert end_of(rest).usage.completion_tokens == end_of(whole).usage.completion_tokens


@pytest.mark.parametrize("said", [0, 1, 7, 99])
async def test_a_continuation_repeats_what_was_said_when_asked_to(backend: Backend, said: int) -> None:
    asked = prompt(COUNT, max_tokens=12, sampling=Sampling(seed=5), cache_scope="repeated")
    whole = await answered(backend, asked)
    emitted = tuple(ids_of(whole)[:said])
    again = await answered(backend, replace(asked, emitted_token_ids=emitted, repeat_emitted=True))

    assert text_of(again) == text_of(whole)
    assert ids_of(again) == ids_of(whole)


async def test_tokens_that_cannot_have_been_said_are_refused(backend: Backend) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await answered(backend, prompt(COUNT, emitted_token_ids=(2**31 - 1,)))

    assert caught.value.field == "emitted_token_ids"


async def test_a_prompt_longer_than_the_context_is_refused_with_both_lengths(backend: Backend) -> None:
    with pytest.raises(ContextLengthExceeded) as caught:
        await answered(backend, prompt("word " * 2_000))

    assert caught.value.field == "messages"
    assert int(caught.value.facts["prompt_tokens"]) > int(caught.value.facts["context_tokens"]) == 1024


async def test_two_requests_at_once_both_end(backend: Backend) -> None:
    both = await asyncio.gather(*(answered(backend, prompt(f"{n}: {COUNT}", max_tokens=8)) for n in range(2)))

    assert all(isinstance(events[-1], Finished) for events in both)


async def test_a_stream_that_is_closed_early_leaves_the_backend_usable(backend: Backend) -> None:
    async with aclosing(backend.stream(prompt(COUNT))) as events:
        async for event in events:
            if isinstance(event, TextDelta):
                break

    assert isinstance((await answered(backend, prompt(COUNT, max_tokens=2)))[-1], Finished)


async def test_probabilities_come_with_each_token_when_asked_for(backend: Backend) -> None:
    events = await answered(backend, prompt(COUNT, max_tokens=4, logprobs=0, sampling=GREEDY))
    logprobs = [each for event in events if isinstance(event, TextDelta) for each in event.logprobs]

    assert len(logprobs) == end_of(events).usage.completion_tokens
    assert all(each.logprob <= 0 for each in logprobs)


async def test_text_and_conversations_can_be_counted(backend: Backend) -> None:
    asked = prompt(COUNT)

    assert await backend.count_tokens("") == 0
    assert await backend.count_tokens("one two three") >= 3
    assert await backend.count_tokens(asked.conversation) == started(await answered(backend, asked)).prompt_tokens


async def test_the_tokens_of_a_text_are_that_text(backend: Backend) -> None:
    tokens = await backend.tokenize("one two, three")

    assert b"".join(await backend.detokenize(tokens)) == b"one two, three"
    assert len(tokens) == await backend.count_tokens("one two, three")


async def test_the_tokens_of_a_conversation_are_those_of_its_prompt(backend: Backend) -> None:
    asked = prompt(COUNT)
    tokens = await backend.tokenize(asked.conversation)

    assert len(tokens) == await backend.count_tokens(asked.conversation)
    assert len(await backend.tokenize(asked.conversation, ask=False)) < len(tokens)


async def test_what_is_no_token_has_no_text(backend: Backend) -> None:
    with pytest.raises(InvalidArgument, match="token"):
        await backend.detokenize([2**30])


async def test_a_raw_prompt_is_read_as_it_stands(backend: Backend) -> None:
    asked = prompt("", max_tokens=3, sampling=GREEDY)
    asked = replace(asked, conversation=Conversation(messages=()), raw="one two three")
    tokens = await backend.tokenize("one two three", special=True)
    events = await answered(backend, asked)

    assert started(events).prompt_tokens == len(tokens)
    by_tokens = await answered(backend, replace(asked, raw=tuple(tokens)))
    assert text_of(by_tokens) == text_of(events)


async def test_an_empty_raw_prompt_is_refused_by_models_that_need_one(backend: Backend) -> None:
    for _ in range(2):
        with pytest.raises(InvalidArgument, match="empty") as caught:
            await answered(backend, replace(prompt(""), conversation=Conversation(messages=()), raw=""))
        assert caught.value.facts["field"] == "raw_prompt"


async def test_a_raw_prompt_of_what_is_no_token_is_refused(backend: Backend) -> None:
    with pytest.raises(InvalidArgument, match="token") as caught:
        await answered(backend, replace(prompt(""), conversation=Conversation(messages=()), raw=(2**30,)))

    assert caught.value.facts["field"].startswith("raw_prompt.tokens.ids")


async def test_an_answer_that_was_predicted_says_how_much_of_that_came_true(backend: Backend) -> None:
    asked = prompt(COUNT, max_tokens=8, sampling=GREEDY)
    first = await answered(backend, asked)
    foreseen = await answered(backend, replace(asked, prediction=text_of(first)))
    other = await answered(backend, replace(asked, prediction="Quite another text, of nothing that is said."))

    assert text_of(foreseen) == text_of(other) == text_of(first)
    accepted, rejected = _foreseen(foreseen)
    assert accepted > 0
    assert accepted >= 5 * rejected
    assert _foreseen(other)[1] > 0
    assert _foreseen(first) == (0, 0)


def _foreseen(events: list[Event]) -> tuple[int, int]:
    usage = end_of(events).usage
    return usage.accepted_prediction_tokens, usage.rejected_prediction_tokens


async def test_embeddings_are_refused_in_a_sentence(backend: Backend) -> None:
    with pytest.raises(Unsupported, match="embeddings"):
        await backend.embed(["a", "b"])


async def test_a_ready_backend_answers_the_ping(backend: Backend) -> None:
    await answered(backend, prompt(COUNT, max_tokens=1))
    await backend.ping()

    assert backend.describe().ready


async def test_progress_never_goes_beyond_the_prompt(backend: Backend) -> None:
    events = await answered(backend, prompt(COUNT, max_tokens=1, cache_scope="progress"))

    for event in events:
        if isinstance(event, Progress) and event.phase is not Phase.LOADING:
            assert 0 <= event.prefilled_tokens <= event.prompt_tokens == started(events).prompt_tokens
