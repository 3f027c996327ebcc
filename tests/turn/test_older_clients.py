"""What probes, proxies and clients of HTTP/1.0 ask, as bytes on the connection."""

import asyncio
import json
from typing import Any

import httpx2
import pytest

from tests.turn.mesh import KEY, Mesh

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def exchanged(mesh: Mesh, head: str, body: dict[str, Any] | None = None, *headers: str) -> tuple[str, bytes]:
    """Send a request of HTTP/1.0 and read until the server closes; gives the head in lower case, and the body."""
    content = json.dumps(body).encode() if body is not None else b""
    told = [
        f"{head} HTTP/1.0",
        "Host: localhost",
        f"Authorization: Bearer {KEY}",
        "Content-Type: application/json",
        *headers,
    ]
    async with asyncio.timeout(30):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(mesh.url.rpartition(":")[2]))
        writer.write("\r\n".join([*told, f"Content-Length: {len(content)}", "", ""]).encode() + content)
        answer, _, rest = (await reader.read(-1)).partition(b"\r\n\r\n")
        writer.close()
    return answer.decode().lower(), rest


def _said(**more: Any) -> dict[str, Any]:
    return {"model": "scripted", "messages": [{"role": "user", "content": "hello"}], **more}


@pytest.mark.parametrize("connection", ["close", "keep-alive"])
async def test_a_stream_over_http_1_0_ends_with_its_connection(mesh: Mesh, connection: str) -> None:
    head, body = await exchanged(mesh, "POST /v1/chat/completions", _said(stream=True), f"Connection: {connection}")

    assert head.startswith("http/1.1 200")
    assert "transfer-encoding" not in head
    assert "connection: close" in head
    told = [line.removeprefix("data: ") for line in body.decode().splitlines() if line.startswith("data: ")]
    chunks = [json.loads(each) for each in told[:-1]]
    assert told[-1] == "[DONE]"
    assert "".join(each["choices"][0]["delta"].get("content") or "" for each in chunks) == "You said: hello"


async def test_an_answer_over_http_1_0_says_its_length(mesh: Mesh) -> None:
    head, body = await exchanged(mesh, "POST /v1/chat/completions", _said())

    assert f"content-length: {len(body)}" in head
    assert json.loads(body)["choices"][0]["message"]["content"] == "You said: hello"


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/v1/models", "/v1/models/scripted"])
async def test_head_is_answered_as_get_without_the_body(mesh: Mesh, path: str) -> None:
    async with httpx2.AsyncClient(base_url=mesh.url, headers={"authorization": f"Bearer {KEY}"}) as http:
        got, head = await http.get(path), await http.head(path)

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == got.headers["content-type"]
    assert "x-request-id" in head.headers


async def test_head_is_not_allowed_where_get_is_not(mesh: Mesh) -> None:
    async with httpx2.AsyncClient(base_url=mesh.url, headers={"authorization": f"Bearer {KEY}"}) as http:
        without, at = await http.head("/v1/embeddings"), await http.put("/v1/models")
        nobody = await http.head("/v1/models", headers={"authorization": "Bearer wrong"})

    assert (without.status_code, without.headers["allow"]) == (405, "POST")
    assert at.headers["allow"] == "GET, HEAD"
    assert nobody.status_code == 401
