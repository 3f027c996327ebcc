"""Many callers of a service that is away: how often it is asked, who waits it out, and how all come back."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from tests.threadmesh.virtual_time import LoopClock, in_virtual_time
from threadmesh.errors import Unavailable
from threadmesh.retry import persist
from threadmesh.retry_budget import RetryBudget

_ANSWER_SECONDS = 0.005


class Service:
    """Answers in five milliseconds, but not while `away` says so; counts what reaches it."""

    def __init__(self, away: Callable[[float], bool] = lambda _: True) -> None:
        self._away = away
        self.attempts = 0
        self.at_once = 0
        self.most_at_once = 0

    async def __call__(self) -> float:
        self.attempts += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(_ANSWER_SECONDS)
        finally:
            self.at_once -= 1
        now = asyncio.get_running_loop().time()
        if self._away(now):
            raise Unavailable
        return now


async def failures(callers: list[Awaitable[float]]) -> int:
    """Wait for all; gives how many failed."""
    outcomes = await asyncio.gather(*callers, return_exceptions=True)
    assert all(isinstance(each, float | Unavailable) for each in outcomes), outcomes
    return sum(isinstance(each, Unavailable) for each in outcomes)


async def later(seconds: float, operation: Callable[[], Awaitable[float]]) -> float:
    await asyncio.sleep(seconds)
    return await operation()


@pytest.mark.parametrize("patience", [2, 15])
@pytest.mark.parametrize("rate", [20, 100])
def test_what_is_away_is_asked_at_most_a_fifth_more_than_there_are_requests(rate: int, patience: float) -> None:
    async def main() -> Service:
        service, budget = Service(), RetryBudget(LoopClock())

        async def ask() -> float:
            return await persist(service, seconds=patience, budget=budget)

        requests = 30 * rate
        assert await failures([later(number / rate, ask) for number in range(requests)]) == requests
        return service

    assert in_virtual_time(main()).attempts <= 1.2 * 30 * rate


def test_few_callers_ask_twice_in_a_second_all_together() -> None:
    async def main() -> Service:
        service, budget = Service(), RetryBudget(LoopClock())
        await failures([persist(service, seconds=30, budget=budget) for _ in range(5)])
        return service

    assert 5 + 20 + 50 <= in_virtual_time(main()).attempts <= 5 + 20 + 2 * 31


@pytest.mark.parametrize("away_seconds", [0.3, 2.0, 10.0, 14.9])
def test_an_outage_that_is_shorter_than_their_patience_is_waited_out_by_all(away_seconds: float) -> None:
    async def main() -> None:
        service, budget = Service(lambda now: now < away_seconds), RetryBudget(LoopClock())
        assert await failures([persist(service, seconds=15, budget=budget) for _ in range(100)]) == 0
        assert asyncio.get_running_loop().time() < away_seconds + 1.5

    in_virtual_time(main())


def test_those_who_waited_come_back_soon_and_not_all_at_once() -> None:
    async def main() -> None:
        service, budget = Service(lambda now: now < 10), RetryBudget(LoopClock())
        waiting = asyncio.gather(*(persist(service, seconds=15, budget=budget) for _ in range(100)))
        await asyncio.sleep(10)
        assert budget.waiting > 90
        service.attempts = service.most_at_once = 0
        ended = await waiting

        assert max(ended) < 10 + 1.1
        assert service.attempts <= 100 + 3
        assert service.most_at_once <= 64

    in_virtual_time(main())


def test_a_request_that_is_answered_lets_the_others_know() -> None:
    async def main() -> None:
        service, budget = Service(lambda now: now < 10), RetryBudget(LoopClock())
        waiting = asyncio.gather(*(persist(service, seconds=15, budget=budget) for _ in range(100)))
        await asyncio.sleep(10)
        await persist(service, seconds=0, budget=budget)
        await waiting

        assert asyncio.get_running_loop().time() < 10 + 20 * _ANSWER_SECONDS

    in_virtual_time(main())


def test_a_service_that_answers_every_other_time_fails_nobody() -> None:
    """Runs that write one thing after the other, as fast as they may, for four seconds each at most."""
    chance = random.Random(7)  # a test repeats itself

    async def main() -> Service:
        service, budget = Service(lambda _: chance.random() < 0.5), RetryBudget(LoopClock())

        async def run() -> float:
            for _ in range(50):
                ended = await persist(service, seconds=4, budget=budget)
            return ended

        assert await failures([run() for _ in range(100)]) <= 10
        return service

    assert in_virtual_time(main()).attempts <= 2.1 * 50 * 100
