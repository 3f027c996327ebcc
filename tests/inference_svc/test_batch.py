"""Who gets how many tokens in the engine's next step."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_svc.domain.batch import SMALL_TOKENS, Chunk, Pauses, Reader, Step, Turns, guests, mixed_tokens, plan

READERS = st.lists(st.tuples(st.integers(1, 900), st.integers(0, 9), st.integers(0, 2)), max_size=6).map(
    lambda all_of: [
        Reader(sequence=100 + n, tokens=tokens, due=due, rank=rank) for n, (tokens, due, rank) in enumerate(all_of)
    ]
)


def reader(sequence: int, tokens: int, *, due: float = 0.0, rank: int = 0, turn: float = 0.0) -> Reader:
    return Reader(sequence=sequence, tokens=tokens, due=due, rank=rank, turn=turn)


@given(decoding=st.lists(st.integers(0, 63), unique=True, max_size=16), reading=READERS, prefill=st.integers(0, 600))
def test_a_step_is_within_its_budget_and_leaves_no_decoding_sequence_out(
    decoding: list[int], reading: list[Reader], prefill: int
) -> None:
    step = plan(decoding=decoding, reading=reading, batch=512, prefill=prefill)
    wanted = {each.sequence: each.tokens for each in reading}

    assert step.decode == tuple(decoding)
    assert step.tokens <= 512
    assert sum(chunk.tokens for chunk in step.prefill) <= prefill
    assert all(0 < chunk.tokens <= wanted[chunk.sequence] for chunk in step.prefill)


@given(reading=READERS.filter(bool), prefill=st.integers(1, 600))
def test_who_is_first_gets_all_it_needs_or_all_there_is(reading: list[Reader], prefill: int) -> None:
    step = plan(decoding=[], reading=reading, batch=512, prefill=prefill)
    first = min(reading, key=lambda each: (each.rank, each.due))

    assert step.prefill[0] == Chunk(sequence=first.sequence, tokens=min(first.tokens, prefill, 512))


def test_a_step_ends_with_the_prompt_that_it_completes() -> None:
    step = plan(decoding=[], reading=[reader(1, 100), reader(2, 100), reader(3, 100)], batch=512, prefill=400)

    assert step == Step(decode=(), prefill=(Chunk(sequence=1, tokens=100),))


def test_very_short_prompts_are_read_together() -> None:
    step = plan(decoding=[], reading=[reader(1, 20), reader(2, 30), reader(3, 90)], batch=512, prefill=400)

    assert step.prefill == (
        Chunk(sequence=1, tokens=20),
        Chunk(sequence=2, tokens=30),
        Chunk(sequence=3, tokens=SMALL_TOKENS - 50),
    )


def test_a_short_prompt_passes_a_long_one_that_came_before() -> None:
    step = plan(decoding=[], reading=[reader(1, 4_000, due=10.0), reader(2, 80, due=2.3)], batch=512, prefill=400)

    assert step.prefill == (Chunk(sequence=2, tokens=80),)


def test_a_long_prompt_is_not_passed_by_what_comes_after_its_own_end() -> None:
    step = plan(decoding=[], reading=[reader(1, 4_000, due=10.0), reader(2, 80, due=12.0)], batch=512, prefill=400)

    assert step.prefill == (Chunk(sequence=1, tokens=400),)


def test_a_spoken_request_is_read_before_all_others() -> None:
    step = plan(decoding=[], reading=[reader(1, 80, rank=1), reader(2, 4_000, due=9.0, rank=0)], batch=512, prefill=64)

    assert step.prefill == (Chunk(sequence=2, tokens=64),)


def test_prompts_of_a_tenant_for_whom_less_was_read_go_first() -> None:
    crowd = [reader(number, 80, turn=400.0, due=float(number)) for number in range(5)]

    step = plan(decoding=[], reading=[*crowd, reader(9, 80, turn=384.0, due=99.0)], batch=512, prefill=64)

    assert step.prefill == (Chunk(sequence=9, tokens=64),)


def test_tenants_are_read_for_alike_however_much_each_has_to_be_read() -> None:
    turns = Turns()
    for _ in range(50):
        turns.of({"ann"})
        turns.read("ann", tokens=16)
    given: Counter[str] = Counter()
    first = ""
    for _ in range(40):
        shares = turns.of({"ann", "bob"})
        tenant = min(sorted(shares), key=lambda each: shares[each])
        first = first or tenant
        turns.read(tenant, tokens=16)
        given[tenant] += 16

    assert first == "bob"  # who comes is not behind those who are there
    assert abs(given["ann"] - given["bob"]) <= 16


def test_a_tenant_that_was_away_has_saved_nothing_up() -> None:
    turns = Turns()
    turns.of({"ann", "bob"})
    for _ in range(50):
        turns.of({"ann"})
        turns.read("ann", tokens=16)

    shares = turns.of({"ann", "bob"})

    assert 0 < shares["ann"] - shares["bob"] <= 1


def test_a_long_prompt_does_not_keep_others_from_decoding() -> None:
    step = plan(decoding=[1, 2], reading=[reader(3, 4_000)], batch=512, prefill=16)

    assert step == Step(decode=(1, 2), prefill=(Chunk(sequence=3, tokens=16),))


def test_a_step_that_reads_beside_others_is_kept_small() -> None:
    assert mixed_tokens(8, batch=512, mixed=63) == 63
    assert mixed_tokens(0, batch=512, mixed=63) == 512


@given(decoding=st.integers(1, 511), mixed=st.integers(1, 512))
def test_prompts_get_on_beside_however_many_that_decode(decoding: int, mixed: int) -> None:
    most = mixed_tokens(decoding, batch=512, mixed=mixed)
    step = plan(decoding=range(decoding), reading=[reader(1_000, 90)], batch=most, prefill=90)

    assert step.prefill
    assert step.tokens <= 512


@pytest.mark.parametrize(
    ("tenants", "found"),
    [
        (["ann", "ann", "bob"], {"bob"}),
        (["ann", "ann", "bob", "eve"], {"bob", "eve"}),
        (["", "", "bob"], {"bob"}),
        (["ann", "bob"], set()),
        (["ann", "ann", "bob", "bob"], set()),
        (["ann", "ann", ""], set()),
        ([], set()),
    ],
)
def test_a_guest_asks_for_one_thing_where_another_asks_for_several(tenants: list[str], found: set[str]) -> None:
    assert guests(tenants) == found


@given(st.lists(st.floats(0.01, 0.5), min_size=1, max_size=60))
def test_pauses_take_half_of_the_time_at_most_and_end(steps: list[float]) -> None:
    pauses = Pauses()
    paused = worked = 0.0
    for seconds in steps * 5:
        if pauses.allowed:
            paused += seconds
            pauses.after(seconds=seconds, paused=True)
        else:
            worked += seconds
            pauses.after(seconds=seconds, paused=False)

    assert paused <= worked + 0.5 + max(steps)


def test_nobody_pauses_for_longer_because_there_was_no_pause_for_long() -> None:
    pauses = Pauses()
    for _ in range(1_000):
        pauses.after(seconds=0.1, paused=False)
    pauses.after(seconds=0.6, paused=True)

    assert not pauses.allowed
