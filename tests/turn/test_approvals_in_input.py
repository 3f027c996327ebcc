"""Approvals in the input of responses: those that are waited for, and those that are part of what was said before."""

import time
from typing import Any

import httpx2
import pytest

from tests.turn.mesh import KEY, Mesh

pytestmark = pytest.mark.asyncio(loop_scope="module")

ASKING = {"type": "mcp", "server_label": "workshop", "require_approval": "always"}
USER = {"role": "user", "content": "progress"}
NEW = {"role": "user", "content": "hello"}


async def posted(mesh: Mesh, given: Any, path: str = "/v1/responses", **fields: Any) -> httpx2.Response:
    async with httpx2.AsyncClient(timeout=30, headers={"authorization": f"Bearer {KEY}"}) as http:
        return await http.post(f"{mesh.url}{path}", json={"model": "scripted", "input": given, **fields})


async def questioned(mesh: Mesh, **fields: Any) -> tuple[str, list[Any], Any]:
    """Ask for a call that needs approval; gives the response's id, its output, and the approval."""
    response = (await posted(mesh, [USER], tools=[ASKING], **fields)).json()
    question = response["output"][-1]
    assert question["type"] == "mcp_approval_request"
    approval = {"type": "mcp_approval_response", "approval_request_id": question["id"], "approve": True}
    return response["id"], response["output"], approval


def said(response: httpx2.Response) -> str:
    """Give the text of a response."""
    return "".join(
        part["text"] for item in response.json()["output"] if item["type"] == "message" for part in item["content"]
    )


async def test_an_approval_whose_call_follows_was_given_before_and_what_is_new_is_answered(mesh: Mesh) -> None:
    name, output, approval = await questioned(mesh)
    history = [USER, *output, approval]
    followed = await posted(mesh, history)
    again = await posted(mesh, [*history, *followed.json()["output"], NEW])

    assert said(followed) == "The tool said: done"
    assert followed.json()["id"].startswith(name)
    assert said(again) == "You said: hello"
    assert not again.json()["id"].startswith(name)


async def test_an_approval_whose_call_has_ended_is_no_answer_to_wait_for(mesh: Mesh) -> None:
    name, output, approval = await questioned(mesh)
    followed = await posted(mesh, [approval], previous_response_id=name)
    forgetful = await posted(mesh, [USER, *output, approval, NEW])
    behind = await posted(mesh, [approval, NEW], previous_response_id=followed.json()["id"])

    assert said(forgetful) == said(behind) == "You said: hello"


async def test_only_the_last_of_several_approvals_is_waited_for(mesh: Mesh) -> None:
    _, output, approval = await questioned(mesh)
    history = [USER, *output, approval]
    history += (await posted(mesh, history)).json()["output"]
    second = (await posted(mesh, [*history, USER], tools=[ASKING])).json()
    word = {**approval, "approval_request_id": second["output"][-1]["id"]}
    last = await posted(mesh, [*history, USER, *second["output"], word])

    assert [item["type"] for item in last.json()["output"]] == ["mcp_call", "message"]
    assert last.json()["output"][0]["approval_request_id"] == word["approval_request_id"]


async def test_a_response_behind_an_approval_says_what_it_goes_on_with_and_what_was_answered(mesh: Mesh) -> None:
    names, questions = list[str](), list[str]()
    given: list[Any] = [{"role": "user", "content": "again and again"}]
    for previous in (None, 0, 1):
        place = {} if previous is None else {"previous_response_id": names[previous]}
        response = (await posted(mesh, given, tools=[ASKING], **place)).json()
        question = response["output"][-1]["id"]
        given = [{"type": "mcp_approval_response", "approval_request_id": question, "approve": True, "reason": "fine"}]
        assert response["previous_response_id"] == place.get("previous_response_id")
        names, questions = [*names, response["id"]], [*questions, question]
    retrieved = await mesh.openai.responses.retrieve(names[2])
    stream = await mesh.openai.responses.retrieve(names[2], stream=True)
    created: Any = await anext(aiter(stream))
    await stream.close()
    told = (await mesh.openai.responses.input_items.list(names[2], order="asc")).data
    items = [item.model_dump() for item in told]

    assert retrieved.previous_response_id == created.response.previous_response_id == names[1]
    assert [item["type"] for item in items] == [
        "message",
        *("mcp_approval_request", "mcp_approval_response"),
        *("mcp_call", "mcp_approval_request", "mcp_approval_response"),
    ]
    assert [item["id"] for item in items if item["type"] == "mcp_approval_request"] == questions[:2]
    assert [(items[2]["approve"], items[2]["reason"]), items[5]["approval_request_id"]] == [
        (True, "fine"),
        questions[1],
    ]
    assert len((await mesh.openai.responses.input_items.list(names[0])).data) == 1
    assert len((await mesh.openai.responses.input_items.list(names[1])).data) == 3


@pytest.mark.parametrize("goes_on", ["previous_response_id", "conversation", "nothing"])
@pytest.mark.parametrize("first", ["the approval", "the message"])
async def test_nothing_that_is_said_with_an_approval_is_lost(mesh: Mesh, goes_on: str, first: str) -> None:
    conversation = (await posted(mesh, None, "/v1/conversations")).json()["id"]
    place = {"conversation": conversation} if goes_on == "conversation" else {}
    name, output, approval = await questioned(mesh, **place)
    if goes_on == "previous_response_id":
        place = {"previous_response_id": name}
    both = [approval, NEW] if first == "the approval" else [NEW, approval]
    refused = await posted(mesh, both if place else [*output, *both], **place)
    told = refused.json()["error"]
    approved = await posted(mesh, [approval], **place)

    assert (refused.status_code, told["param"]) == (400, "input")
    assert told["message"] == "Approvals come alone; say the rest with the next request."
    assert said(approved) == "The tool said: done"


async def test_an_approval_alone_may_be_sent_again(mesh: Mesh) -> None:
    name, _, approval = await questioned(mesh)
    first = await posted(mesh, [approval], previous_response_id=name)
    again = await posted(mesh, [approval], previous_response_id=name)

    assert again.json()["output"] == first.json()["output"]


async def test_a_run_has_no_responses_but_those_that_were_asked_for(mesh: Mesh) -> None:
    """Every other number behind its id is made up: events in the middle of tools, and those that will never come."""
    name, _, approval = await questioned(mesh)
    second = (await posted(mesh, [approval], previous_response_id=name)).json()
    place = int(second["id"].rpartition("-")[2])
    others = [*(number for number in range(place + 12) if number != place), 999_999]

    async with httpx2.AsyncClient(timeout=30, headers={"authorization": f"Bearer {KEY}"}) as http:
        there = await http.get(f"{mesh.url}/v1/responses/{second['id']}")
        made_up = [await http.get(f"{mesh.url}/v1/responses/{name}-{number}") for number in others]
        items = await http.get(f"{mesh.url}/v1/responses/{name}-999999/input_items")
        deleted = await http.delete(f"{mesh.url}/v1/responses/{name}-999999")
    behind = await posted(mesh, "hello", previous_response_id=f"{name}-999999")

    assert there.json() == second
    assert {each.status_code for each in (*made_up, items, deleted)} == {404}
    assert (behind.status_code, behind.json()["error"]["code"]) == (400, "previous_response_not_found")


async def test_a_response_says_when_it_was_completed(mesh: Mesh) -> None:
    """Also one that ended with a question; it is the same time wherever it is seen."""
    begin = int(time.time())
    name, _, approval = await questioned(mesh)
    answer = (await posted(mesh, [approval], previous_response_id=name)).json()
    cut = (await posted(mesh, "one two three", max_output_tokens=1)).json()
    async with httpx2.AsyncClient(timeout=30, headers={"authorization": f"Bearer {KEY}"}) as http:
        asked, again = [(await http.get(f"{mesh.url}/v1/responses/{each}")).json() for each in (name, answer["id"])]

    assert begin <= asked["created_at"] <= asked["completed_at"] <= answer["completed_at"] <= time.time()
    assert again == answer
    assert (cut["status"], cut["completed_at"]) == ("incomplete", None)
