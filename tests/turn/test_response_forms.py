"""Responses and their events as they are on the wire: which fields they have, which must hold something."""

import json
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from tests.turn.grammar import without_comments
from tests.turn.mesh import KEY, Mesh

pytestmark = pytest.mark.asyncio(loop_scope="module")

RESPONSES = "/v1/responses"
FILLED = """id object created_at status model output metadata reasoning tools tool_choice truncation parallel_tool_calls
    text top_p temperature presence_penalty frequency_penalty top_logprobs store background service_tier"""
"""What every response has, and what is never null there."""
NULLABLE = """completed_at error incomplete_details instructions max_output_tokens max_tool_calls previous_response_id
    prompt_cache_key safety_identifier usage"""
"""What every response has, if only as null; these and the others are the 31 that Open Responses requires."""
EVENTS = {
    "response.created": "response",
    "response.in_progress": "response",
    "response.completed": "response",
    "response.incomplete": "response",
    "response.failed": "response",
    "response.output_item.added": "output_index item",
    "response.output_item.done": "output_index item",
    "response.content_part.added": "item_id output_index content_index part",
    "response.content_part.done": "item_id output_index content_index part",
    "response.output_text.delta": "item_id output_index content_index delta logprobs",
    "response.output_text.done": "item_id output_index content_index text logprobs",
    "response.reasoning_text.delta": "item_id output_index content_index delta",
    "response.reasoning_text.done": "item_id output_index content_index text",
    "response.function_call_arguments.delta": "item_id output_index delta",
    "response.function_call_arguments.done": "item_id name output_index arguments",
    "response.mcp_list_tools.in_progress": "item_id output_index",
    "response.mcp_list_tools.completed": "item_id output_index",
    "response.mcp_call.in_progress": "item_id output_index",
    "response.mcp_call.completed": "item_id output_index",
    "response.mcp_call.failed": "item_id output_index",
    "response.mcp_call_arguments.delta": "item_id output_index delta",
    "response.mcp_call_arguments.done": "item_id output_index arguments",
}
"""The fields of OpenAI's events, besides `type` and `sequence_number`."""
PROGRESS = {"progress", "total", "message"}
"""What clients ignore in an event of a call that is under way."""
FUNCTION = {"type": "function", "name": "mine", "parameters": {"type": "object"}}
WORKSHOP = {"type": "mcp", "server_label": "workshop", "allowed_tools": ["work", "fail"]}
STREAMS: list[dict[str, Any]] = [
    {"input": "think"},
    {"input": "both", "tools": [FUNCTION, WORKSHOP]},
    {"input": "progress", "tools": [WORKSHOP]},
    {"input": "fail", "tools": [WORKSHOP]},
    {"input": "one two three", "max_output_tokens": 2},
    {"input": "break"},
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http(mesh: Mesh) -> AsyncIterator[httpx2.AsyncClient]:
    headers = {"authorization": f"Bearer {KEY}"}
    async with httpx2.AsyncClient(base_url=mesh.url, timeout=30, headers=headers) as client:
        yield client


async def ask(http: httpx2.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await http.post(RESPONSES, json={"model": "scripted", **body})
    assert answer.status_code == 200, answer.text
    response: dict[str, Any] = answer.json()
    return response


async def stream(http: httpx2.AsyncClient, **body: Any) -> list[dict[str, Any]]:
    answer = await http.post(RESPONSES, json={"model": "scripted", "stream": True, **body})
    return list(events_of(answer.text))


def events_of(text: str) -> Iterator[dict[str, Any]]:
    for block in without_comments(text).split("\n\n"):
        name, _, data = block.partition("\ndata: ")
        if data:
            event = json.loads(data)
            assert name == f"event: {event['type']}"
            yield event


def types(response: dict[str, Any]) -> list[str]:
    return [item["type"] for item in response["output"]]


def require_whole(response: dict[str, Any]) -> None:
    filled, nullable = set(FILLED.split()), set(NULLABLE.split())
    assert len(filled | nullable) == 31
    assert not (filled | nullable) - response.keys()
    assert not [name for name in filled if response[name] is None]


@pytest.mark.parametrize("body", STREAMS, ids=[body["input"] for body in STREAMS])
async def test_a_response_is_whole_from_its_first_event_to_its_last(
    http: httpx2.AsyncClient, body: dict[str, Any]
) -> None:
    events = await stream(http, **body)
    shown = [event["response"] for event in events if "response" in event]
    again = (await http.get(f"{RESPONSES}/{shown[0]['id']}")).json()

    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    assert len(shown) == 3
    for response in (*shown, again):
        require_whole(response)
    assert again == shown[-1]


async def test_a_response_is_whole_where_nothing_was_said_but_the_input(http: httpx2.AsyncClient) -> None:
    response = await ask(http, input="hello")

    require_whole(response)
    assert response["usage"]["input_tokens_details"]["cached_tokens"] >= 0
    assert response["usage"]["output_tokens_details"]["reasoning_tokens"] == 0


async def test_a_response_is_whole_while_it_is_made_and_when_it_was_stopped(http: httpx2.AsyncClient) -> None:
    begun = await ask(http, input="hang", background=True)
    under_way = (await http.get(f"{RESPONSES}/{begun['id']}")).json()
    stopped = (await http.post(f"{RESPONSES}/{begun['id']}/cancel")).json()

    for response in (begun, under_way, stopped):
        require_whole(response)
    assert (under_way["status"], stopped["status"]) == ("in_progress", "cancelled")


async def test_each_event_has_openais_fields_and_no_others(http: httpx2.AsyncClient) -> None:
    seen = defaultdict(set)
    for body in STREAMS:
        for event in await stream(http, **body):
            fields = event.keys() - {"type", "sequence_number"}
            if event["type"] == "response.mcp_call.in_progress":
                fields -= PROGRESS
            assert "sequence_number" in event
            seen[event["type"]].add(" ".join(sorted(fields)))

    assert seen == {name: {" ".join(sorted(fields.split()))} for name, fields in EVENTS.items()}


@pytest.mark.parametrize("tools", [[FUNCTION], [FUNCTION, WORKSHOP]], ids=["a function", "with the mesh's"])
async def test_the_name_of_a_function_stands_at_the_end_of_its_arguments(
    http: httpx2.AsyncClient, tools: list[dict[str, Any]]
) -> None:
    events = await stream(http, input="only mine", tools=tools)
    [done] = [event for event in events if event["type"] == "response.function_call_arguments.done"]
    item = events[-1]["response"]["output"][-1]

    assert (done["name"], done["arguments"]) == ("mine", item["arguments"])
    assert done["item_id"] == item["id"]


@pytest.mark.parametrize(("parallel", "calls"), [(True, 2), (False, 1), (None, 2)])
async def test_calls_come_one_at_a_time_where_they_are_not_to_be_parallel(
    http: httpx2.AsyncClient, parallel: bool | None, calls: int
) -> None:
    body: dict[str, Any] = {} if parallel is None else {"parallel_tool_calls": parallel}
    response = await ask(http, input="work twice", tools=[WORKSHOP], **body)
    chat = await http.post(
        "/v1/chat/completions",
        json={
            "messages": [{"role": "user", "content": "work twice"}],
            "tools": [{"type": "function", "function": {"name": "workshop__work"}}],
            **body,
        },
    )

    assert types(response).count("mcp_call") == calls
    assert response["parallel_tool_calls"] is (parallel is not False)
    assert len(chat.json()["choices"][0]["message"]["tool_calls"]) == calls


async def test_the_text_follows_a_schema(http: httpx2.AsyncClient) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    form = {"type": "json_schema", "name": "n", "schema": schema, "strict": True}
    response = await ask(http, input="hello", text={"format": form})

    assert isinstance(json.loads(response["output"][0]["content"][0]["text"])["a"], int)
    assert response["text"] == {"format": form}


async def test_a_schema_that_cannot_be_guaranteed_is_refused(http: httpx2.AsyncClient) -> None:
    form = {"type": "json_schema", "name": "n", "schema": {"type": "wish"}, "strict": True}
    answer = await http.post(RESPONSES, json={"input": "hello", "text": {"format": form}})

    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("effort", "thinks"), [("none", False), ("minimal", False), ("high", True), ("max", True), (None, True)]
)
async def test_the_effort_says_whether_the_model_thinks(
    http: httpx2.AsyncClient, effort: str | None, thinks: bool
) -> None:
    response = await ask(http, input="think", reasoning={"effort": effort})

    assert types(response) == (["reasoning", "message"] if thinks else ["message"])
    assert response["reasoning"].get("effort") == effort
    assert (response["usage"]["output_tokens_details"]["reasoning_tokens"] > 0) is thinks


async def test_probabilities_are_included_where_they_are_asked_for(http: httpx2.AsyncClient) -> None:
    with_them = await ask(http, input="hello", include=["message.output_text.logprobs"])
    without = await ask(http, input="hello")
    events = await stream(http, input="hello", include=["message.output_text.logprobs"])

    [part], [plain] = with_them["output"][0]["content"], without["output"][0]["content"]
    assert "".join(token["token"] for token in part["logprobs"]) == part["text"] == plain["text"]
    assert all(token.keys() == {"token", "logprob", "bytes", "top_logprobs"} for token in part["logprobs"])
    assert plain["logprobs"] == []
    told = [event["logprobs"] for event in events if event["type"] == "response.output_text.delta"]
    assert [token for each in told for token in each] == part["logprobs"]


async def test_the_time_that_models_were_at_work_stands_in_a_header(http: httpx2.AsyncClient) -> None:
    said = {"messages": [{"role": "user", "content": "slow"}]}
    answer = await http.post("/v1/chat/completions", json=said)
    working, whole = (int(answer.headers[f"x-{name}-time-ms"]) for name in ("processing", "total"))

    assert 300 <= working <= whole  # ten tokens, 60 ms apart
