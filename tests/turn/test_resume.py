"""Streams that are picked up again where their readers were cut off."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from tests.turn.grammar import without_comments
from tests.turn.mesh import KEY, OTHER_KEY, Mesh, facade, running, until
from threadmesh.api.context.v1 import runs_service_pb2 as pb

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOOLED: dict[str, Any] = {
    "model": "scripted",
    "messages": [{"role": "user", "content": "both"}],
    "tools": [{"type": "function", "function": {"name": "mine", "parameters": {"type": "object"}}}],
    "metadata": {"tools": "all", "events": "1"},
    "stream": True,
    "stream_options": {"include_usage": True},
}
SLOW: dict[str, Any] = {"model": "scripted", "messages": [{"role": "user", "content": "slow"}], "stream": True}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(timeout=30, headers={"authorization": f"Bearer {KEY}"}) as client:
        yield client


async def streamed(mesh: Mesh, http: httpx2.AsyncClient, body: dict[str, Any], **headers: str) -> tuple[str, str]:
    """Give the completion's id and its whole stream."""
    response = await http.post(f"{mesh.url}/v1/chat/completions", json=body, headers=headers)
    assert response.status_code == 200, response.text
    return completion_of(response), without_comments(response.text)


async def rest_of(http: httpx2.AsyncClient, url: str, **how: Any) -> str:
    return without_comments((await http.get(url, **how)).text)


def completion_of(response: httpx2.Response) -> str:
    return "chatcmpl-" + response.headers["x-run-id"].removeprefix("run_")


def cuts(stream: str) -> list[tuple[str, str]]:
    """Give for each event that has an id the id, and the rest of the stream behind it."""
    blocks = stream.split("\n\n")
    found = []
    for number, block in enumerate(blocks):
        if block.startswith("id: "):
            found.append((block.split("\n")[0].removeprefix("id: "), "\n\n".join(blocks[number + 1 :])))
    return found


@pytest.mark.parametrize("body", [TOOLED, SLOW])
async def test_a_stream_goes_on_behind_every_event_to_the_byte(
    mesh: Mesh, http: httpx2.AsyncClient, body: dict[str, Any]
) -> None:
    completion, whole = await streamed(mesh, http, body)
    url = f"{mesh.url}/v1/chat/completions/{completion}/stream"

    assert len({place for place, _ in cuts(whole)}) == len(cuts(whole)) > 5
    assert await rest_of(http, url) == whole
    for place, rest in cuts(whole):
        assert await rest_of(http, url, headers={"last-event-id": place}) == rest
    last = cuts(whole)[-2][0].split(":")[1].split(".")[0]
    assert whole.endswith(await rest_of(http, url, params={"starting_after": last}))


async def test_a_stream_is_picked_up_while_it_runs(mesh: Mesh, http: httpx2.AsyncClient) -> None:
    headers = {"x-threadmesh-on-disconnect": "continue"}
    async with http.stream("POST", f"{mesh.url}/v1/chat/completions", json=SLOW, headers=headers) as response:
        seen = ""
        async for piece in response.aiter_text():
            seen += piece
            if seen.count("\n\n") >= 3:
                break
    seen = without_comments(seen[: seen.rindex("\n\n") + 2])
    place = seen.split("id: ")[-1].split("\n")[0]
    url = f"{mesh.url}/v1/chat/completions/{completion_of(response)}/stream"
    rest = await rest_of(http, url, headers={"last-event-id": place})

    assert seen + rest == await rest_of(http, url)
    assert text_of(seen + rest) == "one two three four five six seven eight nine ten"


async def test_a_repeated_request_goes_on_behind_its_last_event(mesh: Mesh, http: httpx2.AsyncClient) -> None:
    key = {"idempotency-key": "resumed"}
    completion, whole = await streamed(mesh, http, SLOW, **key)
    place, rest = cuts(whole)[4]
    again = await http.post(f"{mesh.url}/v1/chat/completions", json=SLOW, headers={**key, "last-event-id": place})

    assert completion_of(again) == completion
    assert again.headers["idempotent-replayed"] == "true"
    assert without_comments(again.text) == rest


async def test_a_stream_goes_on_from_another_facade(tmp_path: Path, http: httpx2.AsyncClient) -> None:
    async with running(tmp_path) as mesh, AsyncExitStack() as stack:
        other = await facade(stack, mesh.targets)
        completion, whole = await streamed(mesh, http, SLOW)
        for place, rest in cuts(whole):
            url = f"{other}/v1/chat/completions/{completion}/stream"
            assert await rest_of(http, url, headers={"last-event-id": place}) == rest


@pytest.mark.parametrize(
    ("headers", "params", "code"),
    [
        ({"last-event-id": "nonsense"}, {}, "invalid_event_id"),
        ({"last-event-id": "run_other:0"}, {}, "invalid_event_id"),
        ({"last-event-id": "RUN:-1"}, {}, "invalid_event_id"),
        ({"last-event-id": "RUN:99999"}, {}, "event_id_ahead"),
        ({}, {"starting_after": "-1"}, "invalid_event_id"),
        ({}, {"starting_after": "1e3"}, "invalid_event_id"),
        ({}, {"starting_after": "99999"}, "event_id_ahead"),
    ],
)
async def test_places_that_are_none_are_refused(
    mesh: Mesh, http: httpx2.AsyncClient, headers: dict[str, str], params: dict[str, str], code: str
) -> None:
    completion, _ = await streamed(mesh, http, SLOW, **{"idempotency-key": "places"})
    run = "run_" + completion.removeprefix("chatcmpl-")
    headers = {name: value.replace("RUN", run) for name, value in headers.items()}
    response = await http.get(f"{mesh.url}/v1/chat/completions/{completion}/stream", headers=headers, params=params)

    assert response.status_code == 400
    assert response.json()["error"]["code"] == code
    assert response.json()["error"]["param"] in {"last-event-id", "starting_after"}


async def test_nobody_reads_the_stream_of_another_key(mesh: Mesh, http: httpx2.AsyncClient) -> None:
    completion, _ = await streamed(mesh, http, SLOW, **{"idempotency-key": "mine"})
    url = f"{mesh.url}/v1/chat/completions/{completion}/stream"
    theirs = await http.get(url, headers={"authorization": f"Bearer {OTHER_KEY}"})
    unknown = await http.get(url.replace(completion, "chatcmpl-0"), headers={"authorization": f"Bearer {OTHER_KEY}"})

    assert (theirs.status_code, theirs.json()) == (unknown.status_code, unknown.json())
    assert theirs.status_code == 404


async def test_the_keys_of_one_owner_are_not_those_of_another(mesh: Mesh, http: httpx2.AsyncClient) -> None:
    mine, _ = await streamed(mesh, http, SLOW, **{"idempotency-key": "shared"})
    theirs, _ = await streamed(
        mesh, http, SLOW, **{"idempotency-key": "shared", "authorization": f"Bearer {OTHER_KEY}"}
    )

    assert mine != theirs


WORK: dict[str, Any] = {
    "model": "scripted",
    "messages": [{"role": "user", "content": "both"}],
    "tools": TOOLED["tools"],
    "metadata": {"tools": "all"},
}


async def test_a_stock_clients_repetition_finds_the_run_of_its_first_attempt(
    mesh: Mesh, http: httpx2.AsyncClient
) -> None:
    url = f"{mesh.url}/v1/chat/completions"
    runs = [
        (await http.post(url, json=WORK, headers={"x-stainless-retry-count": count})).headers["x-run-id"]
        for count in ("0", "0", "1", "2")
    ]

    assert runs[0] != runs[1] == runs[2] == runs[3]


async def test_a_repetition_of_what_was_given_up_is_answered_anew(mesh: Mesh, http: httpx2.AsyncClient) -> None:
    url = f"{mesh.url}/v1/chat/completions"
    body = {**SLOW, "messages": [*SLOW["messages"][:0], {"role": "user", "content": "slow"}], "user": "impatient"}
    async with http.stream("POST", url, json=body, headers={"x-stainless-retry-count": "0"}) as response:
        first = response.headers["x-run-id"]

    async def given_up() -> bool:
        run = (await mesh.runs.GetRun(pb.GetRunRequest(run_id=first))).run
        return bool(run.state == pb.RUN_STATE_CANCELLED)

    await until(given_up)
    again = await http.post(url, json=body, headers={"x-stainless-retry-count": "1"})

    assert again.headers["x-run-id"] != first
    assert text_of(again.text) == "one two three four five six seven eight nine ten"


def text_of(stream: str) -> str:
    chunks = [json.loads(line[6:]) for line in stream.split("\n") if line.startswith("data: {")]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


async def test_fifty_readers_of_one_stream_see_the_same(mesh: Mesh, http: httpx2.AsyncClient) -> None:
    key = {"idempotency-key": "crowd"}
    answers = await asyncio.gather(*(streamed(mesh, http, SLOW, **key) for _ in range(50)))

    assert len(set(answers)) == 1
