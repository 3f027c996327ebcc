"""What a key may use in a minute and at once; time is a clock that jumps only where the test says so."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facade.domain.allowance import Allowance
from facade.domain.places import Places
from facade.domain.rate_limits import RateLimits
from threadmesh.errors import Overloaded, RateLimitExceeded
from threadmesh.keys.key import KeyLimits
from threadmesh.testing.clock import FakeClock


def limited(clock: FakeClock | None = None, **limits: int) -> RateLimits:
    return RateLimits(lambda _: KeyLimits(**limits), clock or FakeClock())


def admitted(limits: RateLimits, identity: str = "ann", *, tokens: int = 0, most: int = 1000) -> int:
    """Count how many requests are taken until one is refused."""
    for count in range(most):
        try:
            limits.admit(identity, tokens=tokens)
        except RateLimitExceeded:
            return count
    return most


def refusal(limits: RateLimits, **wanted: Any) -> RateLimitExceeded:
    with pytest.raises(RateLimitExceeded) as caught:
        limits.admit("ann", **{"tokens": 0, **wanted})
    return caught.value


def test_nothing_is_limited_unless_it_is_said() -> None:
    limits = limited(requests_per_minute=0)

    assert admitted(limits, tokens=10**9) == 1000
    assert list(limits.standings("ann")) == []


def test_a_minutes_requests_are_taken_at_once_and_come_back_evenly() -> None:
    clock = FakeClock()
    limits = limited(clock, requests_per_minute=6)

    assert admitted(limits) == 6
    assert refusal(limits).retry_after == pytest.approx(10)
    clock.advance(20)
    assert admitted(limits) == 2
    clock.advance(3600)
    assert admitted(limits) == 6


def test_one_keys_use_is_not_anothers() -> None:
    limits = limited(requests_per_minute=3)

    assert admitted(limits, "ann") == 3
    assert admitted(limits, "bob") == 3


def test_a_refused_request_takes_nothing() -> None:
    clock = FakeClock()
    limits = limited(clock, requests_per_minute=10, tokens_per_minute=100)
    limits.admit("ann", tokens=100)
    for _ in range(50):
        refusal(limits, tokens=1)

    standing = dict(limits.standings("ann"))
    assert (standing["requests"].remaining, standing["tokens"].remaining) == (9, 0)


def test_tokens_that_were_used_are_taken_also_beyond_what_was_there() -> None:
    clock = FakeClock()
    limits = limited(clock, tokens_per_minute=600)
    limits.admit("ann", tokens=50)
    limits.use_tokens("ann", -50)
    limits.use_tokens("ann", 900)

    error = refusal(limits)
    assert error.facts["limited"] == "tokens"
    assert error.retry_after == pytest.approx(30.1)
    clock.advance(31)
    assert admitted(limits, most=1) == 1


def test_a_request_larger_than_a_minutes_tokens_waits_for_all_of_them() -> None:
    clock = FakeClock()
    limits = limited(clock, tokens_per_minute=60)
    limits.admit("ann", tokens=1000)
    assert refusal(limits, tokens=1000).retry_after == pytest.approx(1000)
    clock.advance(1000)

    assert admitted(limits, tokens=1000, most=1) == 1


def test_what_is_left_is_told_with_the_time_until_all_of_it_is() -> None:
    limits = limited(requests_per_minute=60, tokens_per_minute=6_000)
    limits.admit("ann", tokens=1_500)
    standings = dict(limits.standings("ann"))

    requests, tokens = standings["requests"], standings["tokens"]
    assert [requests.limit, requests.remaining, round(requests.reset_seconds, 6)] == [60, 59, 1]
    assert [tokens.limit, tokens.remaining, round(tokens.reset_seconds, 6)] == [6_000, 4_500, 15]


def test_a_changed_limit_holds_at_once() -> None:
    per_minute = [2]
    limits = RateLimits(lambda _: KeyLimits(requests_per_minute=per_minute[0]), FakeClock())
    assert admitted(limits) == 2

    per_minute[0] = 5
    assert admitted(limits) == 5
    per_minute[0] = 0
    assert admitted(limits) == 1000


def test_the_clock_on_the_wall_changes_no_limit() -> None:
    clock = FakeClock()
    limits = limited(clock, requests_per_minute=1)
    assert admitted(limits) == 1
    for hours in (1, -2):
        clock._now += timedelta(hours=hours)
        assert admitted(limits) == 0


def test_streams_end_once_and_make_room() -> None:
    limits = limited(concurrent_streams=2)
    first, _ = limits.open_stream("ann"), limits.open_stream("ann")
    with pytest.raises(RateLimitExceeded):
        limits.open_stream("ann")
    limits.open_stream("bob")
    first()
    first()
    limits.open_stream("ann")

    with pytest.raises(RateLimitExceeded):
        limits.open_stream("ann")


def test_tool_calls_have_a_limit_of_their_own() -> None:
    limits = limited(requests_per_minute=100, tool_calls_per_minute=1)
    limits.use_tool_call("ann")
    with pytest.raises(RateLimitExceeded, match="1 tool calls a minute"):
        limits.use_tool_call("ann")

    assert admitted(limits) == 100


@given(
    per_minute=st.integers(1, 1000),
    steps=st.lists(st.tuples(st.floats(0, 100), st.floats(0, 2000)), max_size=50),
)
def test_over_any_time_no_more_comes_back_than_the_rate_allows(per_minute: int, steps: list[Any]) -> None:
    allowance = Allowance(per_minute, now=0.0)
    now, taken = 0.0, 0.0
    for pause, wanted in steps:
        now += pause
        amount = min(wanted, max(0.0, allowance.left(now)))
        allowance.take(amount, now)
        taken += amount

    assert taken <= per_minute * (1 + now / 60) + 1e-6
    assert allowance.left(now) <= per_minute


def test_one_caller_leaves_places_to_the_others() -> None:
    places = Places(8)
    freed = [places.take("ann") for _ in range(6)]
    with pytest.raises(Overloaded):
        places.take("ann")
    places.take("bob")
    freed[0]()
    freed[0]()
    places.take("ann")

    assert places.taken == 7
    with pytest.raises(Overloaded):
        places.take("ann")


def test_callers_without_a_key_share_all_places() -> None:
    places = Places(4)
    for _ in range(4):
        places.take("")

    with pytest.raises(Overloaded):
        places.take("bob")


def test_even_one_place_can_be_had() -> None:
    places = Places(1)
    places.take("ann")()
    places.take("bob")

    assert places.taken == 1
