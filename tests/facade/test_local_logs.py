"""A process shows its readers what it wrote itself, for as long as it can be sure of it."""

import asyncio
from collections.abc import Sequence

from facade.adapters import local_logs
from facade.adapters.local_logs import LocalLog, LocalLogs
from facade.domain.events import RunEvent, RunFinished, RunState
from threadmesh.conversation import TextDelta


def said(*numbers: int) -> list[RunEvent]:
    return [RunEvent(sequence=number, body=TextDelta(text=str(number))) for number in numbers]


async def seen(log: LocalLog, *, after: int = -1) -> list[int]:
    """Read until the tail ends."""
    pieces: list[Sequence[RunEvent]] = [piece async for piece in log.tail(after=after, heartbeat=0.01)]
    return [event.sequence for piece in pieces for event in piece]


async def test_a_tail_ends_with_the_run() -> None:
    log = LocalLog()
    log.begin(0)
    reading = asyncio.create_task(seen(log))
    log.extend(said(0, 1))
    await asyncio.sleep(0)
    log.extend([RunEvent(sequence=2, body=RunFinished(state=RunState.SUCCEEDED))])

    assert await reading == [0, 1, 2]


async def test_what_was_written_before_the_claim_is_in_the_store_only() -> None:
    log = LocalLog()
    log.begin(5)
    log.extend(said(5, 6))
    log.end()

    assert await seen(log, after=3) == []
    assert await seen(log, after=4) == [5, 6]
    assert await seen(log, after=5) == [6]
    assert await seen(log, after=7) == []


async def test_a_reader_that_is_far_behind_holds_little_and_goes_to_the_store() -> None:
    log = LocalLog()
    log.begin(0)
    for number in range(10_000):
        log.extend(said(number))
    piece = await anext(log.tail(after=9_000, heartbeat=9))
    assert [event.sequence for event in piece] == list(range(9_001, 9_257))

    log.end()

    assert await seen(log, after=9_000) == []
    assert await seen(log, after=9_800) == list(range(9_801, 10_000))


async def test_a_log_is_trusted_no_longer_than_the_lease_of_its_writer() -> None:
    logs = LocalLogs()
    log = logs.expect("run")
    log.begin(0)
    ended = asyncio.create_task(seen(log))
    loop = asyncio.get_running_loop()
    log._proven = loop.time() - local_logs.LEASE_SECONDS

    assert await ended == []
    assert logs.expect("other") is logs.find("other")
    assert logs.find("run") is None


async def test_a_log_whose_claim_waits_its_turn_is_still_expected_here() -> None:
    log = LocalLog()
    log.claiming = True
    log._proven = 0.0
    async with asyncio.timeout(10):
        tail = log.tail(after=-1, heartbeat=0.01)
        assert [await anext(tail) for _ in range(3)] == [(), (), ()]
    log.claiming = False

    assert [piece async for piece in tail] == []
