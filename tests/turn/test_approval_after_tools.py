"""Anybody may have written what a tool said: what a model wants done once it has read that, a person may look at."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.turn.mesh import KEY, running, served, tools_settings
from tests.turn.test_approval import House, asking
from tools_svc.app import app as tools_app

AGAIN = "again and again"
"""The model calls a tool, and once more whenever that has answered."""


@asynccontextmanager
async def house(directory: Path, *, effect: str, **settings: Any) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        port = await served(stack, tools_app, tools_settings(directory / "apart", big=effect))
        target = f"127.0.0.1:{port}"
        mesh = await stack.enter_async_context(running(directory, tools_target=target, tool_rounds=2, **settings))
        client = httpx2.AsyncClient(timeout=30, headers={"authorization": f"Bearer {KEY}"})
        yield House(mesh, await stack.enter_async_context(client))


async def test_a_call_that_may_change_something_waits_once_a_tool_has_answered(tmp_path: Path) -> None:
    async with house(tmp_path, effect="unsafe", approve_after_tools=True) as home, asking(home, AGAIN) as reading:
        asked = await reading.until("tool.awaiting_approval")
        before = [told["event"] for told in reading.told]
        await home.post(f"/v1/runs/{reading.run_id}/calls/{asked['call_id']}/approve")
        await reading.rest()
        first, second = await home.calls(reading.run_id)

    assert before == ["tool.started", "tool.finished", "tool.awaiting_approval"]
    assert (first["approved"], second["approved"]) == (None, True)
    assert (first["outcome"], second["outcome"]) == ("succeeded", "succeeded")


@pytest.mark.parametrize(("effect", "wished"), [("read_only", True), ("unsafe", False)])
async def test_one_that_reads_does_not_nor_does_any_unless_that_is_wished(
    tmp_path: Path, effect: str, wished: bool
) -> None:
    async with house(tmp_path, effect=effect, approve_after_tools=wished) as home, asking(home, AGAIN) as reading:
        await reading.rest()

    assert [told["event"] for told in reading.told] == ["tool.started", "tool.finished"] * 2
