"""What a request says about the calling of its tools, in all forms that OpenAI has, over the real units."""

import os
from typing import Any

import httpx2
import pytest

from tests.turn.mesh import KEY, Mesh

pytestmark = pytest.mark.asyncio(loop_scope="module")
CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
ANY = {"type": "object", "properties": {}}
PID = {"type": "mcp", "server_label": "workshop", "allowed_tools": ["pid"]}
WORKSHOP = {"type": "mcp", "server_label": "workshop"}


async def post(mesh: Mesh, path: str, **body: Any) -> httpx2.Response:
    async with httpx2.AsyncClient(timeout=30, headers={"authorization": f"Bearer {KEY}"}) as http:
        return await http.post(f"{mesh.url}{path}", json={"model": "scripted", **body})


async def chat(mesh: Mesh, text: str, *names: str, **body: Any) -> dict[str, Any]:
    """Ask with functions of these names; gives the answer's message."""
    tools = [{"type": "function", "function": {"name": name, "parameters": ANY}} for name in names]
    answer = await post(mesh, CHAT, messages=[{"role": "user", "content": text}], tools=tools, **body)
    assert answer.status_code == 200, answer.text
    message: dict[str, Any] = answer.json()["choices"][0]["message"]
    return message


async def respond(mesh: Mesh, text: str, **body: Any) -> list[dict[str, Any]]:
    """Ask for a response; gives its output without the lists of tools."""
    answer = await post(mesh, RESPONSES, input=text, **body)
    assert answer.status_code == 200, answer.text
    return [item for item in answer.json()["output"] if item["type"] != "mcp_list_tools"]


def allowed(mode: str, *names: str) -> dict[str, Any]:
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}


def function(name: str) -> dict[str, Any]:
    return {"type": "function", "name": name, "parameters": ANY, "strict": False}


async def test_a_call_is_required_of_the_allowed_functions(mesh: Mesh) -> None:
    message = await chat(mesh, "hello", "mine", "other", tool_choice=allowed("required", "other"))

    assert [call["function"]["name"] for call in message["tool_calls"]] == ["other"]


async def test_a_function_that_is_not_allowed_is_never_handed_to_the_client(mesh: Mesh) -> None:
    free = await chat(mesh, "only mine", "mine", "other", tool_choice=allowed("auto", "mine"))
    confined = await chat(mesh, "only mine", "mine", "other", tool_choice=allowed("auto", "other"))

    assert [call["function"]["name"] for call in free["tool_calls"]] == ["mine"]
    assert "tool_calls" not in confined
    assert "There is no such tool" in confined["content"]


async def test_a_tool_of_the_mesh_is_called_only_where_it_is_allowed(mesh: Mesh) -> None:
    metadata = {"tools": "all"}
    called = await chat(mesh, "progress", metadata=metadata, tool_choice=allowed("auto", "workshop__work"))
    confined = await chat(mesh, "progress", metadata=metadata, tool_choice=allowed("auto", "workshop__pid"))
    forced = await chat(mesh, "hello", "mine", metadata=metadata, tool_choice=allowed("required", "workshop__pid"))

    assert called["content"] == "The tool said: done"
    assert "There is no such tool" in confined["content"]
    assert forced["content"].removeprefix("The tool said: ").isdecimal()


@pytest.mark.parametrize(
    "named", [{"type": "mcp", "server_label": "workshop"}, {"type": "mcp", "server_label": "workshop", "name": "pid"}]
)
async def test_a_response_is_confined_to_a_server_or_one_of_its_tools(mesh: Mesh, named: dict[str, Any]) -> None:
    choice = {"type": "allowed_tools", "mode": "required", "tools": [named]}
    output = await respond(mesh, "hello", tools=[function("mine"), PID], tool_choice=choice)

    assert [(item["type"], item.get("name")) for item in output] == [("mcp_call", "pid"), ("message", None)]


async def test_a_response_is_confined_to_functions(mesh: Mesh) -> None:
    choice = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "other"}]}
    output = await respond(mesh, "hello", tools=[function("mine"), function("other"), PID], tool_choice=choice)

    assert [(item["type"], item["name"]) for item in output] == [("function_call", "other")]


async def test_what_is_not_allowed_is_not_called_in_later_rounds_either(mesh: Mesh) -> None:
    choice = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp", "server_label": "workshop"}]}
    tools = [function("mine"), {**WORKSHOP, "allowed_tools": ["work"]}]
    output = await respond(mesh, "both", tools=tools, tool_choice=choice)

    assert "function_call" not in {item["type"] for item in output}
    assert [item["output"] for item in output if item.get("name") == "work"] == ["done"]


async def test_some_tool_of_a_server_must_be_called_once(mesh: Mesh) -> None:
    tools = [function("mine"), PID]
    output = await respond(mesh, "hello", tools=tools, tool_choice={"type": "mcp", "server_label": "workshop"})

    assert [(item["type"], item.get("name")) for item in output] == [("mcp_call", "pid"), ("message", None)]
    assert int(output[0]["output"]) != os.getpid()


async def test_a_server_whose_tools_a_control_offers_can_be_named_as_well(mesh: Mesh) -> None:
    choice = {"type": "mcp", "server_label": "workshop"}
    output = await respond(mesh, "hello", metadata={"tools": "workshop__pid"}, tool_choice=choice)

    assert [item.get("name") for item in output] == ["pid", None]


@pytest.mark.parametrize("choice", ["required", {"type": "function", "name": "other"}])
async def test_a_response_calls_what_it_must(mesh: Mesh, choice: Any) -> None:
    output = await respond(mesh, "hello", tools=[function("other")], tool_choice=choice)

    assert [(item["type"], item["name"]) for item in output] == [("function_call", "other")]


async def test_a_response_calls_nothing_that_it_must_not(mesh: Mesh) -> None:
    free, kept = [
        await respond(mesh, "only mine", tools=[function("mine")], tool_choice=choice) for choice in ("auto", "none")
    ]

    assert [item["type"] for item in free] == ["function_call"]
    assert kept == []


async def test_what_a_response_was_confined_to_is_repeated(mesh: Mesh) -> None:
    choice = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "other"}]}
    answer = await post(mesh, RESPONSES, input="hello", tools=[function("mine"), function("other")], tool_choice=choice)

    assert answer.json()["tool_choice"] == choice
    assert [tool["name"] for tool in answer.json()["tools"]] == ["mine", "other"]


@pytest.mark.parametrize(
    ("choice", "place"),
    [
        ({"type": "mcp", "server_label": "nowhere"}, "tool_choice.server_label"),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp", "server_label": "nowhere"}]},
            "tool_choice.tools[0].server_label",
        ),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{**WORKSHOP, "name": "work"}]},
            "tool_choice.tools[0].name",
        ),
    ],
)
async def test_a_server_or_tool_that_is_not_the_requests_is_refused(mesh: Mesh, choice: Any, place: str) -> None:
    answer = await post(mesh, RESPONSES, input="hello", tools=[PID], tool_choice=choice)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, place)


async def test_a_tool_that_nobody_has_is_refused_also_where_all_are_offered(mesh: Mesh) -> None:
    choice = allowed("auto", "workshop__fly")
    answer = await post(
        mesh,
        CHAT,
        messages=[{"role": "user", "content": "hello"}],
        metadata={"tools": "all"},
        tool_choice=choice,
    )

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "tool_choice")
