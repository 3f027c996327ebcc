"""Responses over WebSocket, as OpenAI's own client asks for them."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from openai import AsyncOpenAI
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.turn.mesh import KEY, OTHER_KEY, Mesh, until
from threadmesh.api.context.v1 import runs_service_pb2 as pb

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def answered(connection: Any, **asked: Any) -> list[Any]:
    """Ask for a response and give its events, up to the one that ends it."""
    await connection.send({"type": "response.create", "model": "scripted", **asked})
    return await ended(connection)


async def ended(connection: Any) -> list[Any]:
    events = []
    async for event in connection:
        events.append(event)
        if event.type in {"response.completed", "response.failed", "response.incomplete", "error"}:
            return events
    return events


@asynccontextmanager
async def raw(mesh: Mesh, key: str = KEY) -> AsyncIterator[Any]:
    url = mesh.url.replace("http", "ws") + "/v1/responses"
    async with connect(url, additional_headers={"authorization": f"Bearer {key}"}) as socket:
        yield socket


async def test_the_events_are_those_of_a_stream(mesh: Mesh) -> None:
    async with mesh.openai.responses.connect() as connection:
        events = await answered(connection, input="hello")
    stream = await mesh.openai.responses.create(model="scripted", input="hello", stream=True)

    assert [event.type for event in events] == [event.type async for event in stream]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].response.output[0].content[0].text == "You said: hello"


async def test_a_conversation_goes_on_over_one_connection(mesh: Mesh) -> None:
    async with mesh.openai.responses.connect() as connection:
        first = (await answered(connection, input="one"))[-1].response
        second = (await answered(connection, input="two", previous_response_id=first.id))[-1].response
    listed = [item async for item in mesh.openai.responses.input_items.list(second.id, order="asc")]
    said: Any = [item.content[0].text for item in listed]  # type: ignore[union-attr,index]  # messages with texts

    assert second.previous_response_id == first.id
    assert said == ["one", "You said: one", "two"]


async def test_what_is_not_stored_can_be_gone_on_with_on_its_connection_only(mesh: Mesh) -> None:
    async with mesh.openai.responses.connect() as connection:
        first = (await answered(connection, input="one", store=False))[-1].response
        second = await answered(connection, input="two", store=False, previous_response_id=first.id)
    async with mesh.openai.responses.connect() as connection:
        (refused,) = await answered(connection, input="two", previous_response_id=first.id)

    assert second[-1].type == "response.completed"
    assert (refused.type, refused.status, refused.error.code) == ("error", 400, "previous_response_not_found")


async def test_responses_come_one_after_the_other_in_their_lanes(mesh: Mesh) -> None:
    async with raw(mesh) as socket:
        for lane in ("a", "b"):
            asked = {"type": "response.create", "model": "scripted", "input": "slow", "stream_id": lane}
            await socket.send(json.dumps(asked))
        lanes: list[str] = []
        while lanes.count("done") < 2:
            event = json.loads(await socket.recv())
            lanes.append(event["stream_id"])
            lanes += ["done"] if event["type"] == "response.completed" else []

    assert lanes.index("b") > lanes.index("done") > lanes.index("a")
    assert "a" not in lanes[lanes.index("done") :]


@pytest.mark.parametrize(
    ("message", "code", "param"),
    [
        ("{", "invalid_json", None),
        ('{"type": "response.steer"}', "invalid_value", "type"),
        ('{"type": "response.create"}', "missing_required_parameter", "input"),
        ('{"type": "response.create", "input": "a", "background": true}', "unsupported_parameter", "background"),
        ('{"type": "response.create", "input": "a", "generate": false}', "unsupported_parameter", "generate"),
        ('{"type": "response.create", "input": "a", "stream_id": "ü"}', "invalid_argument", "stream_id"),
        ('{"type": "response.create", "input": "a", "model": "nobody"}', "model_not_found", None),
    ],
)
async def test_a_wrong_message_is_an_error_and_the_connection_goes_on(
    mesh: Mesh, message: str, code: str, param: str | None
) -> None:
    async with raw(mesh) as socket:
        await socket.send(message)
        refused = json.loads(await socket.recv())
        await socket.send('{"type": "response.create", "input": "hello"}')
        created = json.loads(await socket.recv())

    assert (refused["type"], refused["error"]["code"], refused["error"]["param"]) == ("error", code, param)
    assert 400 <= refused["status"] < 500
    assert created["type"] == "response.created"


@pytest.mark.parametrize(("requests", "padding"), [(18, 0), (4, 2_000_000)], ids=["many", "long"])
async def test_more_than_some_waiting_requests_are_refused(mesh: Mesh, requests: int, padding: int) -> None:
    hang = {"type": "response.create", "input": "hang", "unknown": "x" * padding}
    async with raw(mesh) as socket:
        for number in range(requests):
            await socket.send(json.dumps({**hang, "stream_id": f"lane-{number}"}))
        while (event := json.loads(await socket.recv()))["type"] != "error":
            pass

    assert (event["status"], event["error"]["code"]) == (429, "too_many_waiting")
    # The one before the last where it comes before the first one is being answered.
    assert event["stream_id"] in {f"lane-{requests - 1}", f"lane-{requests - 2}"}


async def test_the_first_event_names_what_was_ignored(mesh: Mesh) -> None:
    async with mesh.openai.responses.connect() as connection:
        events = await answered(connection, input="hello", zeal=1)
        (refused,) = await answered(connection, input="hello", zeal=1, model="nobody")

    assert events[0].headers["x-threadmesh-ignored"] == "zeal"
    assert not any("headers" in event.model_dump() for event in events[1:])
    assert refused.model_dump()["headers"]["x-threadmesh-ignored"] == "zeal"


async def test_leaving_stops_the_response(mesh: Mesh) -> None:
    async with mesh.openai.responses.connect() as connection:
        await connection.send({"type": "response.create", "model": "scripted", "input": "hang"})
        created: Any = await connection.recv()
    run_id = "run_" + created.response.id.removeprefix("resp_")

    async def is_cancelled() -> bool:
        state: int = (await mesh.runs.GetRun(pb.GetRunRequest(run_id=run_id))).run.state
        return state == pb.RUN_STATE_CANCELLED

    await until(is_cancelled)


async def test_anothers_response_cannot_be_gone_on_with(mesh: Mesh) -> None:
    async with mesh.openai.responses.connect() as connection:
        first = (await answered(connection, input="secret"))[-1].response
    other = AsyncOpenAI(base_url=f"{mesh.url}/v1", api_key=OTHER_KEY)
    async with other.responses.connect() as connection:
        (refused,) = await answered(connection, input="more", previous_response_id=first.id)

    assert refused.error.code == "previous_response_not_found"


async def test_nobody_connects_without_a_key(mesh: Mesh) -> None:
    with pytest.raises(InvalidStatus) as caught:
        async with raw(mesh, key="wrong"):
            pass

    assert caught.value.response.status_code == 401
    assert json.loads(caught.value.response.body or b"{}")["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize(("origin", "may"), [("http://evil.example", False), ("null", False), ("", True)])
async def test_pages_of_other_origins_cannot_connect(mesh: Mesh, origin: str, may: bool) -> None:
    url = mesh.url.replace("http", "ws") + "/v1/responses"
    headers = {"authorization": f"Bearer {KEY}", "origin": origin or mesh.url}
    if may:
        async with connect(url, additional_headers=headers):
            return
    with pytest.raises(InvalidStatus) as caught:
        async with connect(url, additional_headers=headers):
            pass

    assert caught.value.response.status_code == 403


async def test_a_plain_request_is_told_to_upgrade(mesh: Mesh) -> None:
    async with httpx2.AsyncClient(timeout=30, headers={"authorization": f"Bearer {KEY}"}) as http:
        response = await http.get(f"{mesh.url}/v1/responses")

    assert (response.status_code, response.headers["upgrade"]) == (426, "websocket")
    assert response.headers["x-should-retry"] == "false"
    assert response.json()["error"]["code"] == "upgrade_required"


async def test_there_is_nothing_to_connect_to_elsewhere(mesh: Mesh) -> None:
    url = mesh.url.replace("http", "ws") + "/v1/realtime"
    with pytest.raises(InvalidStatus) as caught:
        async with connect(url, additional_headers={"x-request-id": "mine"}):
            pass

    refused = caught.value.response
    error = json.loads(refused.body or b"{}")["error"]
    assert (refused.status_code, error["code"], refused.headers["x-request-id"]) == (404, "not_found", "mine")
    assert "/v1/realtime" in error["message"]
