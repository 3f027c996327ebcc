"""Tool calls that a person approves, denies or forgets: seen by a client, in the thread, over the real units."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest

from tests.turn.mesh import KEY, OTHER_KEY, Mesh, facade, running, served, tools_settings, until
from threadmesh.api.context.v1 import runs_service_pb2 as runs
from threadmesh.api.context.v1 import threads_service_pb2 as threads
from tools_svc.app import app as tools_app

APPROVED = {"work": {"approval": "always"}}


@dataclass(frozen=True, slots=True)
class House:
    mesh: Mesh
    http: httpx2.AsyncClient

    async def post(self, path: str, url: str = "", **body: Any) -> httpx2.Response:
        return await self.http.post(f"{url or self.mesh.url}{path}", json=body or None)

    async def calls(self, run_id: str) -> list[dict[str, Any]]:
        listed = (await self.http.get(f"{self.mesh.url}/v1/runs/{run_id}/calls")).json()
        return list(listed["data"])

    async def status(self, run_id: str) -> str:
        return str((await self.http.get(f"{self.mesh.url}/v1/runs/{run_id}")).json()["status"])


@asynccontextmanager
async def house(directory: Path, **settings: Any) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        port = await served(stack, tools_app, tools_settings(directory / "apart", APPROVED))
        mesh = await stack.enter_async_context(running(directory, tools_target=f"127.0.0.1:{port}", **settings))
        client = httpx2.AsyncClient(timeout=30, headers={"authorization": f"Bearer {KEY}"})
        yield House(mesh, await stack.enter_async_context(client))


class Reading:
    """A streamed answer: its run, the events of the mesh's tools, its text."""

    def __init__(self, response: httpx2.Response) -> None:
        self.run_id = response.headers["x-run-id"]
        self.told: list[dict[str, Any]] = []
        self.text = ""
        self._lines = cast("AsyncGenerator[str, None]", response.aiter_lines())

    async def until(self, event: str) -> dict[str, Any]:
        """Read to an event of a tool and give it."""
        async for line in self._lines:
            before = len(self.told)
            self._take(line)
            if len(self.told) > before and self.told[-1]["event"] == event:
                return self.told[-1]
        raise AssertionError(f"no {event}")

    async def rest_or(self, event: str) -> None:
        """Read to such an event of a tool, or to the end."""
        async for line in self._lines:
            before = len(self.told)
            self._take(line)
            if len(self.told) > before and self.told[-1]["event"] == event:
                return

    async def rest(self) -> str:
        """Read to the end and give the text."""
        async with aclosing(self._lines):
            async for line in self._lines:
                self._take(line)
        return self.text

    def _take(self, line: str) -> None:
        if line.startswith("data: {"):
            chunk = json.loads(line[6:])
            if "threadmesh" in chunk:
                self.told.append(chunk["threadmesh"])
            self.text += "".join(choice["delta"].get("content") or "" for choice in chunk["choices"])


@asynccontextmanager
async def asking(home: House, text: str, url: str = "", **metadata: str) -> AsyncIterator[Reading]:
    wanted = {"thread_key": "k", "tools": "all", "events": "1"}
    body = {
        "model": "scripted",
        "messages": [{"role": "user", "content": text}],
        "stream": True,
        "metadata": {name: said for name, said in (wanted | metadata).items() if said},
    }
    async with home.http.stream("POST", f"{url or home.mesh.url}/v1/chat/completions", json=body) as response:
        yield Reading(response)


async def test_an_approved_call_runs_with_what_was_shown(tmp_path: Path) -> None:
    async with house(tmp_path) as home, asking(home, "progress") as reading:
        asked = await reading.until("tool.awaiting_approval")
        status = await home.status(reading.run_id)
        listed = (await home.http.get(f"{home.mesh.url}/v1/runs?status=requires_action")).json()
        strange = await home.http.get(f"{home.mesh.url}/v1/runs", headers={"authorization": f"Bearer {OTHER_KEY}"})
        wrong = await home.http.get(f"{home.mesh.url}/v1/runs?status=happy")
        (waiting,) = await home.calls(reading.run_id)
        path = f"/v1/runs/{reading.run_id}/calls/{asked['call_id']}/approve"
        shown = {name: asked[name] for name in ("definition_hash", "arguments_hash")}
        refused = await home.post(path, **shown | {"arguments_hash": "of others"})
        approved = await home.post(path, **shown, request_id="mine")
        another = await home.post(path, **shown, request_id="somebody else's")
        again = await home.post(path)
        text = await reading.rest()
        (ended,) = await home.calls(reading.run_id)

    assert status == "requires_action"
    assert [run["id"] for run in listed["data"]] == [reading.run_id]
    assert strange.json()["data"] == []
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "status")
    assert (waiting["status"], waiting["approved"]) == ("awaiting_approval", None)
    assert json.loads(asked["arguments"]) == json.loads(waiting["arguments"]) == {"steps": 2}
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "arguments_differ")
    assert another.json()["error"]["code"] == "call_already_decided"
    assert (approved.status_code, approved.json()["approved"]) == (again.status_code, True) == (200, True)
    assert text == "The tool said: done"
    assert [told["event"] for told in reading.told][1] == "tool.started"
    assert (ended["status"], ended["outcome"], ended["approved"]) == ("finished", "succeeded", True)


async def test_a_denied_call_is_never_sent_and_the_model_hears_why(tmp_path: Path) -> None:
    async with house(tmp_path) as home, asking(home, "progress") as reading:
        asked = await reading.until("tool.awaiting_approval")
        path = f"/v1/runs/{reading.run_id}/calls/{asked['call_id']}"
        await home.post(f"{path}/deny", reason="Not on a Sunday.")
        text = await reading.rest()
        late = await home.post(f"{path}/approve")

    assert "was denied" in text
    assert text.endswith("Not on a Sunday.")
    assert [told["event"] for told in reading.told] == ["tool.awaiting_approval", "tool.finished"]
    assert (late.status_code, late.json()["error"]["code"]) == (409, "call_already_decided")


async def test_of_two_calls_each_has_its_own_answer(tmp_path: Path) -> None:
    async with house(tmp_path) as home, asking(home, "work twice") as reading:
        await reading.until("tool.awaiting_approval")
        second = await reading.until("tool.awaiting_approval")
        first = reading.told[0]
        for asked, word in ((second, "approve"), (first, "deny")):
            await home.post(f"/v1/runs/{reading.run_id}/calls/{asked['call_id']}/{word}")
        await reading.rest()
        calls = await home.calls(reading.run_id)

    assert [(call["id"], call["outcome"]) for call in calls] == [
        (first["call_id"], "denied"),
        (second["call_id"], "succeeded"),
    ]


async def test_a_call_that_nobody_approves_in_time_is_not_made(tmp_path: Path) -> None:
    async with house(tmp_path, approval_seconds=0.2) as home, asking(home, "progress") as reading:
        asked = await reading.until("tool.awaiting_approval")
        text = await reading.rest()
        late = await home.post(f"/v1/runs/{reading.run_id}/calls/{asked['call_id']}/approve")

    assert "Nobody approved this call in time" in text
    assert (late.status_code, late.json()["error"]["code"]) == (409, "call_not_waiting")


async def test_the_process_that_asked_need_not_live(tmp_path: Path) -> None:
    async with house(tmp_path) as home, AsyncExitStack() as stack:
        first = await stack.enter_async_context(AsyncExitStack())
        url = await facade(first, home.mesh.targets)
        async with asking(home, "progress", url) as reading:
            asked = await reading.until("tool.awaiting_approval")
        await first.aclose()
        await home.post(f"/v1/runs/{reading.run_id}/calls/{asked['call_id']}/approve")

        async def ended() -> bool:
            return await home.status(reading.run_id) == "succeeded"

        await until(ended)
        (call,) = await home.calls(reading.run_id)

    assert call["outcome"] == "succeeded"


async def test_a_run_that_waits_is_stopped_at_once(tmp_path: Path) -> None:
    async with house(tmp_path) as home, asking(home, "progress") as reading:
        asked = await reading.until("tool.awaiting_approval")
        await home.post(f"/v1/runs/{reading.run_id}/cancel")

        async def ended() -> bool:
            return await home.status(reading.run_id) == "cancelled"

        await until(ended)
        late = await home.post(f"/v1/runs/{reading.run_id}/calls/{asked['call_id']}/approve")
        (call,) = await home.calls(reading.run_id)
        run = (await home.mesh.runs.GetRun(runs.GetRunRequest(run_id=reading.run_id))).run
        items = (await home.mesh.threads.ListItems(threads.ListItemsRequest(thread_id=run.thread_id))).items

    assert late.status_code == 409
    assert (call["status"], call["outcome"]) == ("finished", "failed")  # it was never sent
    assert items[-1].message.tool_call_id == asked["call_id"]


@pytest.mark.parametrize("word", ["approve", "deny", "resolve"])
async def test_nobody_decides_for_others(tmp_path: Path, word: str) -> None:
    stranger = {"authorization": f"Bearer {OTHER_KEY}"}
    async with house(tmp_path) as home, asking(home, "progress") as reading:
        asked = await reading.until("tool.awaiting_approval")
        path = f"{home.mesh.url}/v1/runs/{reading.run_id}/calls/{asked['call_id']}/{word}"
        said = {"outcome": "failed"} if word == "resolve" else {}
        answer = await home.http.post(path, json=said, headers=stranger)

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "run_not_found")


@pytest.mark.parametrize("word", ["approve", "deny", "resolve", "answer"])
async def test_a_decision_with_a_word_that_nobody_knows_is_none(tmp_path: Path, word: str) -> None:
    async with house(tmp_path) as home, asking(home, "progress") as reading:
        asked = await reading.until("tool.awaiting_approval")
        path = f"/v1/runs/{reading.run_id}/calls/{asked['call_id']}/{word}"
        said = {"resolve": {"outcome": "failed"}, "answer": {"action": "decline"}}.get(word, {})
        refusal = await home.post(path, argument_hash="mistyped", **said)
        (call,) = await home.calls(reading.run_id)

    assert (refusal.status_code, refusal.json()["error"]["param"]) == (400, "argument_hash")
    assert call["status"] == "awaiting_approval"


async def test_what_was_found_out_about_an_unknown_outcome_is_what_the_model_reads(tmp_path: Path) -> None:
    async with house(tmp_path) as home, asking(home, f"die {tmp_path / 'ledger'}") as reading:
        await reading.rest()
        (call,) = await home.calls(reading.run_id)
        path = f"/v1/runs/{reading.run_id}/calls/{call['id']}/resolve"
        settled = await home.post(path, outcome="succeeded", output="It did die.")
        run = (await home.mesh.runs.GetRun(runs.GetRunRequest(run_id=reading.run_id))).run
        window = await home.mesh.window(run.thread_id)

    assert call["outcome"] == "unknown"
    assert settled.json()["settled"] == "succeeded"
    assert "It did die." in window
