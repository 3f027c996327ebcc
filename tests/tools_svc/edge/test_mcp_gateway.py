"""The catalogue as an MCP server, to the SDK's own client."""

import asyncio
import base64
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import cast

import anyio
import httpx2
import pytest
import pytest_asyncio
from mcp.client import Client
from mcp.client.subscriptions import ResourceUpdated
from mcp.shared.exceptions import MCPError
from mcp_types import BlobResourceContents, RequestParamsMeta, TextContent, TextResourceContents

from tests.tools_svc.gateways import ACCEPT, INITIALIZE, KINDS, SHOP, Served, Told, connected, served

TRACE = f"00-{'a' * 32}-{'b' * 16}-01"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with served(tmp_path_factory.mktemp("gateway"), shop=SHOP, other=SHOP) as running:
        yield running


@pytest_asyncio.fixture(params=KINDS, loop_scope="module")
async def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_the_tools_of_all_servers_are_offered_with_schemas_and_effects(service: Served, kind: str) -> None:
    async with connected(kind, service) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}

    assert {"shop__echo", "other__echo"} <= tools.keys()
    assert tools["shop__fail"].input_schema["required"] == ["why"]
    assert tools["shop__pid"].output_schema is not None
    assert tools["shop__pid"].annotations.read_only_hint is True  # type: ignore[union-attr]
    assert tools["shop__echo"].annotations.idempotent_hint is True  # type: ignore[union-attr]
    assert tools["shop__die"].annotations.destructive_hint is True  # type: ignore[union-attr]
    assert tools["shop__pid"].annotations.open_world_hint is True  # type: ignore[union-attr]
    assert tools["shop__echo"].annotations.open_world_hint is None  # type: ignore[union-attr]
    assert not tools.keys() & {"shop__show", "shop__environment"}  # nobody could approve their calls


async def test_a_call_gives_text_and_structure_with_every_digit(service: Served, kind: str) -> None:
    value = {"id": 1234567890123456789, "huge": 10**30, "nothing": None, "text": "ü😀"}
    async with connected(kind, service) as client:
        result = await client.call_tool("shop__echo", {"value": value})

    assert not result.is_error
    assert result.structured_content == {"value": value, "count": 1, "note": None}
    assert result.content == [TextContent(text="echo")]


@pytest.mark.parametrize(("sent", "told"), [(TRACE, {"traceparent": TRACE}), ("00-zz", {})])
async def test_the_trace_of_a_call_goes_on_to_its_server(
    service: Served, kind: str, sent: str, told: dict[str, str]
) -> None:
    async with connected(kind, service) as client:
        result = await client.call_tool("shop__meta", meta=cast(RequestParamsMeta, {"traceparent": sent}))

    given = result.structured_content or {}
    assert {key: value for key, value in given.items() if key == "traceparent"} == told
    assert given["threadmesh/requestId"].startswith("mcp-")


async def test_a_call_that_fails_is_a_result_that_says_why(service: Served, kind: str) -> None:
    async with connected(kind, service) as client:
        failed = await client.call_tool("shop__fail", {"why": "the moon is full"})
        wrong = await client.call_tool("shop__fail", {"why": 5})
        missing = await client.call_tool("shop__nothing")
        unapproved = [await client.call_tool(f"shop__{name}") for name in ("show", "environment")]

    assert "the moon is full" in _text(failed)
    assert "do not fit the tool's schema" in _text(wrong)
    assert [each.is_error for each in (failed, wrong, missing, *unapproved)] == [True] * 5
    assert (missing.meta or {})["threadmesh/reason"] == "TOOL_NOT_FOUND"
    assert [(each.meta or {})["threadmesh/reason"] for each in unapproved] == ["TOOL_NEEDS_APPROVAL"] * 2


@pytest.mark.parametrize("way", ["http", "stdio"])
async def test_a_call_whose_server_dies_is_said_to_be_unknown(way: str, tmp_path: Path) -> None:
    async with served(tmp_path, doomed=SHOP) as running, connected(way, running) as client:
        result = await client.call_tool("doomed__die", {"ledger": str(tmp_path / "ledger")})

    assert result.is_error
    assert _text(result).startswith("Nobody knows whether this call took effect")
    assert (result.meta or {})["threadmesh/outcome"] == "unknown"


async def test_progress_comes_while_the_tool_still_works(service: Served, kind: str) -> None:
    async with connected(kind, service) as client:

        async def open_gate(progress: float, total: float | None, message: str | None) -> None:
            assert (progress, total, message) == (1, 2, "waiting")
            await client.call_tool("shop__open_gate", {"name": f"progress {kind}"})
            opened.set()

        opened = asyncio.Event()
        async with asyncio.timeout(30):
            result = await client.call_tool("shop__gate", {"name": f"progress {kind}"}, progress_callback=open_gate)
            await opened.wait()  # else the client would leave in the middle of that answer

    assert _text(result) == "passed"


async def test_calls_of_two_clients_run_side_by_side(service: Served, kind: str) -> None:
    """Each of them waits for the other, so one after the other they would never end."""
    meeting = {"place": kind, "parties": 2}
    async with connected(kind, service) as one, connected("http", service) as other, asyncio.timeout(30):
        results = await asyncio.gather(*(each.call_tool("shop__meet", meeting) for each in (one, other)))

    assert [_text(each) for each in results] == ["met", "met"]


async def test_a_call_that_its_client_cancels_is_cancelled_at_its_server(service: Served, kind: str) -> None:
    name = f"cancel {kind}"
    async with connected(kind, service) as client, connected(kind, service) as other, asyncio.timeout(30):
        await _at_the_gate(client, name)
        assert _text(await other.call_tool("shop__was_cancelled", {"name": name})) == "cancelled"
        assert not (await client.call_tool("shop__pid")).is_error


async def test_a_client_that_vanishes_stops_its_own_calls_only(service: Served, kind: str) -> None:
    name = f"vanish {kind}"
    async with connected(kind, service) as staying, asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        kept = asyncio.Event()
        waiting = tasks.create_task(_wait_at(staying, f"kept {name}", kept))
        await kept.wait()
        there = asyncio.Event()
        leaving = tasks.create_task(_leave_at(kind, service, name, there))
        await there.wait()
        leaving.cancel()

        assert _text(await staying.call_tool("shop__was_cancelled", {"name": name})) == "cancelled"
        await staying.call_tool("shop__open_gate", {"name": f"kept {name}"})
        assert await waiting == "passed"


async def test_a_connection_that_is_cut_without_a_word_stops_its_call(service: Served) -> None:
    params = {"name": "shop__gate", "arguments": {"name": "cut"}, "_meta": {"progressToken": "p"}}
    call = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params}
    async with connected("http", service) as other, asyncio.timeout(30):
        async with httpx2.AsyncClient(trust_env=False) as http:
            hello = await http.post(service.url, json=INITIALIZE, headers=ACCEPT)
            session = {"mcp-session-id": hello.headers["mcp-session-id"]}
            async with http.stream("POST", service.url, json=call, headers=ACCEPT | session) as events:
                async for line in events.aiter_lines():
                    if "notifications/progress" in line:
                        break

        assert _text(await other.call_tool("shop__was_cancelled", {"name": "cut"})) == "cancelled"


@pytest.mark.parametrize("way", ["http", "stdio"])
async def test_a_client_hears_unasked_of_a_changed_catalogue(service: Served, way: str) -> None:
    told = Told()
    async with connected(way, service, told=told) as client, asyncio.timeout(30):
        for number in count():  # nothing tells a client when its second stream is there
            await client.call_tool("shop__grow", {"name": f"grown_{way}_{number}"})
            if await told.soon():
                break
        names = {tool.name for tool in (await client.list_tools()).tools}

    assert f"shop__grown_{way}_{number}" in names


@pytest.mark.parametrize("way", ["http-modern", "stdio-modern"])
async def test_a_client_of_the_newer_kind_hears_of_what_it_has_subscribed_to(service: Served, way: str) -> None:
    async with (
        connected(way, service) as client,
        asyncio.timeout(30),
        client.listen(tools_list_changed=True) as news,
    ):
        assert not (await client.call_tool("other__grow", {"name": way})).is_error
        async for _ in news:  # a change that another test has made may come first
            tools = (await client.list_tools(cache_mode="refresh")).tools
            if f"other__{way}" in {tool.name for tool in tools}:
                break


async def test_resources_of_two_servers_with_one_uri_are_told_apart(service: Served, kind: str) -> None:
    async with connected(kind, service) as client, asyncio.timeout(30):
        await _until_listed(client)
        templates = (await client.list_resource_templates()).resource_templates
        (rules,) = (await client.read_resource("threadmesh:other:note://rules")).contents
        (picture,) = (await client.read_resource("threadmesh:shop:note://picture")).contents
        (shelf,) = (await client.read_resource(templates[0].uri_template.replace("{number}", "7"))).contents

    assert [each.uri_template for each in templates] == [
        "threadmesh:other:note://shelf/{number}",
        "threadmesh:shop:note://shelf/{number}",
    ]
    assert isinstance(rules, TextResourceContents)
    assert (rules.uri, rules.text) == ("threadmesh:other:note://rules", "Wear goggles. ü😀")
    assert isinstance(picture, BlobResourceContents)
    assert base64.b64decode(picture.blob) == bytes(range(256))
    assert isinstance(shelf, TextResourceContents)
    assert shelf.text == "shelf 7"


@pytest.mark.parametrize(
    "uri", ["note://rules", "threadmesh:shop:note://nowhere", "threadmesh:nobody:note://rules", "threadmesh:shop:"]
)
async def test_what_cannot_be_read_is_an_error(service: Served, uri: str) -> None:
    async with connected("http", service) as client:
        with pytest.raises(MCPError) as raised:
            await client.read_resource(uri)
        with pytest.raises(MCPError, match="too large"):
            await client.read_resource("threadmesh:shop:note://big")

    assert raised.value.code == -32002


async def test_prompts_are_offered_and_filled_in(service: Served, kind: str) -> None:
    async with connected(kind, service) as client, asyncio.timeout(30):
        await _until_listed(client)
        prompts = {prompt.name: prompt for prompt in (await client.list_prompts()).prompts}
        filled = await client.get_prompt("shop__explain", {"tool": "a lathe"})
        with pytest.raises(MCPError):
            await client.get_prompt("shop__nothing")

    assert [each.required for each in prompts["other__explain"].arguments or ()] == [True, False]
    assert filled.messages[0].role == "user"
    assert filled.messages[0].content == TextContent(text="Explain a lathe in a plain tone.")


async def test_clients_hear_of_changed_resources_and_prompts(service: Served) -> None:
    async with (
        connected("http-modern", service) as client,
        asyncio.timeout(30),
        client.listen(resources_list_changed=True) as news,
    ):
        await _until_listed(client)
        await client.call_tool("other__stock", {"name": "news"})
        async for _ in news:  # a change of the service's start may come first
            listed = await client.list_resources(cache_mode="refresh")
            if "threadmesh:other:note://news" in {each.uri for each in listed.resources}:
                break


async def test_calls_under_way_may_end_when_the_service_stops(tmp_path: Path) -> None:
    patient = SHOP | {"tools": {"gate": {"timeout_seconds": 1}}}
    begun, leave = asyncio.Future[Served](), asyncio.Event()

    async def serve() -> None:
        async with served(tmp_path, shop=patient) as running:
            begun.set_result(running)
            await leave.wait()

    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        tasks.create_task(serve())
        async with connected("http", await begun) as client:
            there = asyncio.Event()
            waiting = tasks.create_task(_wait_at(client, "closing", there))
            await there.wait()
            leave.set()

            assert (await waiting).endswith("The tool did not answer within 1 s.")


RULES = "threadmesh:shop:note://rules"
OLD_WAY = pytest.mark.filterwarnings("ignore:resources/:mcp.shared.exceptions.MCPDeprecationWarning")


@OLD_WAY
@pytest.mark.parametrize("old", ["http", "stdio"])
async def test_a_client_of_an_older_revision_hears_of_the_resources_that_it_follows(service: Served, old: str) -> None:
    told, other = Told(), Told()
    async with (
        asyncio.timeout(60),
        connected(old, service, told=told) as client,
        connected("http", service, told=other) as stranger,
    ):
        await client.subscribe_resource(RULES)
        await client.subscribe_resource(RULES)
        await stranger.subscribe_resource("threadmesh:other:note://rules")
        await client.call_tool("shop__amend", {"uri": "note://picture"})
        await client.call_tool("shop__amend", {"uri": "note://rules"})
        assert await told.updated.get() == RULES
        await client.unsubscribe_resource(RULES)
        await client.call_tool("shop__amend", {"uri": "note://rules"})
        await client.call_tool("other__amend", {"uri": "note://rules"})
        assert await other.updated.get() == "threadmesh:other:note://rules"

    assert told.updated.empty()


async def test_a_client_of_the_newest_revision_hears_of_the_resources_that_it_follows(service: Served) -> None:
    async with (
        asyncio.timeout(60),
        connected("http-modern", service) as client,
        client.listen(resource_subscriptions=[RULES, "threadmesh:nobody:note://x"]) as subscription,
    ):
        await client.call_tool("shop__amend", {"uri": "note://rules"})
        event = await anext(aiter(subscription))

    assert event == ResourceUpdated(uri=RULES)


@OLD_WAY
@pytest.mark.parametrize("uri", ["threadmesh:nobody:note://rules", "note://rules"])
async def test_what_cannot_be_followed_is_an_error(service: Served, uri: str) -> None:
    async with connected("http", service) as client:
        with pytest.raises(MCPError):
            await client.subscribe_resource(uri)


async def _at_the_gate(client: Client, name: str) -> None:
    """Call the gate, and cancel the call when it is known to be there."""
    with anyio.CancelScope() as scope:

        async def leave(progress: float, total: float | None, message: str | None) -> None:
            scope.cancel()

        await client.call_tool("shop__gate", {"name": name}, progress_callback=leave)


async def _wait_at(client: Client, name: str, there: asyncio.Event) -> str:
    async def arrived(progress: float, total: float | None, message: str | None) -> None:
        there.set()

    return _text(await client.call_tool("shop__gate", {"name": name}, progress_callback=arrived))


async def _leave_at(kind: str, service: Served, name: str, there: asyncio.Event) -> None:
    async with connected(kind, service) as client:
        await _wait_at(client, name, there)


def _text(result: object) -> str:
    content = getattr(result, "content", [])
    return "".join(each.text for each in content if isinstance(each, TextContent))


async def _until_listed(client: Client) -> None:
    """Wait until both servers' resources are known, which are asked for after the tools."""
    wanted = {"threadmesh:shop:note://rules", "threadmesh:other:note://rules"}
    while not wanted <= {each.uri for each in (await client.list_resources(cache_mode="refresh")).resources}:
        await asyncio.sleep(0.02)
