"""Many go in together, one that must be alone has all others wait."""

import asyncio
from contextlib import suppress

from inference_svc.adapters.turnstile import Turnstile


async def test_one_that_must_be_alone_waits_for_all_and_all_wait_for_it() -> None:
    turnstile, seen = Turnstile(), list[str]()
    leave = {name: asyncio.Event() for name in ("first", "alone", "last")}

    async def visit(name: str) -> None:
        async with turnstile.inside(alone=name == "alone"):
            seen.append(f"{name} in")
            await leave[name].wait()
            seen.append(f"{name} out")

    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        for name in ("first", "alone", "last"):
            tasks.create_task(visit(name))
            await asyncio.sleep(0)
        leave["last"].set()
        await asyncio.sleep(0)
        leave["first"].set()
        for _ in range(3):
            await asyncio.sleep(0)
        leave["alone"].set()

    assert seen == ["first in", "first out", "alone in", "alone out", "last in", "last out"]


async def test_one_that_gives_up_waiting_holds_nobody_up() -> None:
    turnstile = Turnstile()
    async with asyncio.timeout(5), turnstile.inside():
        waiting = asyncio.ensure_future(turnstile.inside(alone=True).__aenter__())
        await asyncio.sleep(0)
        behind = asyncio.ensure_future(turnstile.inside().__aenter__())
        await asyncio.sleep(0)
        assert not behind.done()
        waiting.cancel()
        await behind
    with suppress(asyncio.CancelledError):
        await waiting
