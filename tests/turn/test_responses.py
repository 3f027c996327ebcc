"""Responses as OpenAI's own client sees them, over the real units."""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, cast

import httpx2
import pytest
from openai import APIStatusError
from openai.types.responses import Response

from tests.turn.grammar import without_comments
from tests.turn.mesh import KEY, OTHER_KEY, Mesh, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

FUNCTION = {"type": "function", "name": "mine", "parameters": {"type": "object"}, "strict": False}
FIELDS = """id object created_at status background completed_at error incomplete_details instructions max_output_tokens
    max_tool_calls metadata model output parallel_tool_calls previous_response_id prompt_cache_key reasoning
    safety_identifier service_tier store temperature text tool_choice tools top_logprobs top_p truncation usage user
    presence_penalty frequency_penalty conversation"""
WORKSHOP = {"type": "mcp", "server_label": "workshop", "require_approval": "never"}


async def ask(mesh: Mesh, text: Any, **request: Any) -> Response:
    return cast("Response", await mesh.openai.responses.create(model="scripted", input=text, **request))


async def told(mesh: Mesh, text: Any, **request: Any) -> list[dict[str, Any]]:
    """Give the events of a stream; checks on the way that they are numbered without gaps."""
    stream = await mesh.openai.responses.create(model="scripted", input=text, stream=True, **request)
    events = [event.model_dump() async for event in stream]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    return events


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


async def raw(mesh: Mesh, path: str, method: str = "GET", key: str = KEY, **body: Any) -> httpx2.Response:
    async with httpx2.AsyncClient(timeout=30, headers={"authorization": f"Bearer {key}"}) as http:
        return await http.request(method, f"{mesh.url}{path}", json=body or None)


async def test_an_answer_has_every_field_that_clients_take_for_granted(mesh: Mesh) -> None:
    answer = await ask(mesh, "hello", metadata={"a": "b"}, temperature=0.5)
    body = answer.model_dump()

    assert answer.status == "completed"
    assert answer.output_text == "You said: hello"
    assert (body["metadata"], body["temperature"], body["store"]) == ({"a": "b"}, 0.5, True)
    assert set(FIELDS.split()) <= set(body)
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens > 0


async def test_a_function_is_repeated_with_all_that_clients_take_for_granted(mesh: Mesh) -> None:
    bare = {"type": "function", "name": "bare"}
    body = (await raw(mesh, "/v1/responses", "POST", model="scripted", input="hello", tools=[bare, FUNCTION])).json()

    assert body["tools"] == [{**bare, "parameters": None, "strict": False}, FUNCTION]


async def test_a_stream_tells_the_items_as_they_grow(mesh: Mesh) -> None:
    events = await told(mesh, "think")

    assert kinds(events)[:2] == ["created", "in_progress"]
    assert list(dict.fromkeys(kinds(events)[2:])) == [
        "output_item.added",
        "content_part.added",
        "reasoning_text.delta",
        "reasoning_text.done",
        "content_part.done",
        "output_item.done",
        "output_text.delta",
        "output_text.done",
        "completed",
    ]
    last = events[-1]["response"]
    assert [item["type"] for item in last["output"]] == ["reasoning", "message"]
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert done == last["output"]
    said = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    assert said == last["output"][1]["content"][0]["text"] == "Here it is."


async def test_what_is_streamed_and_what_is_given_as_a_whole_is_the_same(mesh: Mesh) -> None:
    events = await told(mesh, "think")
    again = await mesh.openai.responses.retrieve(events[-1]["response"]["id"])

    assert again.model_dump() == events[-1]["response"]


async def test_the_clients_own_function_is_called_and_its_result_goes_on(mesh: Mesh) -> None:
    events = await told(mesh, "both", tools=[FUNCTION, WORKSHOP])
    output = events[-1]["response"]["output"]
    (call,) = [item for item in output if item["type"] == "function_call"]
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "mine is done"}
    answer = await ask(mesh, [result], previous_response_id=events[-1]["response"]["id"])

    assert {"function_call_arguments.delta", "function_call_arguments.done"} <= set(kinds(events))
    assert (call["name"], json.loads(call["arguments"])) == ("mine", {"a": 1})
    assert answer.output_text == "The tool said: mine is done"


async def test_a_tool_of_the_mesh_is_listed_called_and_told(mesh: Mesh) -> None:
    events = await told(mesh, "progress", tools=[{**WORKSHOP, "allowed_tools": ["work", "fail"]}])
    listed, call, message = events[-1]["response"]["output"]

    assert listed["type"] == "mcp_list_tools"
    assert sorted(tool["name"] for tool in listed["tools"]) == ["fail", "work"]
    assert (call["type"], call["server_label"], call["name"], call["output"]) == (
        "mcp_call",
        "workshop",
        "work",
        "done",
    )
    assert json.loads(call["arguments"]) == {"steps": 2}
    assert message["content"][0]["text"] == "The tool said: done"
    assert kinds(events)[2:8] == [
        "output_item.added",
        "mcp_list_tools.in_progress",
        "mcp_list_tools.completed",
        "output_item.done",
        "output_item.added",
        "mcp_call.in_progress",
    ]
    progress = [event for event in events if event["type"] == "response.mcp_call.in_progress" and "progress" in event]
    assert progress[-1]["total"] == 2
    assert {"mcp_call_arguments.delta", "mcp_call_arguments.done", "mcp_call.completed"} <= set(kinds(events))


async def test_a_call_that_fails_is_told_as_failed(mesh: Mesh) -> None:
    events = await told(mesh, "fail", tools=[WORKSHOP])
    call = events[-1]["response"]["output"][1]

    assert "mcp_call.failed" in kinds(events)
    assert (call["status"], call["output"]) == ("failed", None)
    assert "no luck" in json.dumps(call["error"])


async def asked(mesh: Mesh, **tool: Any) -> tuple[str, dict[str, Any]]:
    """Ask for a call that needs approval; gives the response's id and its last item."""
    events = await told(mesh, "progress", tools=[{**WORKSHOP, "require_approval": "always", **tool}])
    last = events[-1]["response"]
    assert kinds(events)[-1] == "completed"
    assert (await mesh.openai.responses.retrieve(last["id"])).model_dump() == last
    return last["id"], last["output"][-1]


async def test_a_call_that_needs_approval_ends_the_response_and_its_approval_begins_the_next(mesh: Mesh) -> None:
    name, question = await asked(mesh)
    answer = {"type": "mcp_approval_response", "approval_request_id": question["id"], "approve": True}
    events = await told(mesh, [answer], previous_response_id=name)
    last = events[-1]["response"]
    call, message = last["output"]
    further = await ask(mesh, "hello", previous_response_id=last["id"])

    assert (question["type"], question["server_label"], question["name"]) == (
        "mcp_approval_request",
        "workshop",
        "work",
    )
    assert json.loads(question["arguments"]) == {"steps": 2}
    assert last["id"] != name
    assert (call["type"], call["output"], call["approval_request_id"]) == ("mcp_call", "done", question["id"])
    assert message["content"][0]["text"] == "The tool said: done"
    assert (await mesh.openai.responses.retrieve(last["id"])).model_dump() == last
    assert further.output_text == "You said: hello"


async def test_an_approval_lets_a_response_go_on_as_it_was_asked_for(mesh: Mesh) -> None:
    name, question = await asked(mesh)
    answer = {"type": "mcp_approval_response", "approval_request_id": question["id"], "approve": True}
    others: dict[str, Any] = {"metadata": {"a": "b"}, "background": True, "max_output_tokens": 1, "zeal": 1}
    same: dict[str, Any] = {"tools": [{**WORKSHOP, "require_approval": "always"}], "model": "scripted"}
    given = await raw(mesh, "/v1/responses", "POST", input=[answer], previous_response_id=name, **same, **others)
    first = await mesh.openai.responses.retrieve(name)
    unasked = await ask(mesh, "progress", tools=[WORKSHOP])

    body = given.json()
    assert given.headers["x-threadmesh-ignored"] == "background, max_output_tokens, metadata, zeal"
    assert (body["status"], body["background"], body["metadata"]) == ("completed", False, {})
    assert first.usage is not None
    assert unasked.usage is not None
    assert body["usage"]["total_tokens"] + first.usage.total_tokens == unasked.usage.total_tokens


async def test_a_call_that_is_denied_is_told_as_failed_and_stays_so(mesh: Mesh) -> None:
    name, question = await asked(mesh, require_approval={"never": {"tool_names": ["fail"]}})
    denial = {"type": "mcp_approval_response", "approval_request_id": question["id"], "approve": False, "reason": "No."}
    answer = await ask(mesh, [denial], previous_response_id=name)

    assert [item.type for item in answer.output] == ["mcp_call", "message"]
    assert answer.output_text.endswith("No.")
    with pytest.raises(APIStatusError) as caught:
        await ask(mesh, [{**denial, "approve": True}], previous_response_id=name)
    assert (caught.value.status_code, caught.value.code) == (409, "call_already_decided")


async def test_what_needs_no_approval_is_called_at_once(mesh: Mesh) -> None:
    tool = {**WORKSHOP, "require_approval": {"always": {"tool_names": ["fail"]}}}
    answer = await ask(mesh, "progress", tools=[tool])

    assert answer.output_text == "The tool said: done"


async def test_instructions_hold_for_one_response(mesh: Mesh) -> None:
    first = await ask(mesh, "hello", instructions="Be brief, be kind, and be gone as soon as you can be.")
    plain = await ask(mesh, "hello")
    second = await ask(mesh, "hello", previous_response_id=first.id)
    third = await ask(mesh, "hello", previous_response_id=plain.id)

    assert first.usage is not None
    assert plain.usage is not None
    assert second.usage is not None
    assert third.usage is not None
    assert first.usage.input_tokens > plain.usage.input_tokens
    assert second.usage.input_tokens == third.usage.input_tokens > plain.usage.input_tokens


async def test_an_answer_in_the_background_is_there_later(mesh: Mesh) -> None:
    begun = await ask(mesh, "slow", background=True)

    async def ended() -> bool:
        return (await mesh.openai.responses.retrieve(begun.id)).status == "completed"

    await until(ended)
    assert begun.status == "in_progress"
    assert (await mesh.openai.responses.retrieve(begun.id)).output_text.endswith("nine ten")


async def test_a_background_answer_can_be_stopped_and_no_other(mesh: Mesh) -> None:
    begun = await ask(mesh, "hang", background=True)
    stopped = await mesh.openai.responses.cancel(begun.id)
    plain = await ask(mesh, "hello")

    assert stopped.status == "cancelled"
    with pytest.raises(APIStatusError, match="background"):
        await mesh.openai.responses.cancel(plain.id)


async def test_a_stream_is_gone_on_with_behind_the_event_that_was_seen(mesh: Mesh) -> None:
    whole = await raw(mesh, "/v1/responses", "POST", model="scripted", input="think", stream=True)
    blocks = without_comments(whole.text).split("\n\n")
    name = json.loads(blocks[0].split("data: ")[1])["response"]["id"]
    for seen in (0, 4, len(blocks) - 3):
        rest = await raw(mesh, f"/v1/responses/{name}?stream=true&starting_after={seen}")
        assert without_comments(rest.text).split("\n\n") == blocks[seen + 1 :]
    assert blocks[-2:] == ["data: [DONE]", ""]
    assert all(block.startswith("event: response.") for block in blocks[:-2])


async def test_an_answer_that_breaks_ends_as_failed(mesh: Mesh) -> None:
    events = await told(mesh, "break")

    assert kinds(events)[-1] == "failed"
    last = events[-1]["response"]
    assert (last["status"], last["error"]["code"]) == ("failed", "server_error")
    assert last["error"]["reason"] == "backend_unavailable"
    assert last["output"][0]["status"] == "incomplete"
    assert last["usage"] is None


async def test_an_answer_that_was_cut_says_by_what(mesh: Mesh) -> None:
    answer = await ask(mesh, "one two three four", max_output_tokens=2)

    assert answer.status == "incomplete"
    assert answer.incomplete_details is not None
    assert answer.incomplete_details.reason == "max_output_tokens"
    assert [item.status for item in answer.output if item.type == "message"] == ["incomplete"]


async def test_calls_of_the_meshs_tools_are_limited(mesh: Mesh) -> None:
    answer = await ask(mesh, "again and again", tools=[WORKSHOP], max_tool_calls=1)

    assert [item.type for item in answer.output].count("mcp_call") == 1
    assert answer.status == "completed"


async def test_calls_beyond_the_limit_are_ignored_also_within_one_answer(mesh: Mesh) -> None:
    answer = await ask(mesh, "work twice", tools=[WORKSHOP], max_tool_calls=1)
    both = await ask(mesh, "work twice", tools=[WORKSHOP], max_tool_calls=2)

    calls = [json.loads(item.arguments) for item in answer.output if item.type == "mcp_call"]
    assert calls == [{"steps": 1}]
    assert (answer.status, answer.output[-1].type) == ("completed", "message")
    assert [item.type for item in both.output].count("mcp_call") == 2


async def test_a_deleted_response_is_gone(mesh: Mesh) -> None:
    answer = await ask(mesh, "hello")
    await mesh.openai.responses.delete(answer.id)

    with pytest.raises(APIStatusError) as caught:
        await mesh.openai.responses.retrieve(answer.id)
    assert caught.value.status_code == 404


async def test_what_is_another_keys_or_not_stored_is_not_found(mesh: Mesh) -> None:
    mine = await ask(mesh, "hello")
    passing = await ask(mesh, "hello", store=False)

    for path, key in ((mine.id, OTHER_KEY), (passing.id, KEY), ("resp_none", KEY), ("nonsense", KEY)):
        answer = await raw(mesh, f"/v1/responses/{path}", key=key)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "response_not_found")


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"input": []}, "input"),
        ({"input": [{"type": "image_generation_call"}]}, "input[0]"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
            "input[0].content[0].type",
        ),
        ({"tools": [{"type": "web_search"}]}, "tools[0]"),
        ({"tools": [{"type": "mcp", "server_label": "nowhere"}]}, "tools[0].server_label"),
        ({"tools": [{"type": "mcp", "server_label": "x", "server_url": "https://example.com"}]}, "tools[0]"),
        ({"tools": [{**WORKSHOP, "tunnel_id": "t"}]}, "tools[0]"),
        ({"tools": [{**WORKSHOP, "allowed_tools": {"read_only": True}}]}, "tools[0].allowed_tools.read_only"),
        (
            {"tools": [{**WORKSHOP, "require_approval": {"always": {"read_only": False}}}]},
            "tools[0].require_approval.always.read_only",
        ),
        ({"tools": [{**WORKSHOP, "allowed_tools": ["fly"]}]}, "tools[0].allowed_tools"),
        ({"tools": [FUNCTION, FUNCTION]}, "tools"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format"),
        ({"input": [{"type": "mcp_approval_response", "approval_request_id": "nonsense", "approve": True}]}, "input"),
        ({"input": [{"type": "mcp_approval_response", "approval_request_id": "mcpr_no-c", "approve": True}]}, "input"),
        ({"include": ["file_search_call.results"]}, "include[0]"),
        ({"previous_response_id": "resp_none"}, "previous_response_id"),
        ({"background": True, "store": False}, "store"),
        ({"temperature": "hot"}, "temperature"),
    ],
)
async def test_what_is_wrong_is_refused_with_its_place(mesh: Mesh, wrong: dict[str, Any], param: str | None) -> None:
    answer = await raw(mesh, "/v1/responses", "POST", **{"model": "scripted", "input": "hello", **wrong})

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


@pytest.mark.parametrize(
    "wrong",
    [
        {"previous_response_id": "resp_" + "x" * 100},
        {"input": [{"type": "item_reference", "id": "x" * 128}]},
        {"tools": [{"type": "mcp", "server_label": "x" * 128}]},
    ],
)
async def test_a_long_name_is_shown_again_in_part(mesh: Mesh, wrong: dict[str, Any]) -> None:
    answer = await raw(mesh, "/v1/responses", "POST", **{"model": "scripted", "input": "hello", **wrong})

    assert answer.status_code in {400, 404}
    assert "x" * 50 in answer.json()["error"]["message"]
    assert "x" * 65 not in answer.json()["error"]["message"]


async def test_a_reader_who_leaves_before_the_end_stops_the_run_but_not_in_the_background(mesh: Mesh) -> None:
    names = []
    for background in (False, True):
        async with httpx2.AsyncClient(timeout=30, headers={"authorization": f"Bearer {KEY}"}) as http:
            body = {"model": "scripted", "input": "slow", "stream": True, "background": background}
            async with http.stream("POST", f"{mesh.url}/v1/responses", json=body) as response:
                lines = cast("AsyncGenerator[str, None]", response.aiter_lines())
                async with aclosing(lines):
                    async for line in lines:
                        if "output_text.delta" in line:
                            break
            names.append("resp_" + response.headers["x-run-id"].removeprefix("run_"))

    async def are_over() -> bool:
        statuses = [(await mesh.openai.responses.retrieve(name)).status for name in names]
        return not {"queued", "in_progress"} & set(statuses)

    await until(are_over)
    for name, status in zip(names, ("cancelled", "completed"), strict=True):
        assert (await mesh.openai.responses.retrieve(name)).status == status
