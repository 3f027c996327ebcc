"""Only what may be repeated is repeated, and only for so long."""

from collections.abc import Awaitable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threadmesh.errors import InvalidArgument, MeshError, Overloaded, Unavailable
from threadmesh.retry import full_jitter, persist
from threadmesh.retry_budget import unshared


class Operation:
    def __init__(self, *outcomes: MeshError | int) -> None:
        self.outcomes = list(outcomes)

    async def __call__(self) -> int:
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, MeshError):
            raise outcome
        return outcome


async def test_a_passing_outage_is_waited_out() -> None:
    operation = Operation(Unavailable(), Unavailable(), 7)

    def begin() -> Awaitable[int]:
        return operation()

    assert await persist(begin, seconds=30, budget=unshared()) == 7


async def test_a_refusal_is_not_repeated() -> None:
    operation = Operation(InvalidArgument("no"), 7)

    with pytest.raises(InvalidArgument):
        await persist(operation, seconds=30, budget=unshared())

    assert operation.outcomes == [7]


async def test_what_the_caller_wants_to_hear_of_is_not_repeated() -> None:
    for outcomes in ((Overloaded(), 7), (Unavailable(), Overloaded(), 7)):
        operation = Operation(*outcomes)
        with pytest.raises(Overloaded):
            await persist(operation, seconds=30, budget=unshared(), unless=(Overloaded,))

        assert operation.outcomes == [7]


async def test_the_last_error_is_raised_when_the_time_is_over() -> None:
    operation = Operation(Unavailable("first"), 7)

    with pytest.raises(Unavailable, match="first"):
        await persist(operation, seconds=0, budget=unshared())


@given(st.integers(1, 10_000))
def test_pauses_grow_and_stay_within_two_seconds(failures: int) -> None:
    assert 0 <= full_jitter(failures) <= min(2.0, 0.1 * 2.0 ** min(failures - 1, 10))
