"""Keys of the file, as clients meet them: who gets in, for what, and how much."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from facade.app import app
from facade.settings import FacadeSettings
from tests.turn.mesh import KEY, Mesh, http_server, running, until
from threadmesh.keys.file import add_key, revoke_key
from threadmesh.keys.key import Key, KeyLimits, Scope, digest, id_of, new_token
from threadmesh.telemetry.metrics import new_registry

pytestmark = pytest.mark.asyncio(loop_scope="module")

HELLO: dict[str, Any] = {"model": "scripted", "messages": [{"role": "user", "content": "hello"}]}
CHAT = "/v1/chat/completions"
NOW = datetime.now(UTC)


KEYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "expired": {"expires": NOW - timedelta(days=1)},
    "revoked": {"revoked": NOW},
    "chat and tools": {"scopes": frozenset({Scope.CHAT, Scope.TOOLS})},
    "chat and threads": {"scopes": frozenset({Scope.CHAT, Scope.THREADS})},
    "two requests": {"limits": KeyLimits(requests_per_minute=2)},
    "500 tokens": {"limits": KeyLimits(tokens_per_minute=500)},
    "1000 tokens": {"limits": KeyLimits(tokens_per_minute=1000)},
    "two readings": {"limits": KeyLimits(requests_per_minute=2, tokens_per_minute=600)},
    "one call": {"limits": KeyLimits(tool_calls_per_minute=1)},
    "one stream": {"limits": KeyLimits(concurrent_streams=1)},
    **{scope: {"scopes": frozenset({scope})} for scope in Scope},
}


def made(file: Path, **known: Any) -> dict[str, str]:
    """Write a new key into the file; gives the header that sends it."""
    token = new_token()
    add_key(file, Key(**{"id": id_of(token), "sha256": digest(token), "created": NOW, **known}))
    return {"authorization": f"Bearer {token}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyed:
    """A mesh with a keys file."""

    mesh: Mesh
    http: httpx2.AsyncClient
    file: Path

    keys: dict[str, dict[str, str]]

    def __getitem__(self, name: str) -> dict[str, str]:
        """Give the header that sends a key."""
        return self.keys[name]

    async def ask(self, key: dict[str, str], **body: Any) -> httpx2.Response:
        return await self.http.post(CHAT, json={**HELLO, **body}, headers=key)

    async def counted(self, name: str, **labels: str) -> float:
        page = (await self.http.get("/metrics")).text
        samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
        return sum(each.value for each in samples if each.name == name and labels.items() <= each.labels.items())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def keyed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Keyed]:
    directory = tmp_path_factory.mktemp("keyed")
    file = directory / "keys.toml"
    keys = {name: made(file, **known) for name, known in KEYS.items()}
    async with AsyncExitStack() as stack:
        mesh = await stack.enter_async_context(running(directory, keys_file=file))
        http = await stack.enter_async_context(httpx2.AsyncClient(base_url=mesh.url, timeout=30))
        yield Keyed(mesh=mesh, http=http, file=file, keys=keys)


def error_of(response: httpx2.Response) -> Any:
    return response.json()["error"]


async def test_a_new_key_works_without_a_restart_and_so_does_its_end(keyed: Keyed) -> None:
    key = made(keyed.file)

    async def known() -> bool:
        return (await keyed.ask(key)).status_code == 200

    await until(known)
    revoke_key(keyed.file, id_of(key["authorization"].split()[1]), now=NOW)

    async def refused() -> bool:
        return (await keyed.ask(key)).status_code == 401

    await until(refused)


async def test_listed_keys_work_beside_those_of_the_file(keyed: Keyed) -> None:
    assert (await keyed.ask({"authorization": f"Bearer {KEY}"})).status_code == 200


async def test_whatever_is_wrong_with_a_key_is_answered_alike(keyed: Keyed) -> None:
    wrong = [
        {},
        keyed["expired"],
        keyed["revoked"],
        *({"authorization": each} for each in ("Bearer tm_", f"Bearer {new_token()}", "Basic x", "Bearer ' OR 1=1 --")),
        {"authorization": "Bearer ${jndi:ldap://x}"},
        {"authorization": "Bearer " + "x" * 10_000},
    ]
    answers = [await keyed.ask(each) for each in wrong]

    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.content for answer in answers}) == 1
    assert len({tuple(sorted(set(answer.headers) - {"x-request-id"})) for answer in answers}) == 1
    assert error_of(answers[0])["code"] == "invalid_api_key"
    assert answers[0].headers["www-authenticate"] == "Bearer"
    for why in ("missing", "unknown", "expired", "revoked"):
        assert await keyed.counted("threadmesh_facade_auth_failures_total", reason=why) >= 1


ROUTES = [
    (Scope.CHAT, "POST", CHAT),
    (Scope.CHAT, "POST", "/v1/responses"),
    (Scope.CHAT, "GET", "/v1/responses/resp_1"),
    (Scope.EMBEDDINGS, "POST", "/v1/embeddings"),
    (Scope.MODELS_READ, "GET", "/v1/models"),
    (Scope.TOOLS, "GET", "/v1/tools"),
    (Scope.RUNS_READ, "GET", "/v1/runs"),
    (Scope.THREADS, "GET", "/v1/threads"),
    (Scope.THREADS, "DELETE", "/v1/threads/thread_1"),
    (Scope.RUNS_WRITE, "POST", "/v1/runs/run_1/cancel"),
    (Scope.RUNS_WRITE, "POST", "/v1/runs/run_1/calls/call_1/approve"),
]


async def test_a_key_is_for_its_scopes_only(keyed: Keyed) -> None:
    for needed, method, path in ROUTES:
        for scope in Scope:
            answer = await keyed.http.request(method, path, headers=keyed[scope])
            if scope is needed:
                assert answer.status_code not in {401, 403}, (path, scope)
            else:
                assert (answer.status_code, error_of(answer)["code"]) == (403, "insufficient_scope"), (path, scope)
                assert answer.headers["www-authenticate"] == f'Bearer error="insufficient_scope", scope="{needed}"'


async def test_every_route_of_the_api_asks_for_a_key(keyed: Keyed) -> None:
    document = (await keyed.http.get("/openapi.json")).json()
    open_paths = {"/healthz", "/readyz"}
    for path, operations in document["paths"].items():
        for method in operations:
            answer = await keyed.http.request(method.upper(), path)
            assert (answer.status_code == 401) is (path not in open_paths), (method, path)


async def test_tools_of_the_mesh_need_a_scope_of_their_own(keyed: Keyed) -> None:
    key = keyed[Scope.CHAT]
    plain = await keyed.ask(key)
    asked = await keyed.ask(key, metadata={"tools": "all"})

    assert plain.status_code == 200
    assert (asked.status_code, error_of(asked)["code"]) == (403, "insufficient_scope")


async def test_a_key_for_threads_alone_lets_no_model_work(keyed: Keyed) -> None:
    made = (await keyed.http.post("/v1/threads", json={"key": "k"}, headers=keyed[Scope.THREADS])).json()["id"]
    for work in ("warm", "summary"):
        answer = await keyed.http.post(f"/v1/threads/{made}/{work}", headers=keyed[Scope.THREADS])
        assert (answer.status_code, answer.headers["www-authenticate"].count('scope="chat"')) == (403, 1)
    assert (await keyed.http.get(f"/v1/threads/{made}/window", headers=keyed[Scope.THREADS])).status_code == 200
    offered = await keyed.http.post(
        f"/v1/threads/{made}/warm", headers={**keyed["chat and threads"], "x-threadmesh-tools": "all"}
    )
    assert (offered.status_code, error_of(offered)["code"]) == (403, "insufficient_scope")


async def test_warming_and_summarizing_count_as_requests_and_what_was_read_as_tokens(keyed: Keyed) -> None:
    key = {**keyed["two readings"], "x-threadmesh-tools": "none"}
    made = (await keyed.http.post("/v1/threads", json={"key": "read"}, headers=key)).json()
    items = [{"type": "message", "role": "user", "content": "some words " * 20}]
    place = f"/v1/conversations/{made['conversation']}/items"
    assert (await keyed.http.post(place, json={"items": items}, headers=key)).status_code == 200

    warmed = [await keyed.http.post(f"/v1/threads/{made['id']}/warm", headers=key) for _ in range(2)]
    refused = await keyed.http.post(f"/v1/threads/{made['id']}/summary", headers=key)

    read = warmed[0].json()["tokens"] - warmed[0].json()["cached_tokens"]
    left = [int(each.headers["x-ratelimit-remaining-tokens"]) for each in warmed]
    assert read > 20
    assert 600 - read <= left[1] < left[0], "what was read first is gone when it is asked again"
    assert (refused.status_code, error_of(refused)["type"]) == (429, "requests")
    free = [await keyed.http.get(f"/v1/threads/{made['id']}{rest}", headers=key) for rest in ("", "/window")]
    assert [each.status_code for each in free] == [200, 200]


async def test_nobody_answers_questions_about_tools_without_the_scope_to(keyed: Keyed) -> None:
    key = keyed["chat and tools"]
    answer = {"type": "mcp_approval_response", "approval_request_id": "mcpr_1_call_1", "approve": True}
    response = await keyed.http.post("/v1/responses", json={"model": "scripted", "input": [answer]}, headers=key)

    assert (response.status_code, error_of(response)["code"]) == (403, "insufficient_scope")


async def test_requests_have_a_limit_that_openais_client_understands(keyed: Keyed) -> None:
    key = keyed["two requests"]
    client = keyed.mesh.openai.with_options(api_key=key["authorization"].split()[1])
    raw = client.chat.completions.with_raw_response
    left = [(await raw.create(**HELLO)).headers["x-ratelimit-remaining-requests"] for _ in range(2)]
    with pytest.raises(openai.RateLimitError) as caught:
        await raw.create(**HELLO)
    headers = caught.value.response.headers

    assert left == ["1", "0"]
    assert (caught.value.code, caught.value.type) == ("rate_limit_exceeded", "requests")
    assert headers["x-ratelimit-limit-requests"] == "2"
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert headers["x-ratelimit-reset-requests"].endswith("s")
    assert 1 <= int(headers["retry-after"]) <= 30
    assert 0 < int(headers["retry-after-ms"]) <= 30_000
    assert headers["x-should-retry"] == "true"
    assert (await keyed.http.get("/v1/models", headers=key)).status_code == 200
    assert await keyed.counted("threadmesh_facade_refused_total", reason="requests") >= 1


async def test_tokens_are_counted_as_the_model_counts_them(keyed: Keyed) -> None:
    key = keyed["500 tokens"]
    first = await keyed.ask(key)
    second = await keyed.ask(key)
    used = first.json()["usage"]["total_tokens"]

    assert int(first.headers["x-ratelimit-limit-tokens"]) == 500
    # Before the answer only its prompt is known, about; the second request stands behind the first one's real use.
    left = 500 - used - len("hello") // 4
    assert left <= int(second.headers["x-ratelimit-remaining-tokens"]) <= left + 50
    refused = await keyed.ask(key, max_tokens=500)
    assert (refused.status_code, error_of(refused)["type"]) == (429, "tokens")


async def test_an_answer_that_is_broken_off_is_counted_as_far_as_it_came(keyed: Keyed) -> None:
    key = keyed["1000 tokens"]
    body = {**HELLO, "messages": [{"role": "user", "content": "slow"}], "stream": True}
    async with keyed.http.stream("POST", CHAT, json=body, headers=key) as response:
        text = response.aiter_text()
        seen = ""
        while '"content":"one' not in seen.replace(" ", ""):
            seen += await anext(text)

    async def counted() -> bool:
        return int((await keyed.ask(key)).headers["x-ratelimit-remaining-tokens"]) < 999

    await until(counted)


async def test_calls_of_tools_have_a_limit_that_the_model_is_told_of(keyed: Keyed) -> None:
    key = keyed["one call"]
    body = {"messages": [{"role": "user", "content": "work twice"}], "metadata": {"tools": "all", "events": "1"}}
    answer = await keyed.ask(key, stream=True, **body)
    chunks = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    ends = [chunk["threadmesh"] for chunk in chunks if chunk.get("threadmesh", {}).get("event") == "tool.finished"]

    assert sorted(end["outcome"] for end in ends) == ["failed", "succeeded"]
    assert "limit of 1 tool calls a minute" in answer.text
    assert await keyed.counted("threadmesh_facade_refused_total", reason="tool_calls") >= 1


async def test_answers_at_the_same_time_have_a_limit_until_they_have_ended(keyed: Keyed) -> None:
    key = keyed["one stream"]
    hang = {**HELLO, "messages": [{"role": "user", "content": "hang"}], "stream": True}
    async with keyed.http.stream("POST", CHAT, json=hang, headers=key) as response:
        assert response.status_code == 200
        refused = await keyed.ask(key)
        assert (refused.status_code, error_of(refused)["type"]) == (429, "streams")
        completion = response.headers["x-run-id"].replace("run_", "chatcmpl-")
        second = await keyed.http.get(f"{CHAT}/{completion}/stream", headers=key)
        assert (second.status_code, error_of(second)["type"]) == (429, "streams")
        assert (await keyed.ask(keyed["plain"])).status_code == 200

    async def taken() -> bool:
        return (await keyed.ask(key)).status_code == 200

    await until(taken)


async def test_no_key_is_seen_in_logs_errors_or_metrics(keyed: Keyed) -> None:
    key = keyed["plain"]
    token = key["authorization"].split()[1]
    with capture_logs() as lines:
        bodies = [(await keyed.ask(key)).text, (await keyed.ask(key, model="no such model")).text]
        bodies.append((await keyed.ask({"authorization": f"Bearer {token}x"})).text)
    bodies.append((await keyed.http.get("/metrics")).text)

    assert any(line.get("key") == f"tm_{id_of(token)}" for line in lines)
    assert token.rpartition("_")[2] not in repr(lines) + "".join(bodies)
    assert digest(token) not in repr(lines) + "".join(bodies)


async def test_without_keys_the_limits_of_the_settings_hold_for_everybody_together() -> None:
    nobody: Any = dict.fromkeys(("inference_target", "tools_target", "context_target"), "127.0.0.1:1")
    settings = FacadeSettings(**nobody, requests_per_minute=1)
    async with app(settings, new_registry()) as built, http_server(built) as url, httpx2.AsyncClient() as http:
        answers = [await http.post(f"{url}{CHAT}", json=HELLO) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [503, 429]
