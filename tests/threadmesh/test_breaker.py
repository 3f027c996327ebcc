"""When a breaker opens, whom it lets pass, and how it closes again."""

from dataclasses import dataclass, field

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from threadmesh.breaker import Breaker, BreakerLimits, BreakerState, Permit
from threadmesh.testing.clock import FakeClock

LIMITS = BreakerLimits()


@dataclass(slots=True)
class House:
    clock: FakeClock = field(default_factory=FakeClock)
    breaker: Breaker = field(init=False)

    def __post_init__(self) -> None:
        self.breaker = Breaker(self.clock)

    def state(self) -> BreakerState:
        return self.breaker.state

    def enter(self) -> Permit:
        permit = self.breaker.enter()
        assert permit is not None
        return permit

    def fail(self, times: int) -> None:
        for _ in range(times):
            self.breaker.failed(self.enter())

    def succeed(self, times: int) -> None:
        for _ in range(times):
            self.breaker.succeeded(self.enter())


@pytest.fixture
def house() -> House:
    return House()


def test_five_failures_in_a_row_open_it_and_four_do_not(house: House) -> None:
    house.fail(4)
    house.succeed(1)
    house.fail(4)
    assert house.state() is BreakerState.CLOSED

    house.fail(1)

    assert house.state() is BreakerState.OPEN
    assert house.breaker.enter() is None
    assert house.breaker.wait_seconds == LIMITS.rest_seconds


def test_half_of_twenty_calls_in_ten_seconds_open_it(house: House) -> None:
    for _ in range(9):
        house.succeed(1)
        house.fail(1)
    house.succeed(1)
    assert house.state() is BreakerState.CLOSED

    house.fail(1)

    assert house.state() is BreakerState.OPEN


def test_failures_older_than_ten_seconds_are_forgotten(house: House) -> None:
    for _ in range(9):
        house.succeed(1)
        house.fail(1)
    house.clock.advance(10)

    house.succeed(1)
    house.fail(1)

    assert house.state() is BreakerState.CLOSED


def test_calls_that_say_nothing_are_not_counted(house: House) -> None:
    for _ in range(100):
        house.breaker.dropped(house.enter())

    house.fail(4)

    assert house.state() is BreakerState.CLOSED


def test_one_probe_passes_and_its_answer_closes_it(house: House) -> None:
    house.fail(5)
    house.clock.advance(LIMITS.rest_seconds)
    assert house.state() is BreakerState.HALF_OPEN

    probe = house.enter()
    assert house.breaker.enter() is None
    assert house.breaker.wait_seconds is None
    house.breaker.succeeded(probe)

    assert house.state() is BreakerState.CLOSED
    house.fail(4)
    assert house.state() is BreakerState.CLOSED


def test_each_probe_that_fails_doubles_the_rest_up_to_thirty_seconds(house: House) -> None:
    house.fail(5)
    rests = []
    for _ in range(5):
        rests.append(house.breaker.wait_seconds)
        house.clock.advance(rests[-1] or 0)
        house.fail(1)

    assert rests == [5, 10, 20, 30, 30]


def test_a_probe_that_was_given_up_makes_room_for_another(house: House) -> None:
    house.fail(5)
    house.clock.advance(LIMITS.rest_seconds)

    house.breaker.dropped(house.enter())

    assert house.state() is BreakerState.HALF_OPEN
    house.enter()


@pytest.mark.parametrize("settle", [Breaker.succeeded, Breaker.failed, Breaker.dropped])
def test_late_ends_of_calls_from_before_it_opened_change_nothing(house: House, settle: object) -> None:
    assert callable(settle)
    late = house.enter()
    house.fail(5)
    house.clock.advance(LIMITS.rest_seconds)
    probe = house.enter()

    settle(house.breaker, late)

    assert house.breaker.wait_seconds is None
    house.breaker.succeeded(probe)
    assert house.state() is BreakerState.CLOSED


class Breakers(RuleBasedStateMachine):
    """Whatever comes in whatever order: what it promises holds."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.breaker = Breaker(self.clock)
        self.out: list[tuple[Permit, bool]] = []
        self.row = 0

    @rule()
    def enter(self) -> None:
        state, wait = self.breaker.state, self.breaker.wait_seconds
        permit = self.breaker.enter()
        assert (permit is not None) == (wait == 0)
        assert permit is None or state is not BreakerState.OPEN
        if permit is not None:
            self.out.append((permit, state is BreakerState.HALF_OPEN))

    @precondition(lambda self: self.out)
    @rule(data=st.data(), end=st.sampled_from(["succeeded", "failed", "dropped"]))
    def settle(self, data: st.DataObject, end: str) -> None:
        permit, probe = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
        before = self.breaker.state
        getattr(self.breaker, end)(permit)
        if end == "dropped":
            assert self.breaker.state is before
        if probe and end == "succeeded":
            assert self.breaker.state is BreakerState.CLOSED
        if probe and end == "failed":
            assert self.breaker.state is BreakerState.OPEN

    @precondition(lambda self: self.breaker.state is BreakerState.CLOSED)
    @rule()
    def fail_in_a_row(self) -> None:
        for _ in range(LIMITS.consecutive):
            if permit := self.breaker.enter():
                self.breaker.failed(permit)
        assert self.breaker.state is BreakerState.OPEN

    @rule(seconds=st.floats(0, 40))
    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @invariant()
    def one_probe_at_most(self) -> None:
        probes = sum(probe for _, probe in self.out)
        assert probes == (self.breaker.wait_seconds is None)

    @invariant()
    def a_rest_ends(self) -> None:
        rounding = 1e-9
        assert (self.breaker.wait_seconds or 0) <= LIMITS.longest_rest_seconds + rounding


TestBreakers = Breakers.TestCase
