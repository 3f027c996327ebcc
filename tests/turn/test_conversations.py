"""Conversations as OpenAI's own client sees them, over the real units."""

import json
from typing import Any

import httpx2
import pytest
from openai import APIStatusError

from tests.turn.mesh import KEY, OTHER_KEY, Mesh, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

CALL: Any = {"type": "function_call", "call_id": "c1", "name": "clock", "arguments": "{}"}
OUTPUT: Any = {"type": "function_call_output", "call_id": "c1", "output": "noon"}


def said(text: str, role: str = "user") -> Any:
    return {"type": "message", "role": role, "content": text}


async def made(mesh: Mesh, *items: Any, **fields: Any) -> str:
    """Make a conversation; gives its id."""
    return (await mesh.openai.conversations.create(items=list(items), **fields)).id


async def listed(mesh: Mesh, conversation: str, **page: Any) -> list[dict[str, Any]]:
    """Give all items, page by page."""
    found = await mesh.openai.conversations.items.list(conversation, **{"order": "asc", **page})
    return [item.model_dump() async for item in found]


def text_of(item: dict[str, Any]) -> str:
    return "".join(part["text"] for part in item["content"]) if "content" in item else item["type"]


async def texts(mesh: Mesh, conversation: str, **page: Any) -> list[str]:
    return [text_of(item) for item in await listed(mesh, conversation, **page)]


async def refused(asked: Any) -> APIStatusError:
    with pytest.raises(APIStatusError) as refusal:
        await asked
    return refusal.value


async def test_a_conversation_is_answered_as_it_stands(mesh: Mesh) -> None:
    conversation = await mesh.openai.conversations.create(items=[said("hello")])
    answer = await mesh.openai.responses.create(model="scripted", conversation=conversation.id)
    told = await mesh.openai.responses.input_items.list(answer.id, order="asc")
    behind = await mesh.openai.responses.create(model="scripted", previous_response_id=answer.id)
    empty = await mesh.openai.conversations.create()

    assert answer.output_text == "You said: hello"
    assert [text_of(item.model_dump()) for item in told.data] == ["hello"]
    assert await texts(mesh, conversation.id, order="asc") == ["hello", answer.output_text, behind.output_text]
    for asked in (
        mesh.openai.responses.create(model="scripted"),
        mesh.openai.responses.create(model="scripted", conversation=empty.id),
    ):
        refusal = await refused(asked)
        assert (refusal.status_code, refusal.param) == (400, "input")


async def test_a_conversation_is_made_described_and_deleted(mesh: Mesh) -> None:
    conversations = mesh.openai.conversations
    conversation = await conversations.create(items=[said("hello")], metadata={"topic": "tea"})

    found = await conversations.retrieve(conversation.id)
    changed = await conversations.update(conversation.id, metadata={"mood": "good"})
    emptied = await conversations.update(conversation.id, metadata=None)
    gone = await conversations.delete(conversation.id)

    assert conversation.id.startswith("conv_")
    assert (found.object, found.created_at, found.metadata) == (
        "conversation",
        conversation.created_at,
        {"topic": "tea"},
    )
    assert changed.metadata == {"mood": "good"}
    assert emptied.metadata == {}
    assert (gone.id, gone.object, gone.deleted) == (conversation.id, "conversation.deleted", True)
    error = await refused(conversations.retrieve(conversation.id))
    assert (error.status_code, error.code) == (404, "conversation_not_found")


async def test_an_empty_request_makes_an_empty_conversation(mesh: Mesh) -> None:
    conversation = await mesh.openai.conversations.create()

    assert conversation.metadata == {}
    found = await mesh.openai.conversations.items.list(conversation.id)
    assert (found.data, found.has_more, found.model_dump()["first_id"]) == ([], False, None)


async def test_items_are_added_and_given_one_by_one(mesh: Mesh) -> None:
    conversation = await made(mesh, said("be brief", "developer"))
    items = mesh.openai.conversations.items

    added = await items.create(conversation, items=[said("time?"), CALL, OUTPUT, said("noon", "assistant")])

    assert [str(item.id).partition("_")[0] for item in added.data] == ["msg", "fc", "fco", "msg"]
    for item in added.data:
        assert await items.retrieve(str(item.id), conversation_id=conversation) == item
    message, call, output, _ = (item.model_dump() for item in added.data)
    assert (message["role"], message["content"][0]["type"], message["status"]) == ("user", "input_text", "completed")
    assert (call["name"], call["call_id"], output["output"]) == ("clock", "c1", "noon")
    assert await texts(mesh, conversation) == ["be brief", "time?", "function_call", "function_call_output", "noon"]


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
async def test_items_are_listed_in_pages_in_both_orders(mesh: Mesh, limit: int) -> None:
    two = [{**CALL, "call_id": "c2"}, {**CALL, "call_id": "c3"}]
    conversation = await made(mesh, said("one"), said("let me see", "assistant"), CALL, *two, said("two"))

    forwards = await listed(mesh, conversation, limit=limit)
    backwards = await listed(mesh, conversation, limit=limit, order="desc")

    assert [item["type"] for item in forwards] == ["message", "message", *["function_call"] * 3, "message"]
    assert backwards == forwards[::-1]
    latest = await mesh.openai.conversations.items.list(conversation, limit=1)
    assert text_of(latest.data[0].model_dump()) == "two"
    assert latest.has_more


async def test_a_deleted_item_is_in_no_window_and_what_was_said_with_it_stays(mesh: Mesh) -> None:
    asked = [said("let me see", "assistant"), CALL, {**CALL, "call_id": "c2"}]
    conversation = await made(mesh, said("time?"), *asked, OUTPUT, {**OUTPUT, "call_id": "c2"})
    items = mesh.openai.conversations.items
    question, message, first, second, output, _ = [item["id"] for item in await listed(mesh, conversation)]

    for gone in (message, first, output):
        assert (await items.delete(gone, conversation_id=conversation)).id == conversation

    assert [item["id"] for item in await listed(mesh, conversation)][:2] == [question, second]
    for gone in (message, first, output):
        assert (await refused(items.retrieve(gone, conversation_id=conversation))).code == "item_not_found"
        assert (await refused(items.delete(gone, conversation_id=conversation))).status_code == 404
    assert "let me see" not in await mesh.window(thread_of(conversation))
    for gone in (second, question):
        await items.delete(gone, conversation_id=conversation)
    assert await texts(mesh, conversation) == ["function_call_output"]
    assert await mesh.window(thread_of(conversation)) == []


async def test_pages_go_on_behind_an_item_that_was_deleted(mesh: Mesh) -> None:
    conversation = await made(mesh, said("one"), said("two"), said("three"))
    first = await mesh.openai.conversations.items.list(conversation, order="asc", limit=2)
    await mesh.openai.conversations.items.delete(str(first.data[1].id), conversation_id=conversation)

    assert await texts(mesh, conversation, after=first.data[1].id) == ["three"]


async def test_a_response_goes_on_with_a_conversation(mesh: Mesh) -> None:
    conversation = await made(mesh, said("my name is Ada"))

    answer = await mesh.openai.responses.create(model="scripted", input="hello", conversation=conversation)
    again = await mesh.openai.responses.create(model="scripted", input="more", conversation={"id": conversation})

    assert answer.conversation is not None
    assert answer.conversation.id == conversation
    assert answer.usage is not None
    assert again.usage is not None
    assert again.usage.input_tokens > answer.usage.input_tokens
    assert await texts(mesh, conversation) == [
        "my name is Ada",
        "hello",
        "You said: hello",
        "more",
        "You said: more",
    ]
    found = await mesh.openai.responses.retrieve(again.id)
    assert found.conversation == again.conversation


async def test_deleting_a_response_leaves_its_conversation(mesh: Mesh) -> None:
    conversation = await made(mesh, said("before"))
    answer = await mesh.openai.responses.create(model="scripted", input="hello", conversation=conversation)

    assert (await refused(mesh.openai.responses.delete(answer.id))).status_code == 422
    assert await texts(mesh, conversation) == ["before", "hello", "You said: hello"]


async def test_what_is_thought_is_an_item_that_can_go_alone(mesh: Mesh) -> None:
    conversation = await made(mesh)
    await mesh.openai.responses.create(model="scripted", input="think", conversation=conversation)
    question, thought, answer = [item["id"] for item in await listed(mesh, conversation)]

    await mesh.openai.conversations.items.delete(thought, conversation_id=conversation)

    assert thought.startswith("rs_")
    assert [item["id"] for item in await listed(mesh, conversation)] == [question, answer]


async def test_the_input_of_a_response_shows_the_same_items(mesh: Mesh) -> None:
    conversation = await made(mesh, said("time?"), CALL, OUTPUT)
    answer = await mesh.openai.responses.create(model="scripted", input="thanks", conversation=conversation)

    told = await mesh.openai.responses.input_items.list(answer.id, order="asc")

    names = [item["id"] for item in await listed(mesh, conversation)]
    assert [item.model_dump()["id"] for item in told.data] == names[:-1]


async def test_a_conversation_of_another_tenant_is_not_there(mesh: Mesh) -> None:
    conversation = await made(mesh, said("secret"))
    (item,) = await listed(mesh, conversation)
    stranger = mesh.openai.with_options(api_key=OTHER_KEY)
    items = stranger.conversations.items
    mine = await stranger.conversations.create()

    for asked in (
        stranger.conversations.retrieve(conversation),
        stranger.conversations.update(conversation, metadata={}),
        stranger.conversations.delete(conversation),
        items.list(conversation),
        items.create(conversation, items=[said("hello")]),
        items.retrieve(item["id"], conversation_id=conversation),
        items.delete(item["id"], conversation_id=conversation),
        items.retrieve(item["id"], conversation_id=mine.id),
        stranger.responses.create(model="scripted", input="what was said?", conversation=conversation),
    ):
        assert (await refused(asked)).status_code == 404
    assert await texts(mesh, conversation) == ["secret"]


async def test_a_conversation_and_a_previous_response_exclude_each_other(mesh: Mesh) -> None:
    conversation = await made(mesh)
    request = {"model": "scripted", "input": "hello"}
    first = await mesh.openai.responses.create(**request)  # type: ignore[call-overload]

    both = await refused(
        mesh.openai.responses.create(**request, conversation=conversation, previous_response_id=first.id)  # type: ignore[call-overload]
    )
    named = await refused(
        mesh.openai.responses.create(**request, conversation=conversation, metadata={"thread_key": "k"})  # type: ignore[call-overload]
    )
    unknown = await refused(mesh.openai.responses.create(**request, conversation="conv_0"))  # type: ignore[call-overload]

    assert (both.status_code, named.status_code) == (400, 400)
    assert named.param == "conversation"
    assert (unknown.status_code, unknown.code) == (404, "conversation_not_found")


async def test_a_busy_conversation_is_refused_as_a_busy_thread_is(mesh: Mesh) -> None:
    conversation = await made(mesh)
    begun = await mesh.openai.responses.create(
        model="scripted", input="hang", conversation=conversation, background=True
    )

    async def runs() -> bool:
        return (await texts(mesh, conversation))[:1] == ["hang"]

    await until(runs)
    (item,) = await listed(mesh, conversation)
    rejecting = {"x-threadmesh-multitask": "reject"}
    refusals = [
        await refused(mesh.openai.conversations.items.create(conversation, items=[said("more")])),
        await refused(mesh.openai.conversations.items.delete(item["id"], conversation_id=conversation)),
        await refused(
            mesh.openai.responses.create(
                model="scripted", input="more", conversation=conversation, extra_headers=rejecting
            )
        ),
    ]
    await mesh.openai.responses.cancel(begun.id)

    assert [(each.status_code, each.code) for each in refusals] == [(409, "thread_locked")] * 3
    assert [each.response.headers["retry-after"] for each in refusals] == ["1"] * 3


async def test_one_thread_is_the_same_for_chat_responses_and_conversations(mesh: Mesh) -> None:
    place = {"thread_key": "alike"}
    chat = await mesh.openai.chat.completions.with_raw_response.create(
        model="scripted", messages=[{"role": "user", "content": "by chat"}], metadata=place
    )
    conversation = chat.headers["x-thread-id"].replace("thread_", "conv_")
    await mesh.openai.responses.create(model="scripted", input="by response", metadata=place)
    await mesh.openai.conversations.items.create(conversation, items=[said("by hand")])
    await mesh.openai.responses.create(model="scripted", input="again", conversation=conversation)
    last = await mesh.openai.chat.completions.create(
        model="scripted", messages=[{"role": "user", "content": "and chat"}], metadata=place
    )

    expected = ["by chat", "You said: by chat", "by response", "You said: by response", "by hand"]
    expected += ["again", "You said: again", "and chat", "You said: and chat"]
    assert last.choices[0].message.content == "You said: and chat"
    assert await texts(mesh, conversation) == expected
    assert await mesh.window(thread_of(conversation)) == expected


async def test_a_thread_of_a_stateless_request_is_no_conversation(mesh: Mesh) -> None:
    chat = await mesh.openai.chat.completions.with_raw_response.create(
        model="scripted", messages=[{"role": "user", "content": "hello"}]
    )

    name = chat.headers["x-thread-id"].replace("thread_", "conv_")
    assert (await refused(mesh.openai.conversations.retrieve(name))).status_code == 404


async def test_a_repeated_request_with_a_key_changes_nothing(mesh: Mesh) -> None:
    conversations = mesh.openai.conversations.with_raw_response
    once, adding = {"idempotency-key": "make-one"}, {"idempotency-key": "add-one"}
    made_twice = [await conversations.create(items=[said("hello")], extra_headers=once) for _ in range(2)]
    first, again = [answer.parse().id for answer in made_twice]
    added = [await conversations.items.create(first, items=[said("more")], extra_headers=adding) for _ in range(2)]

    assert again == first
    assert await texts(mesh, first) == ["hello", "more"]
    for answers in (made_twice, added):
        assert [answer.headers.get("idempotent-replayed") for answer in answers] == [None, "true"]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("", {"items": [said("hello")] * 21}, "items"),
        ("", {"metadata": {"a": 1}}, "metadata.a"),
        ("", {"items": [{"type": "file_search_call"}]}, "items[0]"),
        ("/{id}", {}, "metadata"),
        ("/{id}/items", {"items": []}, "items"),
        ("/{id}/items", {"items": [{"type": "mcp_list_tools"}]}, "items"),
        (
            "/{id}/items",
            {"items": [said("a"), {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True}]},
            "items[1]",
        ),
        ("/{id}/items?include=file_search_call.results", {"items": [said("hello")]}, "include[0]"),
        ("/{id}/items?limit=0", None, "limit"),
        ("/{id}/items?order=up", None, "order"),
        ("/{id}/items?after=msg_1", None, "after"),
    ],
)
async def test_what_cannot_be_done_is_refused_with_its_place(
    mesh: Mesh, path: str, body: dict[str, Any] | None, param: str
) -> None:
    conversation = await made(mesh, said("hello"))
    url = f"{mesh.url}/v1/conversations{path.format(id=conversation)}"

    async with httpx2.AsyncClient(timeout=30, headers={"authorization": f"Bearer {KEY}"}) as http:
        answer = await http.request("GET" if body is None else "POST", url, json=body)

    assert answer.status_code == 400, answer.text
    assert json.loads(answer.text)["error"]["param"] == param


def thread_of(conversation: str) -> str:
    return conversation.replace("conv_", "thread_")
