"""How much the tenant of a key may store, as clients meet it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from tests.turn.mesh import Mesh, running
from threadmesh.keys.file import add_key
from threadmesh.keys.key import Key, KeyLimits, Scope, digest, id_of, new_token

LIMIT = 20_000
HELLO: list[Any] = [{"role": "user", "content": "hello"}]
ITEM = {"type": "message", "role": "user", "content": "x" * 1000}
CHAT = {"model": "scripted", "messages": HELLO}
KEYED = {**CHAT, "metadata": {"thread_key": "k"}}


def made_key(file: Path, *, tenant: str, **known: Any) -> str:
    token = new_token()
    add_key(file, Key(id=id_of(token), sha256=digest(token), tenant=tenant, created=datetime.now(UTC), **known))
    return token


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """A mesh with two keys of one tenant, of which one may only store so much, and one of somebody else."""

    mesh: Mesh
    http: httpx2.AsyncClient
    limited: str
    free: str
    reader: str

    async def ask(self, path: str, body: Any = None, *, method: str = "POST", key: str = "") -> httpx2.Response:
        headers = {"authorization": f"Bearer {key or self.limited}"}
        return await self.http.request(method, f"/v1/{path}", json=body, headers=headers)

    async def made(self, path: str, body: Any) -> Any:
        answer = await self.ask(path, body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def stored(self) -> int:
        usage = (await self.ask("usage", method="GET")).json()
        told = {"object": "threadmesh.usage", "tenant": "home", "stored_bytes_limit": LIMIT}
        assert usage == told | {"stored_bytes": usage["stored_bytes"]}
        return int(usage["stored_bytes"])

    async def fill(self, conversation: str) -> None:
        """Store as much as may be with the key that may store anything."""
        items = [ITEM] * (LIMIT // 1000)
        answer = await self.ask(f"conversations/{conversation}/items", {"items": items}, key=self.free)
        assert answer.status_code == 200


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[Home]:
    file = tmp_path / "keys.toml"
    limited = made_key(file, tenant="home", limits=KeyLimits(stored_bytes=LIMIT))
    free = made_key(file, tenant="home", limits=KeyLimits(stored_bytes=0))
    reader = made_key(file, tenant="work", scopes=frozenset({Scope.MODELS_READ}))
    async with AsyncExitStack() as stack:
        mesh = await stack.enter_async_context(running(tmp_path, keys_file=file, workshop=False, stored_bytes=1))
        http = await stack.enter_async_context(httpx2.AsyncClient(base_url=mesh.url, timeout=30))
        yield Home(mesh=mesh, http=http, limited=limited, free=free, reader=reader)


async def test_a_full_tenant_may_not_store_more(home: Home) -> None:
    conversation = (await home.made("conversations", {}))["id"]
    response = (await home.made("responses", {"model": "scripted", "input": "hello"}))["id"]
    await home.fill(conversation)
    before = await home.stored()
    refused = [
        await home.ask("chat/completions", KEYED),
        await home.ask("chat/completions", {**KEYED, "stream": True}),
        await home.ask("responses", {"model": "scripted", "input": "hello", "conversation": conversation}),
        await home.ask("responses", {"model": "scripted", "input": "hello", "previous_response_id": response}),
        await home.ask("conversations", {"items": [ITEM]}),
        await home.ask(f"conversations/{conversation}/items", {"items": [ITEM]}),
        await home.ask("threads", {}),
        await home.ask("threads", {"key": "new"}),
    ]
    message = (
        f"{before} bytes are stored, of {LIMIT} that may be; delete threads that are no longer needed, or prune them."
    )

    assert [(each.status_code, each.headers["x-should-retry"]) for each in refused] == [(429, "false")] * 8
    for each in refused:
        assert each.json() == {
            "error": {
                "message": message,
                "type": "insufficient_quota",
                "param": None,
                "code": "insufficient_quota",
            }
        }
    assert await home.stored() == before


async def test_a_stock_client_is_told_at_once(home: Home) -> None:
    await home.fill((await home.made("conversations", {}))["id"])
    client = home.mesh.openai.with_options(api_key=home.limited, max_retries=2)
    with pytest.raises(openai.RateLimitError) as refused:
        await client.chat.completions.create(model="scripted", messages=HELLO, metadata={"thread_key": "k"})

    assert (refused.value.code, refused.value.type) == ("insufficient_quota", "insufficient_quota")


async def test_reading_stopping_and_requests_without_a_thread_go_on(home: Home) -> None:
    conversation = (await home.made("conversations", {}))["id"]
    hanging = {"model": "scripted", "input": "hang", "conversation": conversation, "background": True}
    response = (await home.made("responses", hanging))["id"]
    other = (await home.made("conversations", {}))["id"]
    await home.fill(other)

    assert (await home.ask(f"conversations/{conversation}/items", method="GET")).status_code == 200
    assert (await home.ask("chat/completions", CHAT)).status_code == 200
    assert (await home.ask(f"conversations/{other}", {"metadata": {"a": "b"}})).status_code == 200
    assert (await home.ask(f"responses/{response}/cancel")).status_code == 200


async def test_room_is_made_by_deleting(home: Home) -> None:
    conversation = (await home.made("conversations", {}))["id"]
    empty = await home.stored()
    await home.fill(conversation)
    refused = await home.ask("chat/completions", KEYED)
    assert (await home.ask(f"conversations/{conversation}", method="DELETE")).status_code == 200
    freed = await home.stored()
    answered = await home.ask("chat/completions", KEYED)

    assert (refused.status_code, answered.status_code) == (429, 200)
    assert 0 == freed < empty < 200
    assert await home.stored() > 300


async def test_every_key_is_told_what_its_tenant_has_stored_and_its_own_limit(home: Home) -> None:
    await home.fill((await home.made("conversations", {}))["id"])
    unlimited = (await home.ask("usage", method="GET", key=home.free)).json()
    others = (await home.ask("usage", method="GET", key=home.reader)).json()

    assert unlimited["stored_bytes"] == await home.stored() > LIMIT
    assert unlimited["stored_bytes_limit"] is None
    assert (others["tenant"], others["stored_bytes"], others["stored_bytes_limit"]) == ("work", 0, 1)
    assert (await home.ask("usage", method="GET", key="wrong")).status_code == 401
