"""What every source of tools promises, whatever stands behind it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from tests.servers.given import (
    WORKSHOP,
    http_workshop,
    invocation,
    mcp_source,
    output,
    running,
    stdio_source,
    until,
    until_listed,
    until_offered,
    updates,
)
from tests.servers.memory_workshop import memory_workshop
from threadmesh.breaker import BreakerState
from threadmesh.clock import SystemClock
from threadmesh.conversation import CallProgress, Role, Text
from threadmesh.errors import (
    Internal,
    PromptNotFound,
    ResourceNotFound,
    ToolConnectionLost,
    ToolDefinitionChanged,
    ToolFailed,
    ToolServerUnavailable,
)
from tools_svc.adapters.server_config import HttpServer, SseServer, StdioServer
from tools_svc.domain.call import Sent, ToolOutput
from tools_svc.domain.govern import govern
from tools_svc.domain.policy import ServerPolicy, ToolPolicy
from tools_svc.domain.ports import ToolSource
from tools_svc.domain.token_bucket import Rate
from tools_svc.domain.tool import Effect, ServerState

pytestmark = pytest.mark.asyncio(loop_scope="module")
KINDS = ("memory", "stdio", "http", "sse", "governed")
POLICY = ServerPolicy(
    timeout_seconds=30,
    effects={"echo": Effect.READ_ONLY},
    rate=Rate(per_second=1000, burst=10),
    tools={"echo": ToolPolicy(cache_seconds=60), "meet": ToolPolicy(max_parallel=4)},
)


class Deaf:
    def waiting(self, server: str, calls: int) -> None: ...

    def cached(self, server: str, tool: str) -> None: ...

    def breaker(self, server: str, state: BreakerState, seconds: float) -> None: ...


def _governed(source: ToolSource) -> ToolSource:
    return govern(source, POLICY, clock=SystemClock(), listener=Deaf())


@asynccontextmanager
async def _source(kind: str) -> AsyncIterator[ToolSource]:
    if kind == "memory":
        yield memory_workshop()
        return
    if kind == "governed":
        yield _governed(memory_workshop())
        return
    async with AsyncExitStack() as stack:
        if kind == "stdio":
            yield await stack.enter_async_context(running(stdio_source(WORKSHOP, "stdio")))
        else:
            url, _ = await stack.enter_async_context(http_workshop(kind=kind))
            server = SseServer(url=url) if kind == "sse" else HttpServer(url=url)
            yield await stack.enter_async_context(running(mcp_source(server)))


@pytest_asyncio.fixture(params=KINDS, scope="module", loop_scope="module")
async def source(request: pytest.FixtureRequest) -> AsyncIterator[ToolSource]:
    """A source for all tests that leave it whole."""
    async with _source(request.param) as shared:
        yield shared


@pytest_asyncio.fixture(params=KINDS, loop_scope="module")
async def mortal(request: pytest.FixtureRequest) -> AsyncIterator[ToolSource]:
    async with _source(request.param) as own:
        yield own


@pytest_asyncio.fixture(params=KINDS, loop_scope="module")
async def unreachable(request: pytest.FixtureRequest) -> AsyncIterator[ToolSource]:
    if request.param in ("memory", "governed"):
        memory = memory_workshop()
        memory.fail(Internal())
        yield memory if request.param == "memory" else _governed(memory)
        return
    nowhere: dict[str, StdioServer | HttpServer | SseServer] = {
        "stdio": StdioServer(command="no-such-command"),
        "http": HttpServer(url="http://127.0.0.1:9/"),
        "sse": SseServer(url="http://127.0.0.1:9/"),
    }
    async with running(mcp_source(nowhere[request.param]), state=ServerState.UNAVAILABLE) as absent:
        yield absent


async def test_a_ready_source_offers_its_tools_with_schemas_and_hashes(source: ToolSource) -> None:
    offers = {offer.name: offer for offer in source.status.tools}

    assert source.status.state is ServerState.READY
    assert {"echo", "fail", "gate", "meet"} <= offers.keys()
    assert json.loads(offers["echo"].parameters_json)["type"] == "object"
    assert len({offer.definition_hash for offer in offers.values()}) == len(offers)


async def test_a_call_gives_sent_first_and_its_answer_last(source: ToolSource) -> None:
    given = await updates(source, invocation("echo", value="x"))

    assert given[0] == Sent()
    assert [type(each) for each in given].count(ToolOutput) == 1
    assert isinstance(given[-1], ToolOutput)


async def test_a_call_that_was_meant_for_another_definition_is_not_sent(source: ToolSource) -> None:
    [hash_of_now] = [offer.definition_hash for offer in source.status.tools if offer.name == "echo"]
    given: list[object] = []

    with pytest.raises(ToolDefinitionChanged):
        async for update in source.call(replace(invocation("echo", value=1), definition_hash="0" * 64)):
            given.append(update)
    answer = await output(source, replace(invocation("echo", value=2), definition_hash=hash_of_now))

    assert Sent() not in given
    assert json.loads(answer.structured_json)["value"] == 2


async def test_arguments_arrive_as_they_were(source: ToolSource) -> None:
    """Discord's ids have 19 digits: a float would lose the last of them."""
    value = {"id": 1234567890123456789, "huge": 10**30, "nothing": None, "list": [None, 1.5, "ü\n😀"], "yes": True}

    answer = await output(source, invocation("echo", value=value, note=None))

    assert json.loads(answer.structured_json) == {"value": value, "count": 1, "note": None}


async def test_a_tools_own_error_is_an_answer(source: ToolSource) -> None:
    answer = await output(source, invocation("fail", why="the moon is full"))

    assert answer.is_error
    assert "the moon is full" in "".join(part.text for part in answer.parts if isinstance(part, Text))


async def test_progress_comes_while_the_tool_still_works(source: ToolSource) -> None:
    """The gate is opened only after its progress was seen, so an answer proves the order."""
    async with asyncio.timeout(30), aclosing(source.call(invocation("gate", name="g"))) as calling:
        assert await anext(calling) == Sent()
        assert await anext(calling) == CallProgress(progress=1, total=2, message="waiting")
        await output(source, invocation("open_gate", name="g"))
        answer = await anext(calling)

    assert isinstance(answer, ToolOutput)


async def test_the_last_progress_before_the_answer_is_never_lost(source: ToolSource) -> None:
    given = await updates(source, invocation("work", steps=50))

    progress = [each for each in given if isinstance(each, CallProgress)]
    assert progress[-1] == CallProgress(progress=50, total=50, message="step 50")
    assert [each.progress for each in progress] == sorted(each.progress for each in progress)


async def test_calls_run_side_by_side(source: ToolSource) -> None:
    """Each of them waits for the others, so one after the other they would never end."""
    calls = [invocation("meet", call_id=str(n), place="here", parties=4) for n in range(4)]

    answers = await asyncio.gather(*(output(source, each) for each in calls))

    assert len(answers) == 4


async def test_closing_a_call_stops_it_on_the_server(source: ToolSource) -> None:
    async with asyncio.timeout(30), aclosing(source.call(invocation("gate", name="shut"))) as calling:
        await anext(calling)
        await anext(calling)

    answer = await output(source, invocation("was_cancelled", name="shut"))

    assert not answer.is_error


async def test_a_connection_that_breaks_during_a_call_is_told_as_such(mortal: ToolSource, tmp_path: Path) -> None:
    with pytest.raises(ToolConnectionLost):
        await updates(mortal, invocation("die", ledger=str(tmp_path / "ledger")))


async def test_cancelling_one_caller_disturbs_no_other(source: ToolSource) -> None:
    """The SDK ends things by cancelling tasks; a caller's task must never be one of them."""
    waiting = asyncio.Event()

    async def wait_at_the_gate() -> None:
        async for update in source.call(invocation("gate", name="dropped")):
            if isinstance(update, CallProgress):
                waiting.set()

    async with asyncio.timeout(30), aclosing(source.call(invocation("gate", name="held"))) as held:
        assert await anext(held) == Sent()
        dropped = asyncio.create_task(wait_at_the_gate())
        await waiting.wait()
        dropped.cancel()
        await asyncio.wait({dropped})
        await output(source, invocation("open_gate", name="held"))
        rest = [update async for update in held]

    assert dropped.cancelled()
    assert isinstance(rest[-1], ToolOutput)


async def test_an_unreachable_source_refuses_before_anything_is_sent(unreachable: ToolSource) -> None:
    given = []
    with pytest.raises(ToolServerUnavailable):
        async for update in unreachable.call(invocation("echo", value="x")):
            given.append(update)

    assert given == []


async def test_an_unreachable_source_says_why(unreachable: ToolSource) -> None:
    status = await until(unreachable, ServerState.UNAVAILABLE)

    assert status.failure is not None
    assert status.failure.message


async def test_changes_begin_with_the_present_status_and_go_on_with_new_tools(source: ToolSource) -> None:
    async with asyncio.timeout(30), aclosing(source.changes()) as changes:
        assert await anext(changes) == source.status

    await output(source, invocation("grow", name="grown_later"))

    await until_offered(source, "grown_later")


async def test_what_can_be_read_is_listed(source: ToolSource) -> None:
    library = await until_listed(source, "note://rules")

    resources = {each.uri: each for each in library.resources}
    rules = resources["note://rules"]
    assert (rules.name, rules.title, rules.description) == ("rules", "The rules", "What holds here.")
    assert rules.mime_type == "text/plain"
    assert "note://picture" in resources
    assert [each.uri_template for each in library.templates] == ["note://shelf/{number}"]
    explain = next(each for each in library.prompts if each.name == "explain")
    assert (explain.title, explain.description) == ("Explain", "Explains a tool.")
    assert [(each.name, each.required) for each in explain.arguments] == [("tool", True), ("tone", False)]


async def test_texts_and_bytes_are_read_as_they_are(source: ToolSource) -> None:
    async with asyncio.timeout(30):
        (rules,), (picture,), (shelf,) = [
            await source.read(uri) for uri in ("note://rules", "note://picture", "note://shelf/7")
        ]

    assert (rules.uri, rules.mime_type, rules.content) == ("note://rules", "text/plain", "Wear goggles. ü😀")
    assert (picture.mime_type, picture.content) == ("image/png", bytes(range(256)))
    assert shelf.content == "shelf 7"


async def test_what_is_not_there_cannot_be_read(source: ToolSource) -> None:
    async with asyncio.timeout(30):
        with pytest.raises(ResourceNotFound):
            await source.read("note://nowhere")
        with pytest.raises((PromptNotFound, ToolFailed)):
            await source.prompt("nothing", {})
        with pytest.raises(ToolFailed):
            await source.prompt("explain", {})


async def test_a_prompt_is_filled_in(source: ToolSource) -> None:
    async with asyncio.timeout(30):
        filled = await source.prompt("explain", {"tool": "a lathe", "tone": "merry"})

    assert [(each.role, each.text) for each in filled.messages] == [(Role.USER, "Explain a lathe in a merry tone.")]


async def test_changes_tell_of_what_can_be_read_later(source: ToolSource) -> None:
    await until_listed(source, "note://rules")
    await output(source, invocation("stock", name="later"))

    await until_listed(source, "note://later")

    async with asyncio.timeout(30), aclosing(source.changes()) as changes:
        async for status in changes:
            if "later" in {each.name for each in status.library.prompts}:
                return


async def test_an_unreachable_source_reads_nothing(unreachable: ToolSource) -> None:
    async with asyncio.timeout(30):
        with pytest.raises(ToolServerUnavailable):
            await unreachable.read("note://rules")
        with pytest.raises(ToolServerUnavailable):
            await unreachable.prompt("explain", {"tool": "x"})


@pytest.mark.parametrize("mortal", ["stdio", "http", "sse"], indirect=True)
async def test_a_connection_that_breaks_while_something_is_read_is_told_as_such(
    mortal: ToolSource, tmp_path: Path
) -> None:
    reading = asyncio.create_task(mortal.read("note://slow"))
    with pytest.raises(ToolConnectionLost):
        await updates(mortal, invocation("die", ledger=str(tmp_path / "ledger")))

    async with asyncio.timeout(30):
        with pytest.raises(ToolConnectionLost):
            await reading


async def test_who_follows_a_resource_hears_of_its_changes_and_of_no_others(source: ToolSource) -> None:
    async with asyncio.timeout(30), aclosing(source.watch("note://rules")) as changes:
        assert await anext(changes) == "note://rules"
        hearing = asyncio.ensure_future(anext(changes))
        await output(source, invocation("amend", uri="note://picture"))
        await output(source, invocation("amend", uri="note://rules"))

        assert await hearing == "note://rules"
