"""More requests than can be answered, and readers that do not read."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import httpx2
import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

from facade.domain.refusals import MEMORY_SECONDS
from tests.turn.mesh import KEY, OTHER_KEY, Mesh, running, until

CHAT = "/v1/chat/completions"
MINE, THEIRS = ({"authorization": f"Bearer {key}"} for key in (KEY, OTHER_KEY))


def body(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "scripted", "messages": [{"role": "user", "content": text}], **more}


async def figure(http: httpx2.AsyncClient, name: str) -> float:
    page = (await http.get("/metrics")).text
    samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
    return sum(sample.value for sample in samples if sample.name == name)


@asynccontextmanager
async def client(mesh: Mesh) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=mesh.url, timeout=30) as http:
        yield http


async def hanging(stack: AsyncExitStack, http: httpx2.AsyncClient, key: dict[str, str]) -> int:
    """Ask for an answer that never ends; gives the status."""
    request = http.stream("POST", CHAT, json=body("hang", stream=True), headers=key)
    return (await stack.enter_async_context(request)).status_code


async def test_beyond_its_places_a_facade_refuses_before_it_keeps_anything_and_its_health_answers(
    tmp_path: Path,
) -> None:
    async with (
        running(tmp_path, places=4, workshop=False) as mesh,
        client(mesh) as http,
        AsyncExitStack() as open_,
    ):
        assert [await hanging(open_, http, key) for key in (MINE, MINE, MINE, THEIRS)] == [200] * 4
        known = len((await http.get("/v1/runs", headers=THEIRS)).json()["data"])
        refused = [await http.post(CHAT, json=body("hello"), headers=THEIRS) for _ in range(10)]

        assert {answer.status_code for answer in refused} == {429}
        assert {answer.json()["error"]["code"] for answer in refused} == {"overloaded"}
        assert {answer.headers["retry-after-ms"] for answer in refused} == {"1000"}
        assert {answer.headers["retry-after"] for answer in refused} == {"1"}
        assert len((await http.get("/v1/runs", headers=THEIRS)).json()["data"]) == known
        assert (await http.get("/healthz")).status_code == (await http.get("/readyz")).status_code == 200
        assert await figure(http, "threadmesh_facade_places_taken") == 4
        assert await figure(http, "threadmesh_facade_refused_total") == 10


async def test_one_keys_many_answers_leave_places_to_another(tmp_path: Path) -> None:
    async with (
        running(tmp_path, places=8, workshop=False) as mesh,
        client(mesh) as http,
        AsyncExitStack() as open_,
    ):
        statuses = [await hanging(open_, http, MINE) for _ in range(20)]
        theirs = await http.post(CHAT, json=body("hello"), headers=THEIRS)

    assert statuses == [200] * 6 + [429] * 14
    assert theirs.status_code == 200


async def test_a_request_whose_client_leaves_frees_its_place_without_a_stream_too(tmp_path: Path) -> None:
    async with running(tmp_path, places=1, workshop=False) as mesh, client(mesh) as http:
        for stream in (True, False):
            asking = asyncio.create_task(http.post(CHAT, json=body("hang", stream=stream), headers=MINE))

            async def taken() -> bool:
                return await figure(http, "threadmesh_facade_places_taken") == 1

            async def free() -> bool:
                return await figure(http, "threadmesh_facade_places_taken") == 0

            await until(taken)
            assert (await http.post(CHAT, json=body("hello"), headers=MINE)).status_code == 429
            asking.cancel()
            await until(free)
            assert (await http.post(CHAT, json=body("hello"), headers=MINE)).status_code == 200


async def test_a_repeated_request_takes_no_second_place(tmp_path: Path) -> None:
    keyed = MINE | {"idempotency-key": "once"}
    async with running(tmp_path, places=4, workshop=False) as mesh, client(mesh) as http:
        for _ in range(5):
            assert (await http.post(CHAT, json=body("hello"), headers=keyed)).status_code == 200

        assert await figure(http, "threadmesh_facade_places_taken") == 0


async def test_who_comes_back_at_once_after_an_engine_has_refused_begins_no_run(tmp_path: Path) -> None:
    """A37: refusing one key costs the others little."""
    async with running(tmp_path, workshop=False) as mesh, client(mesh) as http, AsyncExitStack() as open_:
        await http.post(CHAT, json=body("busy"), headers=MINE)
        alone = await http.post(CHAT, json=body("hello"), headers=MINE)
        await hanging(open_, http, MINE)
        took = 1.0
        while took > MEMORY_SECONDS:  # a busy machine may have forgotten meanwhile
            while (await http.post(CHAT, json=body("hello"), headers=MINE)).status_code != 200:
                pass  # until an earlier refusal is forgotten, since the next one is to be the engine's
            began = monotonic()
            await http.post(CHAT, json=body("busy"), headers=MINE)
            known = len((await http.get("/v1/runs", headers=MINE)).json()["data"])
            mine = await http.post(CHAT, json=body("hello"), headers=MINE)
            took = monotonic() - began
        theirs = await http.post(CHAT, json=body("hello"), headers=THEIRS)

        assert (alone.status_code, mine.status_code, theirs.status_code) == (200, 429, 200)
        assert mine.json()["error"]["code"] == "overloaded"
        assert len((await http.get("/v1/runs", headers=MINE)).json()["data"]) == known


async def test_what_an_engine_refuses_is_an_overload_with_a_time_to_come_back(tmp_path: Path) -> None:
    async with running(tmp_path, workshop=False) as mesh:
        for stream in (True, False):
            with pytest.raises(openai.RateLimitError) as caught:
                await mesh.openai.chat.completions.create(**body("busy"), stream=stream)

            assert caught.value.code == "overloaded"
            assert int(caught.value.response.headers["retry-after-ms"]) == 1000
