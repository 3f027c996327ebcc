"""Results of the client's own functions: each answers a call, wherever that was made, or is refused."""

from typing import Any

import httpx2
import pytest

from tests.turn.mesh import KEY, Mesh

pytestmark = pytest.mark.asyncio(loop_scope="module")

RESPONSES = "/v1/responses"
MINE = {"type": "function", "name": "mine", "parameters": {"type": "object"}}
FUNCTION = {"type": "function", "function": {"name": "mine", "parameters": {"type": "object"}}}


async def posted(mesh: Mesh, path: str, **body: Any) -> httpx2.Response:
    async with httpx2.AsyncClient(timeout=30, headers={"authorization": f"Bearer {KEY}"}) as http:
        return await http.post(f"{mesh.url}{path}", json={"model": "scripted", **body})


def output_of(call_id: str) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": "it is done"}


def refusal(response: httpx2.Response) -> tuple[Any, ...]:
    told = response.json()["error"]
    return response.status_code, told and told["code"], told and told["param"]


async def called(mesh: Mesh, **place: Any) -> tuple[str, str]:
    """Let the model call the client's function; gives the response's id and the call's."""
    response = (await posted(mesh, RESPONSES, input="only mine", tools=[MINE], **place)).json()
    return response["id"], response["output"][-1]["call_id"]


@pytest.mark.parametrize("goes_on", ["previous_response_id", "conversation", "thread_key"])
async def test_a_result_in_a_response_answers_a_call_of_what_it_goes_on_with(mesh: Mesh, goes_on: str) -> None:
    conversation = (await posted(mesh, "/v1/conversations")).json()["id"]
    places = {"conversation": {"conversation": conversation}, "thread_key": {"metadata": {"thread_key": "results"}}}
    name, call = await called(mesh, **places.get(goes_on, {}))
    place = places.get(goes_on, {"previous_response_id": name})
    unknown = await posted(mesh, RESPONSES, input=[output_of(call), output_of("never")], **place)
    twice = await posted(mesh, RESPONSES, input=[output_of(call), output_of(call)], **place)
    answered = await posted(mesh, RESPONSES, input=[output_of(call)], **place)
    said = answered.json()["output"][-1]["content"][0]["text"]

    assert refusal(unknown) == refusal(twice) == (400, "tool_call_id_unknown", "input[1].call_id")
    assert said == "The tool said: it is done"


async def test_a_result_answers_no_call_that_was_made_on_another_way(mesh: Mesh) -> None:
    first = (await posted(mesh, RESPONSES, input="hello")).json()["id"]
    _, call = await called(mesh, previous_response_id=first)
    refused = await posted(mesh, RESPONSES, input=[output_of(call)], previous_response_id=first)

    assert refusal(refused) == (400, "tool_call_id_unknown", "input[0].call_id")


async def test_a_result_is_refused_at_its_place_in_the_clients_own_request(mesh: Mesh) -> None:
    thread = {"conversation": (await posted(mesh, "/v1/conversations")).json()["id"]}
    first = (await posted(mesh, RESPONSES, input="hello", **thread)).json()["output"][0]["id"]
    asked = [{"type": "item_reference", "id": first}, {"role": "user", "content": "and"}, output_of("never")]
    direct = await posted(mesh, RESPONSES, input=asked, **thread)
    elsewhere = (await posted(mesh, RESPONSES, input=[_call("kept"), output_of("kept")])).json()["id"]
    kept = (await _listed(mesh, f"{RESPONSES}/{elsewhere}/input_items"))[0]
    referred = await posted(mesh, RESPONSES, input=[asked[1], {"id": kept["id"]}])

    assert kept["type"] == "function_call_output"
    assert refusal(direct) == (400, "tool_call_id_unknown", "input[2].call_id")
    assert refusal(referred) == (400, "tool_call_id_unknown", "input[1].id")


async def test_a_conversation_takes_results_of_calls_that_were_made_in_it(mesh: Mesh) -> None:
    alone = await posted(mesh, "/v1/conversations", items=[_call("c"), output_of("c"), output_of("never")])
    name = (await posted(mesh, "/v1/conversations", items=[_call("before")])).json()["id"]
    path = f"/v1/conversations/{name}/items"
    unknown = await posted(mesh, path, items=[_call("c"), output_of("c"), output_of("never")])
    known = await posted(mesh, path, items=[output_of("before"), _call("c"), output_of("c")])

    assert refusal(alone) == refusal(unknown) == (400, "tool_call_id_unknown", "items[2].call_id")
    assert known.status_code == 200
    assert [item["type"] for item in await _listed(mesh, path)] == [
        "function_call_output",
        "function_call",
        "function_call_output",
        "function_call",
    ]


async def test_a_result_in_a_chat_answers_a_call_of_its_thread(mesh: Mesh) -> None:
    place = {"metadata": {"thread_key": "chat results"}}
    asked = {"messages": [{"role": "user", "content": "only mine"}], "tools": [FUNCTION], **place}
    early = await posted(mesh, "/v1/chat/completions", messages=[_message("never")], **place)
    message = (await posted(mesh, "/v1/chat/completions", **asked)).json()["choices"][0]["message"]
    call = message["tool_calls"][0]["id"]
    unknown = await posted(mesh, "/v1/chat/completions", messages=[_message(call), _message("never")], **place)
    answers = [await posted(mesh, "/v1/chat/completions", messages=[_message(call)], **place) for _ in range(2)]

    assert refusal(early) == (400, "tool_call_id_unknown", "messages[0].tool_call_id")
    assert refusal(unknown) == (400, "tool_call_id_unknown", "messages[1].tool_call_id")
    assert [answer.status_code for answer in answers] == [200, 200], "what is sent again is not refused for that"
    assert answers[0].json()["choices"][0]["message"]["content"] == "The tool said: it is done"


@pytest.mark.parametrize("path", [RESPONSES, "/v1/chat/completions"])
async def test_a_call_that_nobody_answered_has_an_unknown_outcome_until_its_result_comes(mesh: Mesh, path: str) -> None:
    place = {"metadata": {"thread_key": f"open call {path}"}}
    call = {"id": "open", "type": "function", "function": {"name": "mine", "arguments": "{}"}}
    user: Any = {"role": "user", "content": "hello"}
    if path == RESPONSES:
        function_call = {"type": "function_call", "call_id": "open", "name": "mine", "arguments": "{}"}
        first, second = {"input": [user, function_call, user]}, {"input": [output_of("open")]}
    else:
        asked = {"role": "assistant", "content": None, "tool_calls": [call]}
        first, second = {"messages": [user, asked, user]}, {"messages": [_message("open")]}
    response = await posted(mesh, path, **first, **place)
    thread = response.headers["x-thread-id"]
    unknown = await mesh.window(thread)
    answered = await posted(mesh, path, **second, **place)

    assert (response.status_code, answered.status_code) == (200, 200)
    assert [text for text in unknown if "outcome is unknown" in text] == unknown[2:3]
    assert (await mesh.window(thread))[:4] == ["hello", "", "it is done", "hello"]


async def test_a_call_is_found_however_much_was_said_since(mesh: Mesh) -> None:
    place = {"metadata": {"thread_key": "far results"}}
    _, call = await called(mesh, **place)
    said = [{"role": "user", "content": str(number)} for number in range(250)]
    await posted(mesh, RESPONSES, input=said, **place)
    answered = await posted(mesh, RESPONSES, input=[output_of(call)], **place)

    assert answered.status_code == 200


def _message(call_id: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": "it is done"}


def _call(call_id: str) -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": "mine", "arguments": "{}"}


async def _listed(mesh: Mesh, path: str) -> list[dict[str, Any]]:
    async with httpx2.AsyncClient(timeout=30, headers={"authorization": f"Bearer {KEY}"}) as http:
        return list((await http.get(f"{mesh.url}{path}")).json()["data"])
