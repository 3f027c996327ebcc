import pytest
from hypothesis import given
from hypothesis import strategies as st

from threadmesh.testing.clock import FakeClock
from tools_svc.domain.token_bucket import Rate, TokenBucket

RATE = Rate(per_second=2, burst=3)


def _use(bucket: TokenBucket, clock: FakeClock) -> float:
    clock.advance(bucket.wait_seconds())
    assert bucket.wait_seconds() == 0
    bucket.take()
    return clock.monotonic()


def test_a_burst_goes_at_once_and_the_rest_one_after_the_other() -> None:
    clock = FakeClock()
    bucket = TokenBucket(RATE, clock)

    assert [_use(bucket, clock) for _ in range(6)] == [0, 0, 0, 0.5, 1, 1.5]


def test_tokens_come_back_with_time_but_never_more_than_the_burst() -> None:
    clock = FakeClock()
    bucket = TokenBucket(RATE, clock)
    for _ in range(3):
        bucket.take()
    clock.advance(3600)

    assert [_use(bucket, clock) - 3600 for _ in range(4)] == [0, 0, 0, 0.5]


def test_who_has_others_ahead_knows_how_long_it_takes() -> None:
    bucket = TokenBucket(RATE, FakeClock())

    assert [bucket.wait_seconds(ahead=ahead) for ahead in range(5)] == [0, 0, 0, 0.5, 1]


@given(
    rate=st.builds(Rate, per_second=st.floats(0.01, 1000), burst=st.integers(1, 20)),
    pauses=st.lists(st.floats(0, 10), max_size=60),
)
def test_no_stretch_of_time_has_more_calls_than_rate_and_burst_allow(rate: Rate, pauses: list[float]) -> None:
    clock = FakeClock()
    bucket = TokenBucket(rate, clock)
    uses = []
    for pause in pauses:
        clock.advance(pause)
        uses.append(_use(bucket, clock))

    for first, begin in enumerate(uses):
        for last, end in enumerate(uses[first:], first):
            assert last - first + 1 <= rate.burst + (end - begin) * rate.per_second + 1e-6


@given(ahead=st.integers(0, 30), rate=st.builds(Rate, per_second=st.floats(0.01, 1000), burst=st.integers(1, 20)))
def test_the_wait_behind_others_is_what_it_takes_when_each_of_them_has_its_turn(ahead: int, rate: Rate) -> None:
    clock = FakeClock()
    bucket = TokenBucket(rate, clock)
    expected = bucket.wait_seconds(ahead=ahead)

    last = [_use(bucket, clock) for _ in range(ahead + 1)][-1]

    assert last == pytest.approx(expected, abs=1e-6)
