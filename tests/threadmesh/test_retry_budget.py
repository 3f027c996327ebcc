"""How often all callers of a process together ask again what is away, and how they come back."""

import asyncio
import math

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from threadmesh.retry_budget import RetryBudget, RetryLimits, RetryTokens
from threadmesh.testing.clock import FakeClock

LIMITS = RetryLimits()


class Tokens(RuleBasedStateMachine):
    """Whatever happens, and in whatever order: so many attempts, and each of them is let go in the end."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.tokens = RetryTokens(self.clock, LIMITS)
        self.taken = 0
        self.asked = 0

    @rule(times=st.integers(1, 100))
    def ask(self, times: int) -> None:
        self.asked += times

    @rule(seconds=st.floats(0.001, 20))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def take_one(self) -> None:
        self.taken += self.tokens.take(asked=self.asked)

    @rule()
    def take_all(self) -> None:
        while self.tokens.take(asked=self.asked):
            self.taken += 1

    @rule()
    def wait_as_told(self) -> None:
        self.take_all()
        self.clock.advance(self.tokens.wait_seconds)
        assert self.tokens.take(asked=self.asked)
        self.taken += 1

    @invariant()
    def no_more_than_the_limits(self) -> None:
        earned = LIMITS.share * self.asked + LIMITS.per_second * self.clock.monotonic()
        assert self.taken <= 1 + earned + 1e-6


TestTokens = Tokens.TestCase


def taken(tokens: RetryTokens, *, asked: int = 0) -> int:
    count = 0
    while tokens.take(asked=asked):
        count += 1
    return count


def test_without_anybody_who_asks_two_may_ask_again_in_a_second() -> None:
    clock = FakeClock()
    tokens = RetryTokens(clock, LIMITS)
    assert taken(tokens) == 1
    for _ in range(60):
        clock.advance(0.5)
        assert taken(tokens) == 1


@pytest.mark.parametrize(("rate", "most"), [(1, 60), (10, 60), (20, 60), (40, 120), (200, 600)])
def test_of_many_a_tenth_may_ask_again_and_of_few_two_in_a_second(rate: int, most: int) -> None:
    """Thirty seconds of nothing but failures."""
    clock = FakeClock()
    tokens = RetryTokens(clock, LIMITS)
    count = taken(tokens)
    for asked in range(1, 30 * rate + 1):
        for _ in range(10):
            clock.advance(0.1 / rate)
            count += taken(tokens, asked=asked)

    assert math.isclose(count, most, abs_tol=2)


async def test_who_waits_first_goes_first() -> None:
    budget = await exhausted()
    gone: list[int] = []

    async def wait(number: int) -> None:
        assert await budget.leave(until=math.inf)
        gone.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(wait(number))
        await asyncio.sleep(0)
        while budget.waiting:
            budget.answered()
            await asyncio.sleep(0)

    assert gone == [0, 1, 2, 3, 4]


async def test_the_leave_of_one_who_has_left_is_anothers() -> None:
    budget = await exhausted()
    leaving, *staying = [asyncio.create_task(budget.leave(until=math.inf)) for _ in range(3)]
    await asyncio.sleep(0)
    budget.answered()
    leaving.cancel()

    async with asyncio.timeout(10):
        assert await asyncio.gather(*staying) == [True, True]
    assert leaving.cancelled()


async def test_who_leaves_the_queue_is_not_waited_for() -> None:
    budget = await exhausted()
    leaving = asyncio.create_task(budget.leave(until=math.inf))
    staying = asyncio.create_task(budget.leave(until=math.inf))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait([leaving])
    assert budget.waiting == 1
    budget.answered()

    async with asyncio.timeout(10):
        assert await staying


async def test_nothing_is_let_go_when_the_time_is_over() -> None:
    budget = await exhausted()

    assert not await budget.leave(until=budget.now())
    assert budget.waiting == 0


async def test_an_answer_lets_two_go() -> None:
    budget = await exhausted()
    waiting = [asyncio.create_task(budget.leave(until=math.inf)) for _ in range(5)]
    await asyncio.sleep(0)
    left = []
    for _ in range(4):
        budget.answered()
        left.append(budget.waiting)

    assert left == [3, 1, 0, 0]
    assert all(await asyncio.gather(*waiting))


async def exhausted() -> RetryBudget:
    """Give a budget without a token, whose clock stands still."""
    budget = RetryBudget(FakeClock())
    for _ in range(2 * LIMITS.failures):
        budget.failed()
    assert await budget.leave(until=budget.now())
    return budget
