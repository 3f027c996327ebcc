"""The log of a run, watched as it is."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from tests.turn.grammar import without_comments
from tests.turn.mesh import KEY, OTHER_KEY, Mesh

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(timeout=30, headers={"authorization": f"Bearer {KEY}"}) as client:
        yield client


async def asked(mesh: Mesh, http: httpx2.AsyncClient, text: str, **more: Any) -> str:
    """Have a request answered, and name its run."""
    body = {"model": "scripted", "messages": [{"role": "user", "content": text}], **more}
    response = await http.post(f"{mesh.url}/v1/chat/completions", json=body)
    return response.headers["x-run-id"]


def events_of(stream: str) -> list[dict[str, Any]]:
    """Read a stream; each event has its number as its id, and its name twice."""
    found = []
    for block in without_comments(stream).split("\n\n")[:-1]:
        number, name, data = (line.split(": ", 1)[1] for line in block.split("\n"))
        event = json.loads(data)
        assert (number.split(":")[1], name) == (str(event["seq"]), event["event"])
        found.append(event)
    return found


async def test_everything_that_happened_is_shown_in_order(mesh: Mesh, http: httpx2.AsyncClient) -> None:
    run = await asked(mesh, http, "meet", metadata={"tools": "all"})
    events = events_of((await http.get(f"{mesh.url}/v1/runs/{run}/events")).text)

    kinds = [event["event"] for event in events]
    assert kinds[0] == "model.started"
    assert [kinds.count(kind) for kind in ("tool_call", "tool.started", "tool.finished")] == [0, 2, 2]
    assert (kinds[-1], events[-1]["status"], events[-1]["error"]) == ("run.finished", "succeeded", None)
    assert [event["seq"] for event in events] == sorted({event["seq"] for event in events})
    assert {event["round"] for event in events if event["event"] == "text"} == {1}


async def test_watching_goes_on_behind_what_was_seen(mesh: Mesh, http: httpx2.AsyncClient) -> None:
    run = await asked(mesh, http, "think")
    whole = without_comments((await http.get(f"{mesh.url}/v1/runs/{run}/events")).text)
    blocks = whole.split("\n\n")
    for place, event in enumerate(events_of(whole)[:-1]):
        behind = "\n\n".join(blocks[place + 1 :])
        by_query = await http.get(f"{mesh.url}/v1/runs/{run}/events", params={"starting_after": event["seq"]})
        by_header = await http.get(
            f"{mesh.url}/v1/runs/{run}/events", headers={"last-event-id": f"{run}:{event['seq']}"}
        )
        assert without_comments(by_query.text) == without_comments(by_header.text) == behind


async def test_a_run_that_failed_says_why(mesh: Mesh, http: httpx2.AsyncClient) -> None:
    run = await asked(mesh, http, "break")
    events = events_of((await http.get(f"{mesh.url}/v1/runs/{run}/events")).text)

    assert (events[-1]["event"], events[-1]["status"]) == ("run.finished", "failed")
    assert events[-1]["error"]["code"]


REFUSED = [
    ({"headers": {"last-event-id": "one"}}, 400, "invalid_event_id"),
    ({"params": {"starting_after": 999999}}, 400, "event_id_ahead"),
    ({"params": {"starting_after": -1}}, 400, "invalid_event_id"),
    ({"headers": {"authorization": f"Bearer {OTHER_KEY}"}}, 404, "run_not_found"),
]


@pytest.mark.parametrize(("asking", "status", "code"), REFUSED)
async def test_what_cannot_be_watched_is_refused(
    mesh: Mesh, http: httpx2.AsyncClient, asking: dict[str, Any], status: int, code: str
) -> None:
    run = await asked(mesh, http, "hello")
    answer = await http.get(f"{mesh.url}/v1/runs/{run}/events", **asking)

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
