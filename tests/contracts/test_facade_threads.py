"""What the facade may rely on where threads are kept: its port, over the real unit behind its client."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Any

import pytest

from context_svc.app import app as context_app
from context_svc.settings import ContextSettings
from facade.adapters.threads_client import ThreadsClient
from facade.domain.threads import NewThread, Threads, Wanted
from tests.turn.mesh import served
from threadmesh.conversation import Message, Role, Text, ToolCall, message
from threadmesh.errors import InvalidArgument, NotFound, ThreadNotFound
from threadmesh.rpc.channel import connect

HELLO = message(Role.USER, "hello")
CALL = ToolCall(id="c", name="f", arguments_json="{}")
ASKING = Message(role=Role.ASSISTANT, parts=(Text(text="hm"),), tool_calls=(CALL,))


@pytest.fixture(params=["sqlite", "memory"])
async def threads(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Threads]:
    store = f"sqlite:{tmp_path / 'context.db'}" if request.param == "sqlite" else "memory:"
    async with AsyncExitStack() as stack:
        port = await served(stack, context_app, ContextSettings(store=store))
        yield ThreadsClient(await stack.enter_async_context(connect(f"127.0.0.1:{port}")))


async def test_a_thread_is_made_described_and_deleted(threads: Threads) -> None:
    made, _ = await threads.create(NewThread(metadata={"a": "b"}, messages=[HELLO], request_id="r"), tenant="t")

    assert (await threads.thread(made.id, tenant="t")) == made
    assert (made.tenant, made.key, made.metadata, made.ephemeral) == ("t", "", {"a": "b"}, False)
    assert (await threads.update(made.id, {}, tenant="t")).metadata == {}
    await threads.delete(made.id, tenant="t")
    with pytest.raises(ThreadNotFound):
        await threads.thread(made.id, tenant="t")


async def test_what_is_said_is_read_in_pages_and_goes_in_parts(threads: Threads) -> None:
    thread = (await threads.create(NewThread(metadata={}), tenant=""))[0].id
    added, known = await threads.append(thread, [HELLO, ASKING, HELLO], request_id="r", tenant="")
    again, replayed = await threads.append(thread, [HELLO, ASKING, HELLO], request_id="r", tenant="")

    first, more = await threads.said(thread, after=None, limit=2, descending=False, tenant="")
    last, none = await threads.said(thread, after=1, limit=2, descending=False, tenant="")
    assert ([*first, *last], more, none) == (list(added), True, False)
    assert (list(again), known, replayed) == (list(added), False, True)
    assert await threads.entry(thread, 1, tenant="") == added[1]
    rest = Message(role=Role.ASSISTANT, tool_calls=ASKING.tool_calls)
    await threads.delete_entry(thread, 1, remaining=rest, tenant="")
    assert (await threads.entry(thread, 1, tenant="")).message == rest
    await threads.delete_entry(thread, 1, remaining=None, tenant="")
    with pytest.raises(NotFound):
        await threads.entry(thread, 1, tenant="")


async def test_threads_are_listed_for_their_tenant(threads: Threads) -> None:
    mine = [(await threads.create(NewThread(metadata={}), tenant="a"))[0] for _ in range(2)]
    await threads.create(NewThread(metadata={}), tenant="b")

    async with aclosing(threads.threads(Wanted(), tenant="a")) as found:
        assert {thread.id async for thread in found} == {thread.id for thread in mine}


async def test_wanted_threads_are_given_in_both_orders_and_behind_any(threads: Threads) -> None:
    for number in range(250):
        await threads.resolve(f"x:{number}", {"third": str(number % 3)}, tenant="a")
    behind = await threads.of_key("x:120", tenant="a")
    assert behind is not None

    async def keys(tenant: str = "a", **wanted: Any) -> list[str]:
        async with aclosing(threads.threads(Wanted(key_prefix="x:", **wanted), tenant=tenant)) as found:
            return [thread.key async for thread in found]

    every_third = [f"x:{number}" for number in range(0, 250, 3)]
    assert await keys(metadata={"third": "0"}, ascending=True) == every_third
    assert await keys(metadata={"third": "0"}) == every_third[::-1]
    assert await keys(metadata={"third": "0"}, ascending=True, after=behind.id) == every_third[41:]
    assert await keys(metadata={"third": "0"}, after=behind.id) == every_third[:40][::-1]
    assert await keys(metadata={"third": "3"}) == []
    with pytest.raises(ThreadNotFound):
        await keys(tenant="b", after=behind.id)


async def test_a_key_makes_one_thread_and_only_resolving_makes_it(threads: Threads) -> None:
    assert await threads.of_key("k", tenant="a") is None
    made = await threads.resolve("k", {"a": "b"}, tenant="a")

    assert (made.key, made.metadata, made.tenant, made.item_count) == ("k", {"a": "b"}, "a", 0)
    assert await threads.resolve("k", {"c": "d"}, tenant="a") == made
    assert await threads.of_key("k", tenant="a") == made
    assert await threads.of_key("k", tenant="b") is None


async def test_threads_are_given_in_pages_the_latest_used_first(threads: Threads) -> None:
    made = [await threads.resolve(f"x:{number}", {}, tenant="a") for number in range(3)]
    await threads.resolve("y:0", {}, tenant="a")
    await threads.append(made[0].id, [HELLO], request_id="r", tenant="a")

    first, after = await threads.page(Wanted(key_prefix="x:"), token="", limit=2, tenant="a")
    last, end = await threads.page(Wanted(key_prefix="x:"), token=after, limit=2, tenant="a")

    assert [thread.key for thread in (*first, *last)] == ["x:0", "x:2", "x:1"]
    assert (first[0].item_count, bool(after), end) == (1, True, "")
    assert await threads.page(Wanted(key_prefix="x:"), token="", limit=2, tenant="b") == ([], "")
    with pytest.raises(InvalidArgument):
        await threads.page(Wanted(key_prefix="x:"), token="nonsense", limit=2, tenant="a")
