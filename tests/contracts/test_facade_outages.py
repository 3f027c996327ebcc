"""A context service that goes away and comes back: the facade's client of it goes on where it was."""

import asyncio
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import pytest

from context_svc.app import app as context_app
from context_svc.settings import ContextSettings
from facade.adapters.context_client import ContextClient
from facade.domain.retries import Retries
from tests.contracts.test_facade_ports import ENDED, batch, claimed
from tests.turn.mesh import served
from threadmesh.clock import SystemClock
from threadmesh.errors import Unavailable
from threadmesh.rpc.channel import connect


async def test_watching_goes_on_where_it_was_when_the_service_comes_back(tmp_path: Path) -> None:
    settings = ContextSettings(store=f"sqlite:{tmp_path / 'context.db'}")
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(AsyncExitStack())
        port = await served(first, context_app, settings)
        client = ContextClient(
            await stack.enter_async_context(connect(f"127.0.0.1:{port}")),
            owner="test",
            claim_seconds=10,
            retries=Retries.by(SystemClock()),
        )
        run = await claimed(client)
        async with client.writer() as writer, aclosing(client.watch(run.id)) as log:
            await writer.append(batch(run, "a"))
            assert [event.sequence for event in await anext(log)] == [0]

            await first.aclose()
            await served(stack, context_app, settings, port=port)
            await writer.finish(batch(run, "b", first=1), ENDED)

            assert [event.sequence async for events in log for event in events] == [1, 2]


async def test_who_reads_already_waits_longer_than_who_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facade.adapters.context_client._OPENING_SECONDS", 0.0)
    settings, retries = ContextSettings(store=f"sqlite:{tmp_path / 'context.db'}"), Retries.by(SystemClock())
    async with AsyncExitStack() as stack, asyncio.timeout(30):
        first = await stack.enter_async_context(AsyncExitStack())
        port = await served(first, context_app, settings)
        channel = await stack.enter_async_context(connect(f"127.0.0.1:{port}"))
        writer_of, reader = [ContextClient(channel, owner="test", claim_seconds=10, retries=retries) for _ in range(2)]
        run = await claimed(writer_of)
        async with writer_of.writer() as writer, aclosing(reader.watch(run.id)) as log:
            await writer.append(batch(run, "a"))
            assert [event.sequence for event in await anext(log)] == [0]

            await first.aclose()
            going_on = asyncio.ensure_future(anext(log))
            while not retries.reads.wary:
                await asyncio.sleep(0.01)
            with pytest.raises(Unavailable):
                await anext(reader.watch(run.id))
            await served(stack, context_app, settings, port=port)
            await writer.finish(batch(run, "b", first=1), ENDED)
            seen = [*await going_on, *[event async for events in log for event in events]]

            assert [event.sequence for event in seen] == [1, 2]


async def test_a_window_is_waited_for_while_the_service_is_away(tmp_path: Path) -> None:
    settings, retries = ContextSettings(store=f"sqlite:{tmp_path / 'context.db'}"), Retries.by(SystemClock())
    async with AsyncExitStack() as stack, asyncio.timeout(30):
        first = await stack.enter_async_context(AsyncExitStack())
        port = await served(first, context_app, settings)
        channel = await stack.enter_async_context(connect(f"127.0.0.1:{port}"))
        client = ContextClient(channel, owner="test", claim_seconds=10, retries=retries)
        run = await claimed(client)
        await first.aclose()
        reading = asyncio.create_task(client.window(run, token_budget=1000))
        while not retries.reads.wary:
            await asyncio.sleep(0.01)
        await served(stack, context_app, settings, port=port)

        assert [each.text for each in (await reading).messages] == ["hello"]
