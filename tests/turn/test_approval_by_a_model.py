"""A call that the bundled model itself has written waits for a person, and then runs as it was stored."""

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest

from inference_svc.app import app as inference_app
from inference_svc.settings import InferenceSettings
from tests.turn.mesh import KEY, running, served, tools_settings, until
from tests.turn.test_approval import Reading
from tools_svc.app import app as tools_app

pytestmark = pytest.mark.model

TOOL = "workshop__open_gate"
APPROVED = {"open_gate": {"approval": "always"}}
REQUEST = {
    "model": "",
    "messages": [{"role": "user", "content": "Open the gate that is called Anna."}],
    "metadata": {"thread_key": "k", "tools": TOOL, "events": "1"},
    "tool_choice": {"type": "function", "function": {"name": TOOL}},
    "max_tokens": 48,
    "temperature": 0,
    "stream": True,
}


async def test_a_call_that_a_model_wrote_waits_is_approved_over_rest_and_runs_as_it_was_stored(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        settings = InferenceSettings(weights="file", context_tokens=1024, state_dir=tmp_path / "inference")
        inference = await served(stack, inference_app, settings)
        tools = await served(stack, tools_app, tools_settings(tmp_path / "apart", APPROVED))
        targets: dict[str, Any] = {"inference_target": f"127.0.0.1:{inference}", "tools_target": f"127.0.0.1:{tools}"}
        mesh = await stack.enter_async_context(running(tmp_path, **targets))
        http = await stack.enter_async_context(
            httpx2.AsyncClient(base_url=mesh.url, timeout=90, headers={"authorization": f"Bearer {KEY}"})
        )

        async def ready() -> bool:
            return (await http.get("/readyz")).status_code == httpx2.codes.OK

        await until(ready, seconds=60)
        async with asyncio.timeout(100), http.stream("POST", "/v1/chat/completions", json=REQUEST) as response:
            reading = Reading(response)
            asked = await reading.until("tool.awaiting_approval")
            path = f"/v1/runs/{reading.run_id}"
            waiting = (await http.get(path)).json()
            seen = {name: asked[name] for name in ("arguments_hash", "definition_hash")}
            approved = await http.post(f"{path}/calls/{asked['call_id']}/approve", json=seen | {"request_id": "mine"})
            await reading.rest()
        (call,) = (await http.get(f"{path}/calls")).json()["data"]
        ended = (await http.get(path)).json()

    assert (waiting["status"], approved.status_code) == ("requires_action", 200)
    assert isinstance(json.loads(asked["arguments"])["name"], str)
    assert (call["name"], call["arguments"], call["approved"]) == (TOOL, asked["arguments"], True)
    assert (call["status"], call["outcome"], ended["status"]) == ("finished", "succeeded", "succeeded")
