"""A turn while the other units go away and come back."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from openai import APIStatusError

from context_svc.app import app as context_app
from context_svc.settings import ContextSettings
from facade.adapters.local_logs import LEASE_SECONDS
from inference_svc.app import app as inference_app
from inference_svc.settings import InferenceSettings
from tests.turn.mesh import SCRIPT, running, served, settings_without_tools
from tools_svc.app import app as tools_app

SLOW: Any = [{"role": "user", "content": "slow"}]
SLOWER: Any = [{"role": "user", "content": "slower"}]
HELLO: Any = [{"role": "user", "content": "hello"}]


async def test_a_restart_of_the_context_service_is_not_noticed_by_a_stream(tmp_path: Path) -> None:
    settings = ContextSettings(store=f"sqlite:{tmp_path / 'threads.db'}")
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(AsyncExitStack())
        port = await served(first, context_app, settings)
        mesh = await stack.enter_async_context(running(tmp_path, context_target=f"127.0.0.1:{port}"))
        stream = await mesh.openai.chat.completions.create(model="scripted", messages=SLOW, stream=True)
        said = [await anext(stream), await anext(stream)]

        await first.aclose()
        await served(stack, context_app, settings, port=port)
        said += [chunk async for chunk in stream]

        text = "".join(chunk.choices[0].delta.content or "" for chunk in said)
        assert text == "one two three four five six seven eight nine ten"
        assert said[-1].choices[0].finish_reason == "stop"


async def test_an_outage_that_is_longer_than_a_lease_fails_no_answer(tmp_path: Path) -> None:
    """It is made all the while: its reader is left to the store, its lease ends, and its writes are still its own."""
    settings = ContextSettings(store=f"sqlite:{tmp_path / 'threads.db'}")
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(AsyncExitStack())
        port = await served(first, context_app, settings)
        mesh = await stack.enter_async_context(running(tmp_path, context_target=f"127.0.0.1:{port}", workshop=False))
        stream = await mesh.openai.chat.completions.create(model="scripted", messages=SLOWER, stream=True)
        said = [await anext(stream), await anext(stream)]

        await first.aclose()
        await asyncio.sleep(LEASE_SECONDS + 1)  # the length of the outage, not a pause of the test
        await served(stack, context_app, settings, port=port)
        said += [chunk async for chunk in stream]

        text = "".join(chunk.choices[0].delta.content or "" for chunk in said)
        assert text == "one two three four five six seven eight nine ten"
        assert said[-1].choices[0].finish_reason == "stop"


async def test_a_model_that_comes_back_at_once_is_waited_for(tmp_path: Path) -> None:
    settings = InferenceSettings(model="none", script=str(SCRIPT))
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(AsyncExitStack())
        port = await served(first, inference_app, settings)
        mesh = await stack.enter_async_context(running(tmp_path, inference_target=f"127.0.0.1:{port}"))
        await first.aclose()
        asking = asyncio.create_task(mesh.openai.chat.completions.create(model="scripted", messages=HELLO))
        await served(stack, inference_app, settings, port=port)

        assert (await asking).choices[0].finish_reason == "stop"


async def test_a_model_that_stays_away_is_a_503_and_the_thread_goes_on_later(tmp_path: Path) -> None:
    settings = InferenceSettings(model="none", script=str(SCRIPT))
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(AsyncExitStack())
        port = await served(first, inference_app, settings)
        mesh = await stack.enter_async_context(running(tmp_path, inference_target=f"127.0.0.1:{port}"))
        await first.aclose()
        create = mesh.openai.chat.completions.create
        with pytest.raises(APIStatusError) as caught:
            await create(model="scripted", messages=HELLO, metadata={"thread_key": "k"})
        await served(stack, inference_app, settings, port=port)

        assert caught.value.status_code == 503
        again = await create(model="scripted", messages=HELLO, metadata={"thread_key": "k"})
        assert again.choices[0].finish_reason == "stop"


async def test_a_tools_service_that_comes_back_at_once_is_waited_for(tmp_path: Path) -> None:
    settings = settings_without_tools(tmp_path)
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(AsyncExitStack())
        port = await served(first, tools_app, settings)
        mesh = await stack.enter_async_context(running(tmp_path, tools_target=f"127.0.0.1:{port}", workshop=False))
        await first.aclose()
        asking = asyncio.create_task(
            mesh.openai.chat.completions.create(model="scripted", messages=HELLO, metadata={"tools": "all"})
        )
        await served(stack, tools_app, settings, port=port)

        assert (await asking).choices[0].finish_reason == "stop"
