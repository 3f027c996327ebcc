"""Tool servers that ask in the middle of a call: persons and models answer, over the real units."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.servers.given import QUESTIONER, WORKSHOP
from tests.turn.mesh import KEY, OTHER_KEY, Mesh, facade, running, served, until
from tests.turn.test_approval import House, Reading, asking
from tests.turn.test_tool_recovery import open_the_gate
from threadmesh.api.context.v1 import runs_service_pb2 as runs_pb
from threadmesh.api.conversation.v1 import events_pb2 as events_pb
from threadmesh.api.tools.v1 import tools_service_pb2 as tools_pb
from threadmesh.api.tools.v1.tools_service_pb2_grpc import ToolsServiceStub
from threadmesh.rpc.channel import connect
from tools_svc.app import app as tools_app
from tools_svc.settings import ToolsSettings

MAY_ASK = {"elicitation": True, "sampling": True}
ANSWER = {"content": {"seats": 4, "room": "blue"}}


@dataclass(slots=True)
class Tools:
    """A tools service with the questioner that can be started again at its place."""

    settings: ToolsSettings
    port: int = 0
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def start(self) -> None:
        self.port = await served(self.stack, tools_app, self.settings, self.port)
        async with connect(f"127.0.0.1:{self.port}") as channel:
            states = ToolsServiceStub(channel).WatchTools(tools_pb.WatchToolsRequest(), wait_for_ready=True)
            async for state in states:
                servers = state.catalogue.servers
                if servers and all(server.state == tools_pb.SERVER_STATE_READY for server in servers):
                    return

    async def close(self) -> None:
        await self.stack.aclose()

    async def restart(self) -> None:
        await self.close()
        self.stack = AsyncExitStack()
        await self.start()


@pytest.fixture(params=["stateless", "held"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@asynccontextmanager
async def house(
    directory: Path, kind: str, *, server: dict[str, Any] | None = None, workshop: bool = False, **settings: Any
) -> AsyncIterator[tuple[House, Tools]]:
    """Run a mesh whose tools are the questioner's, and perhaps the workshop's."""
    may = MAY_ASK if server is None else server
    named = {"command": sys.executable, "args": [QUESTIONER, kind], "timeout_seconds": 20, **may}
    file = directory / "questioner.json"
    servers = {"questioner": named}
    if workshop:
        servers["workshop"] = {"command": sys.executable, "args": [WORKSHOP, "stdio"]}
    file.write_text(json.dumps({"mcpServers": servers}))
    tools = Tools(ToolsSettings(servers_file=str(file), state_dir=directory / "tools"))
    await tools.start()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(tools.close)
        target = f"127.0.0.1:{tools.port}"
        mesh: Mesh = await stack.enter_async_context(running(directory, tools_target=target, **settings))
        client = httpx2.AsyncClient(timeout=30, headers={"authorization": f"Bearer {KEY}"})
        yield House(mesh, await stack.enter_async_context(client)), tools


async def answer(home: House, reading: Reading, asked: dict[str, Any], url: str = "", **body: Any) -> httpx2.Response:
    return await home.post(f"/v1/runs/{reading.run_id}/calls/{asked['call_id']}/answer", url, **(body or ANSWER))


async def test_a_person_answers_and_the_call_goes_on(tmp_path: Path, kind: str) -> None:
    async with house(tmp_path, kind) as (home, _), asking(home, "book") as reading:
        asked = await reading.until("tool.input_required")
        run = (await home.http.get(f"{home.mesh.url}/v1/runs/{reading.run_id}")).json()
        answered = await answer(home, reading, asked)
        text = await reading.rest()
        (ended,) = await home.calls(reading.run_id)
        late = await answer(home, reading, asked)
        other = await answer(home, reading, asked, action="decline")

    (question,) = asked["questions"]
    assert (asked["name"], asked["server"], question["message"]) == (
        "questioner__book",
        "questioner",
        "How many seats?",
    )
    assert question["schema"]["required"] == ["seats"]
    (waiting,) = run["required_action"]["calls"]
    assert (run["status"], waiting["status"]) == ("requires_action", "awaiting_input")
    assert waiting["input_required"] == {"server": "questioner", "round": 1, "questions": [question]}
    assert (answered.status_code, answered.json()["answered"]) == (200, {question["id"]: "accept"})
    assert text == "The tool said: Meeting: 4 in blue"
    assert [told["event"] for told in reading.told] == ["tool.started", "tool.input_required", "tool.finished"]
    assert (ended["outcome"], late.status_code) == ("succeeded", 200)
    assert other.json()["error"]["code"] == "call_already_decided"


@pytest.mark.parametrize("action", ["decline", "cancel"])
async def test_a_person_need_not_answer(tmp_path: Path, kind: str, action: str) -> None:
    async with house(tmp_path, kind) as (home, _), asking(home, "book") as reading:
        await answer(home, reading, await reading.until("tool.input_required"), action=action)
        text = await reading.rest()

    assert text == f"The tool said: Meeting: {action}"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"content": {"seats": "4"}}, "content.seats"),
        ({"content": {}}, "content.seats"),
        ({"content": {"seats": 4, "beds": 1}}, "content.beds"),
        ({"action": "decline", "content": {"seats": 4}}, "content"),
        ({"action": "perhaps"}, "action"),
        ({"answers": {"another": {"action": "decline"}}}, "answers.another"),
    ],
)
async def test_an_answer_that_does_not_fit_is_refused_with_its_place(
    tmp_path: Path, body: dict[str, Any], param: str
) -> None:
    async with house(tmp_path, "stateless") as (home, _), asking(home, "book") as reading:
        asked = await reading.until("tool.input_required")
        refused = await answer(home, reading, asked, **body)
        status = await home.status(reading.run_id)
        await answer(home, reading, asked)
        await reading.rest()

    assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)
    assert status == "requires_action"


async def test_a_question_that_nobody_answers_in_time_is_cancelled(tmp_path: Path, kind: str) -> None:
    async with house(tmp_path, kind, approval_seconds=0.2) as (home, _), asking(home, "book") as reading:
        asked = await reading.until("tool.input_required")
        text = await reading.rest()
        late = await answer(home, reading, asked)

    assert text == "The tool said: Meeting: cancel"
    assert (late.status_code, late.json()["error"]["code"]) == (409, "call_not_waiting")


async def test_the_runs_model_answers_what_is_asked_of_a_model(tmp_path: Path, kind: str) -> None:
    async with house(tmp_path, kind) as (home, _), asking(home, "greet") as reading:
        text = await reading.rest()

    assert text == "The tool said: scripted says hello there"
    assert [told["event"] for told in reading.told] == ["tool.started", "tool.finished"]


async def test_an_answer_that_is_sent_again_does_not_answer_the_next_question(tmp_path: Path) -> None:
    seats: dict[str, Any] = {"content": {"seats": 2}, "round": 1}
    async with house(tmp_path, "held") as (home, _), asking(home, "sign") as reading:
        first = await reading.until("tool.input_required")
        await answer(home, reading, first, **seats, request_id="first")
        second = await reading.until("tool.input_required")
        known = await answer(home, reading, first, **seats, request_id="first")
        stale = await answer(home, reading, first, **seats)
        status = await home.status(reading.run_id)
        await answer(home, reading, second, content={"agreed": True}, round=2)
        text = await reading.rest()

    assert [asked["question_round"] for asked in (first, second)] == [1, 2]
    assert (known.status_code, status) == (200, "requires_action")
    assert (stale.status_code, stale.json()["error"]["code"]) == (409, "call_already_decided")
    assert text == "The tool said: 2 True hello there"


async def test_a_model_answers_while_other_calls_are_under_way(tmp_path: Path, kind: str) -> None:
    async with house(tmp_path, kind, workshop=True) as (home, _), asking(home, "greet at the gate") as reading:
        ended = await reading.until("tool.finished")
        await open_the_gate(home.mesh)
        text = await reading.rest()

    assert (ended["name"], ended["output"]) == ("questioner__greet", "scripted says hello there")
    assert text.startswith("The tool said:")


async def test_a_call_may_ask_a_model_and_a_person(tmp_path: Path, kind: str) -> None:
    async with house(tmp_path, kind) as (home, _), asking(home, "sign") as reading:
        asked = await reading.until("tool.input_required")
        bodies = {"How many seats?": {"content": {"seats": 2}}, "Do you agree?": {"content": {"agreed": True}}}
        while True:
            said = {each["id"]: bodies[each["message"]] for each in asked["questions"]}
            assert (await answer(home, reading, asked, answers=said)).status_code == 200
            if kind == "stateless" or len(reading.told) == 3:
                break
            asked = await reading.until("tool.input_required")
        text = await reading.rest()

    assert text == "The tool said: 2 True hello there"


async def test_other_calls_of_the_round_do_not_wait(tmp_path: Path) -> None:
    async with house(tmp_path, "stateless") as (home, _), asking(home, "book and greet") as reading:
        asked = await reading.until("tool.input_required")
        states = {call["name"]: call["status"] for call in await home.calls(reading.run_id)}
        await answer(home, reading, asked)
        await reading.rest()
        outcomes = [call["outcome"] for call in await home.calls(reading.run_id)]

    assert states == {"questioner__book": "awaiting_input", "questioner__greet": "finished"}
    assert outcomes == ["succeeded", "succeeded"]


@pytest.mark.parametrize(("kind", "outcome"), [("stateless", "succeeded"), ("held", "unknown")])
async def test_a_restart_of_the_tools_service_loses_only_what_it_held(tmp_path: Path, kind: str, outcome: str) -> None:
    async with house(tmp_path, kind) as (home, tools), asking(home, "book") as reading:
        asked = await reading.until("tool.input_required")
        await tools.restart()
        await answer(home, reading, asked)
        await reading.rest()
        (call,) = await home.calls(reading.run_id)

    assert call["outcome"] == outcome


async def test_the_process_that_asked_need_not_live(tmp_path: Path, kind: str) -> None:
    async with house(tmp_path, kind) as (home, _), AsyncExitStack() as stack:
        first = await stack.enter_async_context(AsyncExitStack())
        url = await facade(first, home.mesh.targets)
        async with asking(home, "book", url) as reading:
            asked = await reading.until("tool.input_required")
        await first.aclose()
        await answer(home, reading, asked)

        async def ended() -> bool:
            return await home.status(reading.run_id) == "succeeded"

        await until(ended)
        (call,) = await home.calls(reading.run_id)

    assert (call["outcome"], call["output"]) == ("succeeded", "Meeting: 4 in blue")


async def test_a_facade_that_dies_with_a_question_leaves_it_to_the_next(tmp_path: Path, kind: str) -> None:
    async with house(tmp_path, kind, workshop=True) as (home, _), AsyncExitStack() as stack:
        first = await stack.enter_async_context(AsyncExitStack())
        url = await facade(first, home.mesh.targets)
        async with asking(home, "book at the gate", url) as reading:
            await reading.until("tool.progress")  # one call waits at the gate, and nobody has been asked yet
        await first.aclose()
        await open_the_gate(home.mesh)

        async def asked() -> bool:
            return await home.status(reading.run_id) == "requires_action"

        await until(asked)
        (call,) = [each for each in await home.calls(reading.run_id) if each["status"] == "awaiting_input"]
        await answer(home, reading, {"call_id": call["id"]})

        async def ended() -> bool:
            return await home.status(reading.run_id) == "succeeded"

        await until(ended)
        outputs = [each["output"] for each in await home.calls(reading.run_id)]

    assert outputs == ["Meeting: 4 in blue", "passed"]


async def over(home: House, run_id: str) -> dict[str, int]:
    """Wait until tools_svc carries no call of a run any more, and give how its calls have ended."""
    ended: dict[str, int] = {}
    async with asyncio.timeout(10):
        async for event in ToolsServiceStub(home.mesh.tools).WatchCalls(tools_pb.WatchCallsRequest(run_id=run_id)):
            if event.HasField("finished"):
                ended[event.finished.name or event.call_id] = event.finished.outcome
    return ended


@pytest.mark.parametrize("by", ["rest", "grpc"])
async def test_stopping_a_run_stops_the_call_that_waits_for_a_person(tmp_path: Path, kind: str, by: str) -> None:
    async with house(tmp_path, kind) as (home, _), asking(home, "book") as reading:
        await reading.until("tool.input_required")
        if by == "rest":
            await home.post(f"/v1/runs/{reading.run_id}/cancel")
        else:
            await home.mesh.runs.CancelRun(runs_pb.CancelRunRequest(run_id=reading.run_id))
        (outcome,) = (await over(home, reading.run_id)).values()

        async def ended() -> bool:
            return await home.status(reading.run_id) == "cancelled"

        await until(ended)
        async with asking(home, "greet") as next_one:
            text = await next_one.rest()

    assert outcome == (events_pb.CALL_OUTCOME_UNKNOWN if kind == "held" else events_pb.CALL_OUTCOME_CANCELLED)
    assert text == "The tool said: scripted says hello there"


async def test_a_client_that_leaves_stops_the_call_that_waits_for_a_person(tmp_path: Path, kind: str) -> None:
    async with house(tmp_path, kind) as (home, _):
        async with asking(home, "book", thread_key="", on_disconnect="cancel") as reading:
            await reading.until("tool.input_required")
        ended = await over(home, reading.run_id)

    assert len(ended) == 1


async def test_an_interruption_stops_the_call_that_waits_for_a_person(tmp_path: Path, kind: str) -> None:
    async with house(tmp_path, kind) as (home, _), asking(home, "book") as reading:
        await reading.until("tool.input_required")
        async with asking(home, "greet", multitask="interrupt") as next_one:
            text = await next_one.rest()
        ended = await over(home, reading.run_id)

    assert text == "The tool said: scripted says hello there"
    assert len(ended) == 1


async def test_stopping_a_run_stops_a_call_that_asks_while_others_are_under_way(tmp_path: Path, kind: str) -> None:
    async with house(tmp_path, kind, workshop=True) as (home, _), asking(home, "book at the gate") as reading:
        await reading.until("tool.progress")
        await home.post(f"/v1/runs/{reading.run_id}/cancel")

        async def ended() -> bool:
            return await home.status(reading.run_id) == "cancelled"

        await until(ended)
        await open_the_gate(home.mesh)
        outcomes = await over(home, reading.run_id)

    assert len(outcomes) == 2
    assert events_pb.CALL_OUTCOME_SUCCEEDED not in outcomes.values(), "a call that asks nothing is told to stop, too"


async def test_a_server_that_may_not_ask_gets_no_answer(tmp_path: Path, kind: str) -> None:
    async with house(tmp_path, kind, server={}) as (home, _), asking(home, "book") as reading:
        await reading.rest()
        (call,) = await home.calls(reading.run_id)

    assert call["outcome"] == "failed"
    assert call["input_required"] is None


async def test_nobody_answers_for_others(tmp_path: Path) -> None:
    stranger = {"authorization": f"Bearer {OTHER_KEY}"}
    async with house(tmp_path, "stateless") as (home, _), asking(home, "book") as reading:
        asked = await reading.until("tool.input_required")
        path = f"{home.mesh.url}/v1/runs/{reading.run_id}/calls/{asked['call_id']}/answer"
        refused = await home.http.post(path, json=ANSWER, headers=stranger)

    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "run_not_found")


async def test_a_response_stays_open_until_the_person_has_answered(tmp_path: Path) -> None:
    async with house(tmp_path, "stateless") as (home, _):
        create = home.mesh.openai.responses.create
        answering = asyncio.create_task(create(model="scripted", input="book", metadata={"tools": "all"}))
        url = f"{home.mesh.url}/v1/runs?status=requires_action"

        async def waits() -> bool:
            return bool((await home.http.get(url)).json()["data"])

        await until(waits)
        (run,) = (await home.http.get(url)).json()["data"]
        (call,) = await home.calls(run["id"])
        await home.http.post(f"{home.mesh.url}/v1/runs/{run['id']}/calls/{call['id']}/answer", json=ANSWER)
        response = await answering

    assert (response.status, response.output_text) == ("completed", "The tool said: Meeting: 4 in blue")
