"""What users have tools do for them, from the question to what stands in the thread, over the real units."""

import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from inference_svc.app import app as inference_app
from inference_svc.settings import InferenceSettings
from tests.turn.mesh import Mesh, running, served
from threadmesh.api.context.v1 import runs_service_pb2 as runs
from threadmesh.api.context.v1 import threads_service_pb2 as threads
from threadmesh.api.conversation.v1 import events_pb2 as events
from threadmesh.api.conversation.v1.conversation_pb2 import ToolCall
from threadmesh.api.tools.v1 import tools_service_pb2 as tools
from threadmesh.api.tools.v1.tools_service_pb2_grpc import ToolsServiceStub
from tools_svc.app import app as tools_app
from tools_svc.settings import ToolsSettings

OFFICE = str(Path(__file__).parents[1] / "servers" / "office.py")
SCRIPT = Path(__file__).with_name("journeys.json")


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


@pytest.fixture
async def mesh(tmp_path: Path, ledger: Path) -> AsyncIterator[Mesh]:
    office = {"command": sys.executable, "args": [OFFICE, str(ledger)], "effects": {"board_summary": "read_only"}}
    file = tmp_path / "office.json"
    file.write_text(json.dumps({"mcpServers": {"office": office}}))
    async with AsyncExitStack() as stack:
        tool_port = await served(stack, tools_app, ToolsSettings(servers_file=str(file), state_dir=tmp_path / "state"))
        model_port = await served(stack, inference_app, InferenceSettings(model="none", script=str(SCRIPT)))
        targets: dict[str, Any] = {
            "tools_target": f"127.0.0.1:{tool_port}",
            "inference_target": f"127.0.0.1:{model_port}",
        }
        yield await stack.enter_async_context(running(tmp_path, **targets))


def lines(ledger: Path) -> list[str]:
    return ledger.read_text().splitlines()


async def ask(mesh: Mesh, text: str) -> tuple[str, list[dict[str, Any]], str]:
    """Ask, and let long work go on whenever it is told of; gives the text, what was told of tools, and the run."""
    metadata = {"tools": "all", "events": "1", "thread_key": "office"}
    stream = await mesh.openai.chat.completions.create(
        model="scripted", messages=[{"role": "user", "content": text}], metadata=metadata, stream=True
    )
    said, told = "", list[dict[str, Any]]()
    async for chunk in stream:
        said += "".join(choice.delta.content or "" for choice in chunk.choices)
        if event := (chunk.model_extra or {}).get("threadmesh"):
            told.append(event)
            await _release(mesh, event)
    return said, told, stream.response.headers["x-run-id"]


async def _release(mesh: Mesh, event: dict[str, Any]) -> None:
    """Let the work take its first step when it has begun, and the next one at each step."""
    work = ""
    if event["event"] == "tool.started":
        arguments = json.loads(event["arguments"])
        work = arguments.get("service") or arguments.get("command") or ""
    elif event["event"] == "tool.progress":
        work = event["message"].split(":")[0]
    if work:
        call = ToolCall(id="step", name="office__release", arguments_json=json.dumps({"work": work}))
        async for _ in ToolsServiceStub(mesh.tools).ExecuteTools(tools.ExecuteToolsRequest(calls=[call])):
            pass


async def thread(mesh: Mesh) -> list[str]:
    found = await mesh.threads.ResolveThread(threads.ResolveThreadRequest(key="office"))
    page = await mesh.threads.ListItems(threads.ListItemsRequest(thread_id=found.thread.id))
    return ["".join(part.text for part in item.message.parts) for item in page.items]


async def calls(mesh: Mesh, run_id: str) -> list[Any]:
    return list((await mesh.runs.ListCalls(runs.ListCallsRequest(run_id=run_id))).calls)


async def test_a_board_is_looked_at_and_its_items_are_closed(mesh: Mesh, ledger: Path) -> None:
    said, told, run_id = await ask(mesh, "close what is open")

    assert said == "I look at the board.Both are done."
    assert [call.name for call in await calls(mesh, run_id)] == ["office__board_summary", *["office__update_item"] * 2]
    assert [event["outcome"] for event in told if event["event"] == "tool.finished"] == ["succeeded"] * 3
    assert sorted(lines(ledger)) == ["buy tea is done", "paint the door is done"]
    assert await thread(mesh) == [
        "close what is open",
        "I look at the board.",
        "open: paint the door, buy tea",
        "",
        "paint the door is done now",
        "buy tea is done now",
        "Both are done.",
    ]


async def test_an_update_whose_answer_is_lost_has_happened_once_and_is_said_to_be_unknown(
    mesh: Mesh, ledger: Path
) -> None:
    said, told, run_id = await ask(mesh, "lose buy tea")
    (call,) = await calls(mesh, run_id)

    assert "outcome of this call is unknown" in said
    assert told[-1]["outcome"] == "unknown"
    assert call.finished.outcome == events.CALL_OUTCOME_UNKNOWN
    assert lines(ledger) == ["buy tea is lost"]


async def test_one_call_that_fails_does_not_harm_the_other_and_the_model_hears_of_both(mesh: Mesh) -> None:
    said, _, run_id = await ask(mesh, "may 7 be merged and are there other items")
    checks, update = await calls(mesh, run_id)
    told = await thread(mesh)

    assert json.loads(checks.finished.structured_json)["mergeable"] is True
    assert update.finished.outcome == events.CALL_OUTCOME_FAILED
    assert "success" in told[2]
    assert "There is no item 'no such item'." in told[3]
    assert "There is no item" in said


async def test_long_work_tells_how_far_it_is_and_both_pieces_go_on_side_by_side(mesh: Mesh, ledger: Path) -> None:
    said, told, run_id = await ask(mesh, "scale web")
    scaled, ran = await calls(mesh, run_id)
    progress = [event for event in told if event["event"] == "tool.progress"]
    last = {event["call_id"]: (event["progress"], event["total"]) for event in progress}

    assert last == {scaled.id: (3, 3), ran.id: (2, 2)}
    assert sorted(lines(ledger)) == ["ran uptime", "web scales to 4"]
    assert scaled.finished.parts[0].text == "web runs 4 tasks and is stable"
    assert said == "It says: uptime: exit status 0"
