"""The trace of a request, from the client to the server of a tool."""

import httpx2
import pytest

from tests.turn.mesh import KEY, Mesh

pytestmark = pytest.mark.asyncio(loop_scope="module")

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(("sent", "arrives"), [(TRACE, True), ("00-nonsense-01", False), (None, False)])
async def test_a_trace_goes_from_the_client_to_the_server_of_a_tool(
    mesh: Mesh, sent: str | None, arrives: bool
) -> None:
    headers = {"authorization": f"Bearer {KEY}"} | ({"traceparent": sent} if sent else {})
    body = {"messages": [{"role": "user", "content": "whose"}], "metadata": {"tools": "all"}}
    async with httpx2.AsyncClient(timeout=30, headers=headers) as http:
        answer = await http.post(f"{mesh.url}/v1/chat/completions", json=body)
    told = answer.json()["choices"][0]["message"]["content"]

    assert "threadmesh/callId" in told
    assert (TRACE in told, "traceparent" in told) == (arrives, arrives)
