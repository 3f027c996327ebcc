import asyncio

from threadmesh.conversation import CallFinished, CallOutcome, CallProgress, CallStarted, Text
from tools_svc.domain.call import RunEvent
from tools_svc.domain.run_log import RunLog

STARTED = CallStarted(name="s__t", server="s", arguments_json="{}")
FINISHED = CallFinished(outcome=CallOutcome.SUCCEEDED, parts=(Text(text="four"),))


async def _read(log: RunLog, after: int = 0) -> list[RunEvent]:
    async with asyncio.timeout(5):
        return [event async for event in log.tail(after, until_quiet=True)]


async def test_events_are_numbered_from_one_and_read_after_a_number() -> None:
    log = RunLog()
    log.append("c", STARTED)
    log.append("c", FINISHED)

    assert [(event.sequence, event.event) for event in await _read(log)] == [(1, STARTED), (2, FINISHED)]
    assert [event.sequence for event in await _read(log, after=1)] == [2]
    assert log.bytes == 4


async def test_of_progress_only_the_newest_is_kept() -> None:
    """Progress without end must not grow the log without end."""
    log = RunLog()
    log.append("c", STARTED)
    for step in range(1000):
        log.append("c", CallProgress(progress=step))
    log.append("d", CallProgress(progress=1))

    kept = await _read(log)

    assert [(event.call_id, event.sequence) for event in kept] == [("c", 1), ("c", 1001), ("d", 1002)]


async def test_a_quiet_log_is_read_to_its_end_only_after_the_last_call() -> None:
    log = RunLog()
    log.begin()
    reading = asyncio.create_task(_read(log))
    await asyncio.wait({reading}, timeout=0)
    assert not reading.done()

    log.append("c", FINISHED)
    log.end()

    assert [event.event for event in await reading] == [FINISHED]
