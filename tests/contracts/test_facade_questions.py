"""What the facade's ports promise about calls whose servers ask."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, aclosing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from facade.adapters.tools_client import ToolsClient
from facade.domain.events import Run, RunState, ToolEvent
from facade.domain.metered import MeteredTools
from facade.domain.parameters import TurnParameters
from facade.domain.ports import NO_ANSWERS, Tools
from facade.domain.rate_limits import RateLimits
from facade.domain.records import Answered
from tests.servers.given import QUESTIONER
from tests.turn.mesh import served
from threadmesh.clock import SystemClock
from threadmesh.conversation import CallFinished, CallOutcome, ToolCall
from threadmesh.keys.key import KeyLimits
from threadmesh.questions import Answer, AnswerAction, InputRequired
from threadmesh.rpc.channel import connect
from tools_svc.app import app as tools_app
from tools_svc.settings import ToolsSettings

CALL = ToolCall(id="a", name="questioner__book", arguments_json='{"title": "Meeting"}')
RUN = Run(
    id="run_q",
    thread_id="thread_q",
    state=RunState.RUNNING,
    create_time=datetime.now(UTC),
    epoch=1,
    parameters_json=TurnParameters(caller="k").to_json(),
)


@pytest.fixture(params=["plain", "metered"])
async def tools(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Tools]:
    servers = tmp_path / "servers.json"
    questioner = {"command": sys.executable, "args": [QUESTIONER, "stateless"], "elicitation": True}
    servers.write_text(json.dumps({"mcpServers": {"questioner": questioner}}))
    limits = RateLimits(lambda _: KeyLimits(tool_calls_per_minute=1), SystemClock())
    async with AsyncExitStack() as stack:
        port = await served(stack, tools_app, ToolsSettings(servers_file=str(servers), state_dir=tmp_path))
        client = ToolsClient(await stack.enter_async_context(connect(f"127.0.0.1:{port}")))
        async with asyncio.timeout(30):
            while not (await client.offer()).tools:
                await asyncio.sleep(0.01)
        metered = MeteredTools(client, limits, on_refused=lambda error: pytest.fail(str(error)))
        yield client if request.param == "plain" else metered


async def last(tools: Tools, *, resumed: bool = False, answered: Mapping[str, Answered] = NO_ANSWERS) -> ToolEvent:
    """Run the call to its end or its question."""
    told: list[ToolEvent] = []
    attached = tools.execute([CALL], run=RUN, resumed=resumed, answered=answered)
    async with asyncio.timeout(20), aclosing(attached) as events:
        async for _, event in events:
            told.append(event)
    return told[-1]


async def test_a_call_that_asks_goes_on_when_it_is_answered_and_counts_once(tools: Tools) -> None:
    required = await last(tools)
    again = await last(tools, resumed=True)
    assert isinstance(required, InputRequired)
    name = required.questions[0].id
    answers = (Answer(question_id=name, action=AnswerAction.ACCEPT, content_json='{"seats": 4}'),)
    ended = await last(tools, answered={"a": Answered(required=required, answers=answers)})

    assert again == required
    assert (required.name, required.server, required.round) == (CALL.name, "questioner", 1)
    assert isinstance(ended, CallFinished)
    assert ended.outcome is CallOutcome.SUCCEEDED
