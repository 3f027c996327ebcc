"""Who gets how many tokens in the engine's next step."""

from hypothesis import given
from hypothesis import strategies as st

from inference_svc.domain.batch import Chunk, Pace, Step, plan

PROMPTS = st.lists(st.integers(2, 900), max_size=6).map(lambda sizes: [(100 + n, size) for n, size in enumerate(sizes)])


@given(decoding=st.lists(st.integers(0, 63), unique=True, max_size=16), prompts=PROMPTS, prefill=st.integers(0, 600))
def test_a_step_is_within_its_budget_and_leaves_no_decoding_sequence_out(
    decoding: list[int], prompts: list[tuple[int, int]], prefill: int
) -> None:
    step = plan(decoding=decoding, prefilling=prompts, batch=512, prefill=prefill)

    assert step.decode == tuple(decoding)
    assert step.tokens <= 512
    assert sum(chunk.tokens for chunk in step.prefill) <= prefill
    assert all(chunk.tokens <= dict(prompts)[chunk.sequence] for chunk in step.prefill)


def test_equal_prompts_are_read_in_the_order_of_arrival() -> None:
    step = plan(decoding=[], prefilling=[(1, 100), (2, 100), (3, 100)], batch=512, prefill=120)

    assert step == Step(decode=(), prefill=(Chunk(sequence=1, tokens=100), Chunk(sequence=2, tokens=20)))


def test_a_short_prompt_does_not_wait_for_a_long_one() -> None:
    step = plan(decoding=[], prefilling=[(1, 4_000), (2, 30)], batch=512, prefill=64)

    assert step == Step(decode=(), prefill=(Chunk(sequence=1, tokens=34), Chunk(sequence=2, tokens=30)))


@given(prompts=PROMPTS.filter(bool), prefill=st.integers(4, 600))
def test_the_oldest_prompt_gets_on_in_every_step(prompts: list[tuple[int, int]], prefill: int) -> None:
    step = plan(decoding=[], prefilling=prompts, batch=512, prefill=prefill)

    assert step.prefill[0].sequence == prompts[0][0]
    assert step.prefill[0].tokens >= min(prompts[0][1], min(prefill, 512) // 4)


def test_a_long_prompt_does_not_keep_others_from_decoding() -> None:
    step = plan(decoding=[1, 2], prefilling=[(3, 4_000)], batch=512, prefill=16)

    assert step == Step(decode=(1, 2), prefill=(Chunk(sequence=3, tokens=16),))


def test_the_pace_follows_what_was_measured() -> None:
    pace = Pace(seconds_per_token=0.01)
    for _ in range(50):
        pace = pace.after(tokens=100, seconds=0.1)

    assert 45 <= pace.tokens_within(0.05, most=512) <= 55
    assert pace.tokens_within(60, most=512) == 512


def test_even_the_slowest_machine_reads_a_few_tokens_a_step() -> None:
    assert Pace(seconds_per_token=10).tokens_within(0.05, most=512) > 0


def test_a_step_of_a_few_tokens_teaches_nothing() -> None:
    pace = Pace(seconds_per_token=0.01)

    assert pace.after(tokens=2, seconds=9) == pace
