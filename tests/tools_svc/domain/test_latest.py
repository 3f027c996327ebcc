import asyncio
from contextlib import aclosing

from tools_svc.domain.latest import Latest


async def test_a_reader_gets_the_present_value_first_and_then_newer_ones() -> None:
    latest = Latest("a")
    async with asyncio.timeout(5), aclosing(latest.states()) as states:
        assert await anext(states) == (1, "a")
        latest.set("b")
        assert await anext(states) == (2, "b")


async def test_a_slow_reader_skips_what_was_replaced() -> None:
    latest = Latest("a")
    async with asyncio.timeout(5), aclosing(latest.states(after=1)) as states:
        latest.set("b")
        latest.set("c")
        assert await anext(states) == (3, "c")


async def test_a_waiting_reader_is_woken() -> None:
    latest = Latest("a")
    async with asyncio.timeout(5), aclosing(latest.states(after=1)) as states:
        waiting = asyncio.ensure_future(anext(states))
        await asyncio.wait({waiting}, timeout=0)
        latest.set("b")
        assert await waiting == (2, "b")


async def test_a_number_of_an_earlier_life_skips_nothing() -> None:
    """A watcher that outlived a restart must not wait for a number that will not come for long."""
    async with asyncio.timeout(5), aclosing(Latest("a").states(after=57)) as states:
        assert await anext(states) == (1, "a")
