"""What every runner of tasks promises."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from celery.contrib.testing.worker import start_worker

from tests.context_svc.given import valkey_server
from tools_svc.adapters.celery_runner import CeleryRunner, celery_for, receive
from tools_svc.adapters.inline_runner import InlineRunner
from tools_svc.domain.ports import TaskRunner
from tools_svc.domain.task import TaskKey, Ticket

Carry = Callable[[Ticket], Awaitable[None]]
ODD = Ticket(key=TaskKey(run_id='é"\\', call_id="c/1"), epoch=2**53)


@asynccontextmanager
async def inline(carry: Carry, _: Path) -> AsyncIterator[TaskRunner]:
    runner = InlineRunner(carry, lambda _: None, parallel=4, on_defect=lambda error: pytest.fail(repr(error)))
    running = asyncio.create_task(runner.run())
    try:
        yield runner
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@asynccontextmanager
async def _celery(carry: Carry, broker: str) -> AsyncIterator[TaskRunner]:
    loop, celery = asyncio.get_running_loop(), celery_for(broker)

    async def carried(ticket: Ticket) -> bool:
        await carry(ticket)
        return True

    receive(celery, lambda ticket: asyncio.run_coroutine_threadsafe(carried(ticket), loop).result(30))
    worker = start_worker(celery, pool="threads", concurrency=4, perform_ping_check=False, shutdown_timeout=30)
    await asyncio.to_thread(worker.__enter__)
    try:
        yield CeleryRunner(celery)
    finally:
        await asyncio.to_thread(worker.__exit__, None, None, None)


def filesystem(carry: Carry, directory: Path) -> AbstractAsyncContextManager[TaskRunner]:
    return _celery(carry, f"filesystem://{directory / 'broker'}")


def redis(carry: Carry, _: Path) -> AbstractAsyncContextManager[TaskRunner]:
    return _celery(carry, f"redis+socket://{valkey_server().socket}?virtual_host=1")


RUNNERS = [inline, filesystem, redis]


@pytest.mark.parametrize("opened", RUNNERS)
async def test_what_is_announced_is_carried_as_it_was_said_and_side_by_side(
    opened: Callable[[Carry, Path], AbstractAsyncContextManager[TaskRunner]], tmp_path: Path
) -> None:
    """Each of them ends only when all were begun."""
    tickets = [ODD, *(Ticket(key=TaskKey(run_id="r", call_id=f"{n}"), epoch=0) for n in range(3))]
    begun: set[Ticket] = set()
    all_begun = asyncio.Event()

    async def carry(ticket: Ticket) -> None:
        begun.add(ticket)
        if begun == set(tickets):
            all_begun.set()
        await all_begun.wait()

    async with asyncio.timeout(60), opened(carry, tmp_path) as runner:
        for ticket in tickets:
            await runner.announce(ticket)
        await all_begun.wait()

    assert runner.announce_seconds > 0


@pytest.mark.parametrize("opened", RUNNERS)
async def test_announcing_again_and_stopping_what_is_not_there_are_harmless(
    opened: Callable[[Carry, Path], AbstractAsyncContextManager[TaskRunner]], tmp_path: Path
) -> None:
    carried = asyncio.Event()

    async def carry(_: Ticket) -> None:
        carried.set()

    async with asyncio.timeout(60), opened(carry, tmp_path) as runner:
        runner.stop(ODD.key)
        await runner.announce(ODD)
        await runner.announce(ODD)
        await carried.wait()
