"""One thread, seen through chat, responses and conversations alike, with OpenAI's own client."""

from pathlib import Path
from typing import Any

import pytest
from openai import APIStatusError, NotFoundError

from context_svc.adapters.sqlite_store import sqlite_store
from context_svc.domain.forget_logs import forget_logs
from tests.turn.mesh import OTHER_KEY, Mesh, running, until
from threadmesh.clock import SystemClock

pytestmark = pytest.mark.asyncio(loop_scope="module")

WORKSHOP: Any = {"type": "mcp", "server_label": "workshop"}
MINE: Any = {"type": "function", "name": "mine", "parameters": {"type": "object"}}


async def made(mesh: Mesh, *items: Any) -> str:
    return (await mesh.openai.conversations.create(items=list(items))).id


async def listed(mesh: Mesh, conversation: str, **page: Any) -> list[dict[str, Any]]:
    found = await mesh.openai.conversations.items.list(conversation, **{"order": "asc", **page})
    return [item.model_dump(exclude_none=True) async for item in found]


async def responded(mesh: Mesh, text: Any, **fields: Any) -> tuple[Any, list[dict[str, Any]]]:
    """Ask; gives the response, and the items that its stream has told as whole."""
    done = []
    async for event in await mesh.openai.responses.create(model="scripted", input=text, stream=True, **fields):
        if event.type == "response.output_item.done":
            done.append(event.item.model_dump(exclude_none=True))
        last = event
    return last.response, done


def plain(item: dict[str, Any]) -> dict[str, Any]:
    """Leave out what a thread does not keep of a text: how likely its tokens were."""
    content = [{**part, "logprobs": []} if "logprobs" in part else part for part in item.get("content") or ()]
    return {**item, "content": content} if content else item


async def refused(asked: Any) -> APIStatusError:
    with pytest.raises(APIStatusError) as refusal:
        await asked
    return refusal.value


@pytest.mark.parametrize(
    ("text", "fields", "kinds"),
    [
        ("hello", {}, ["message"]),
        ("think", {}, ["reasoning", "message"]),
        ("only mine", {"tools": [MINE]}, ["function_call"]),
        ("progress", {"tools": [WORKSHOP]}, ["mcp_list_tools", "mcp_call", "message"]),
        ("fail", {"tools": [WORKSHOP]}, ["mcp_list_tools", "mcp_call", "message"]),
        ("work twice", {"tools": [WORKSHOP]}, ["mcp_list_tools", "mcp_call", "mcp_call", "message"]),
        ("both", {"tools": [MINE, WORKSHOP]}, ["mcp_list_tools", "function_call", "mcp_call"]),
    ],
)
async def test_an_item_is_the_same_wherever_it_is_seen(
    mesh: Mesh, text: str, fields: dict[str, Any], kinds: list[str]
) -> None:
    conversation = await made(mesh, {"type": "message", "role": "developer", "content": "be brief"})
    answer, streamed = await responded(mesh, text, conversation=conversation, **fields)
    output = [item.model_dump(exclude_none=True) for item in answer.output]
    said = [plain(item) for item in output if item["type"] != "mcp_list_tools"]

    assert [item["type"] for item in output] == kinds
    assert streamed == output
    assert (await listed(mesh, conversation))[-len(said) :] == said
    for item in said:
        found = await mesh.openai.conversations.items.retrieve(item["id"], conversation_id=conversation)
        assert found.model_dump(exclude_none=True) == item
    further, _ = await responded(mesh, "more", conversation=conversation)
    told = await mesh.openai.responses.input_items.list(further.id, order="asc", limit=100)
    assert [item.id for item in told.data][-len(said) - 1 : -1] == [item["id"] for item in said]


@pytest.mark.parametrize("limit", [1, 2, 100])
async def test_calls_of_the_mesh_are_listed_in_pages_in_both_orders(mesh: Mesh, limit: int) -> None:
    conversation = await made(mesh)
    tool = {**WORKSHOP, "require_approval": "always"}
    question, _ = await responded(mesh, "progress", conversation=conversation, tools=[tool])
    name = question.output[-1].id
    waiting = [item["type"] for item in await listed(mesh, conversation)]
    word = {"type": "mcp_approval_response", "approval_request_id": name, "approve": True}
    answer, _ = await responded(mesh, [word], previous_response_id=question.id)

    forwards = await listed(mesh, conversation, limit=limit)

    assert waiting == ["message", "mcp_approval_request"]
    assert [item["type"] for item in forwards] == [*waiting, "mcp_approval_response", "mcp_call", "message"]
    assert forwards[1]["id"] == name
    assert [item["id"] for item in forwards[3:]] == [item.id for item in answer.output]
    assert forwards[3]["approval_request_id"] == name
    assert await listed(mesh, conversation, limit=limit, order="desc") == forwards[::-1]
    refusal = await refused(mesh.openai.conversations.items.delete(name, conversation_id=conversation))
    assert refusal.status_code == 422


@pytest.mark.parametrize("text", ["progress", "fail"])
async def test_calls_stay_what_they_were_when_the_log_of_their_run_is_forgotten(tmp_path: Path, text: str) -> None:
    async with running(tmp_path) as mesh:
        conversation = await made(mesh)
        answer, _ = await responded(mesh, text, conversation=conversation, tools=[WORKSHOP])
        before = await listed(mesh, conversation)
        async with sqlite_store(tmp_path / "context.db", SystemClock()) as store:
            assert await forget_logs([answer.id.replace("resp_", "run_")], store=store) == 1

        assert [item["type"] for item in before] == ["message", "mcp_call", "message"]
        assert await listed(mesh, conversation) == before


@pytest.mark.parametrize(
    "word", [{"approve": True}, {"approve": True, "reason": "go on"}, {"approve": False, "reason": "not today"}]
)
async def test_what_was_asked_and_said_about_a_call_outlives_the_log_of_its_run(
    tmp_path: Path, word: dict[str, Any]
) -> None:
    async with running(tmp_path) as mesh:
        conversation = await made(mesh)
        tool = {**WORKSHOP, "require_approval": "always"}
        question, _ = await responded(mesh, "progress", conversation=conversation, tools=[tool])
        said = {"type": "mcp_approval_response", "approval_request_id": question.output[-1].id, **word}
        await responded(mesh, [said], previous_response_id=question.id)
        before = await listed(mesh, conversation)
        async with sqlite_store(tmp_path / "context.db", SystemClock()) as store:
            assert await forget_logs([question.id.replace("resp_", "run_")], store=store) == 1

        kinds = ["message", "mcp_approval_request", "mcp_approval_response", "mcp_call", "message"]
        assert [item["type"] for item in before] == kinds
        assert await listed(mesh, conversation) == before


async def test_a_question_that_nobody_answered_outlives_the_log_of_its_run(tmp_path: Path) -> None:
    async with running(tmp_path, approval_seconds=0.2) as mesh:
        conversation = await made(mesh)
        tool = {**WORKSHOP, "require_approval": "always"}
        question, _ = await responded(mesh, "progress", conversation=conversation, tools=[tool])
        run = question.id.replace("resp_", "run_")
        async with sqlite_store(tmp_path / "context.db", SystemClock()) as store:
            await until(lambda: _ended(store, run))
            before = await listed(mesh, conversation)
            await forget_logs([run], store=store)

        assert [item["type"] for item in before] == ["message", "mcp_approval_request", "mcp_call", "message"]
        assert await listed(mesh, conversation) == before


async def _ended(store: Any, run: str) -> bool:
    return bool((await store.run(run)).finished)


async def test_a_call_of_the_mesh_is_deleted_with_its_result(mesh: Mesh) -> None:
    conversation = await made(mesh)
    answer, _ = await responded(mesh, "progress", conversation=conversation, tools=[WORKSHOP])
    call = answer.output[1]

    await mesh.openai.conversations.items.delete(call.id, conversation_id=conversation)

    assert [item["type"] for item in await listed(mesh, conversation)] == ["message", "message"]
    assert await mesh.window(conversation.replace("conv_", "thread_")) == ["progress", "The tool said: done"]


@pytest.mark.parametrize("said", [{"output": "noon"}, {"error": "no clock"}])
async def test_a_call_that_a_client_tells_of_is_shown_as_one(mesh: Mesh, said: dict[str, str]) -> None:
    call = {"type": "mcp_call", "id": "mcp_1", "server_label": "clocks", "name": "now", "arguments": "{}", **said}
    conversation = await made(mesh, call)

    (item,) = await listed(mesh, conversation)

    assert (item["type"], item["server_label"], item["name"]) == ("mcp_call", "clocks", "now")
    assert said.get("output", "no clock") in str(item.get("output") or item["error"])
    assert item["status"] == ("completed" if "output" in said else "failed")
    found = await mesh.openai.conversations.items.retrieve(item["id"], conversation_id=conversation)
    assert found.model_dump(exclude_none=True) == item


async def test_a_clients_function_is_its_own_however_it_is_called(mesh: Mesh) -> None:
    """Its name may look like that of a server's tool, and a tool message may repeat it."""
    call: Any = {"id": "c1", "type": "function", "function": {"name": "mine__now", "arguments": "{}"}}
    messages: Any = [
        {"role": "user", "content": "time?"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "name": "mine__now", "content": "noon"},
    ]
    chat = await mesh.openai.chat.completions.with_raw_response.create(
        model="scripted", messages=messages, metadata={"thread_key": "own"}
    )
    conversation = chat.headers["x-thread-id"].replace("thread_", "conv_")

    items = await listed(mesh, conversation)

    kinds = ["message", "function_call", "function_call_output", "message"]
    assert [item["type"] for item in items] == kinds
    assert (items[1]["name"], items[2]["output"]) == ("mine__now", "noon")
    assert await mesh.window(conversation.replace("conv_", "thread_")) == ["time?", "", "noon", "The tool said: noon"]
    for item in items[:0:-1]:
        await mesh.openai.conversations.items.delete(item["id"], conversation_id=conversation)
    assert await listed(mesh, conversation) == items[:1]


async def test_a_tour_through_all_three_ways(mesh: Mesh) -> None:
    place = {"thread_key": "tour"}
    chat = await mesh.openai.chat.completions.with_raw_response.create(
        model="scripted", messages=[{"role": "user", "content": "progress"}], metadata={**place, "tools": "all"}
    )
    conversation = chat.headers["x-thread-id"].replace("thread_", "conv_")
    answer, _ = await responded(mesh, "think", conversation=conversation)
    items = await listed(mesh, conversation)
    last = await mesh.openai.chat.completions.create(
        model="scripted", messages=[{"role": "user", "content": "hello"}], metadata=place
    )
    stored = await mesh.openai.chat.completions.create(
        model="scripted", messages=[{"role": "user", "content": "keep this"}], store=True
    )
    messages = await mesh.openai.chat.completions.messages.list(stored.id)
    reference: Any = [{"type": "item_reference", "id": item["id"]} for item in items]
    elsewhere, _ = await responded(mesh, [*reference, {"role": "user", "content": "hello"}])
    told = await mesh.openai.responses.input_items.list(elsewhere.id, order="asc")

    kinds = ["message", "mcp_call", "message", "message", "reasoning", "message"]
    assert [item["type"] for item in items] == kinds
    assert [item["id"] for item in items[-2:]] == [item.id for item in answer.output]
    assert last.choices[0].message.content == "You said: hello"
    assert [message.content for message in messages.data] == ["keep this"]
    assert elsewhere.output_text == "You said: hello"
    assert [item.type for item in told.data] == [*kinds, "message"]
    copied = told.data[1].model_dump(exclude_none=True)
    assert (copied["type"], copied["output"]) == ("mcp_call", items[1]["output"])


async def test_an_item_is_named_instead_of_sent_again(mesh: Mesh) -> None:
    first, _ = await responded(mesh, "only mine", tools=[MINE])
    call = first.output[0]
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "mine is done"}

    bare, _ = await responded(mesh, [{"role": "user", "content": "only mine"}, {"id": call.id}, result], tools=[MINE])
    named: Any = {"type": "item_reference", "id": call.id}
    behind, _ = await responded(mesh, [named, result], tools=[MINE], previous_response_id=first.id)
    counted = await mesh.openai.responses.input_tokens.count(input=[named])

    assert bare.output_text == behind.output_text == "The tool said: mine is done"
    told = await mesh.openai.responses.input_items.list(behind.id, order="asc")
    assert [item.type for item in told.data] == ["message", "function_call", "function_call_output"]
    assert counted.input_tokens > 0


async def test_naming_only_what_is_read_anyway_is_refused(mesh: Mesh) -> None:
    conversation = await made(mesh, {"type": "message", "role": "user", "content": "hello"})
    (item,) = await listed(mesh, conversation)

    named: Any = [{"type": "item_reference", "id": item["id"]}]
    refusal = await refused(mesh.openai.responses.create(model="scripted", input=named, conversation=conversation))

    assert (refusal.status_code, refusal.param) == (400, "input")


async def test_what_is_not_there_cannot_be_named(mesh: Mesh) -> None:
    unstored = await mesh.openai.responses.create(model="scripted", input="hello", store=False)
    foreign = mesh.openai.with_options(api_key=OTHER_KEY)
    theirs = await foreign.responses.create(model="scripted", input="hello")

    for name in (unstored.output[0].id, theirs.output[0].id, "msg_none", f"{theirs.output[0].id}1"):
        asked: Any = [{"role": "user", "content": "hello"}, {"type": "item_reference", "id": name}]
        refusal = await refused(mesh.openai.responses.create(model="scripted", input=asked))
        assert isinstance(refusal, NotFoundError)
        assert (refusal.code, refusal.param) == ("item_not_found", "input[1].id")
        assert str(name) in refusal.message
    unnamed: Any = [{"type": "item_reference", "id": unstored.output[0].id}]
    added = mesh.openai.conversations.items.create(await made(mesh), items=unnamed)
    assert (await refused(added)).param == "items[0].id"


async def test_an_item_without_a_run_is_named_within_its_conversation(mesh: Mesh) -> None:
    conversation = await made(mesh, {"type": "message", "role": "user", "content": "before"})
    (item,) = await listed(mesh, conversation)

    named: Any = [{"type": "item_reference", "id": item["id"]}, {"role": "user", "content": "hello"}]
    await responded(mesh, named, conversation=conversation)

    assert [each["type"] for each in await listed(mesh, conversation)] == ["message"] * 3
    assert (await refused(mesh.openai.responses.create(model="scripted", input=named))).code == "item_not_found"
