import asyncio

from tools_svc.adapters.pace import Pace

MEBIBYTE = 1024 * 1024


async def spent(pace: Pace, *, messages: int = 0, pieces: int = 0) -> float:
    """Give the seconds that it takes to let so many messages, or pieces of 64 KiB, through."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    for _ in range(messages):
        await pace.step()
    for _ in range(pieces):
        await pace.read(MEBIBYTE // 16)
    return loop.time() - began


async def test_messages_beyond_those_at_once_wait() -> None:
    pace = Pace(at_once=3)

    assert await spent(pace, messages=13) >= 10 / 200


async def test_a_large_answer_is_read_in_time_that_others_can_use() -> None:
    pace = Pace()

    assert await spent(pace, pieces=4 + 32) >= 2 / 32


async def test_the_loop_goes_on_while_a_large_answer_is_read() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    beside = asyncio.create_task(other())
    await spent(Pace(), pieces=4 + 4)
    beside.cancel()

    assert turns > 4
