import asyncio

from mcp_types import JSONRPCMessage, JSONRPCNotification, JSONRPCResponse

from tools_svc.adapters.pace import Pace, Restraint

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


async def test_a_line_counts_as_512_bytes_however_short_it_is() -> None:
    loop, pace = asyncio.get_running_loop(), Pace()
    began = loop.time()
    for _ in range(5):
        await pace.read_lines(b"\n" * 2_000)

    assert loop.time() - began >= (10_000 * 512 / MEBIBYTE - 1 / 4) / 32


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


async def taken(restraint: Restraint, message: JSONRPCMessage, *, times: int) -> float:
    """Give the seconds that it takes to pass a message on so many times."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    for _ in range(times):
        await restraint.pass_on(message)
    return loop.time() - began


async def test_little_progress_is_passed_on_and_any_answer_at_once() -> None:
    restraint = Restraint()
    progress = JSONRPCNotification(jsonrpc="2.0", method="notifications/progress", params={"progressToken": 1})
    answer = JSONRPCResponse(jsonrpc="2.0", id=1, result={})

    assert await taken(restraint, progress, times=10 + 5) >= 5 / 50
    assert await taken(restraint, answer, times=1_000) < 1 / 50


async def test_many_small_pieces_are_read_seldom() -> None:
    """So that more of them are there the next time, and fewer of them count."""
    loop, restraint = asyncio.get_running_loop(), Restraint()
    began = loop.time()
    for _ in range(20 + 20):
        await restraint.read(100, lost=False)

    assert loop.time() - began >= 20 / 200


async def test_what_is_lost_anyway_is_read_slowly() -> None:
    loop, restraint = asyncio.get_running_loop(), Restraint()
    began = loop.time()
    await restraint.read(2 * MEBIBYTE, lost=True)

    assert loop.time() - began >= 2 / 16
