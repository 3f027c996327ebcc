"""What a tool's server asks, as a person sees and answers it."""

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from context_svc.domain.action import Action
from context_svc.domain.call import CallState
from context_svc.domain.require_action import require_action
from context_svc.domain.run import Run, RunState
from tests.cli.conftest import CommandLine
from tests.cli.context import Context, context
from tests.cli.test_call_decisions import call, ran
from tests.context_svc.given import running, writing
from tests.servers.given import QUESTIONER
from tests.turn.test_questions import Tools
from threadmesh.questions import Answer, AnswerAction, Form, InputRequired, Question
from tools_svc.settings import ToolsSettings

SCHEMA = {
    "type": "object",
    "properties": {"seats": {"type": "integer", "maximum": 8}, "note": {"type": "string"}},
    "required": ["seats"],
}
QUESTION = Question(id="q", asked=Form(message="How many\u200b seats?", schema_json=json.dumps(SCHEMA)))
ASKED = InputRequired(name="home__lamp", server="home", questions=(QUESTION,), round=1)


async def asked(here: Context, *questions: Question) -> Run:
    """Let a run wait for answers."""
    run = await running(here.store, here.clock, "k")
    write = writing(run, b"asks", calls=(call(run, "c1", CallState.AWAITING_INPUT),))
    required = replace(ASKED, questions=questions or ASKED.questions)
    return await require_action(write, [Action(call_id="c1", asked=required)], seconds=300, store=here.store)


async def answers(here: Context, run: Run) -> tuple[Answer, ...]:
    (action,) = (await here.store.run(run.id)).actions
    return action.decision.answers if action.decision else ()


async def test_what_a_server_asks_is_listed_and_answered(threadmesh: CommandLine) -> None:
    async with context() as here:
        run = await asked(here)
        listed = json.loads((await ran(threadmesh, here, "list", "--waiting", "--json")).out)
        answered = await ran(threadmesh, here, "answer", run.id, "c1", "seats=4", "note=5")
        left = await ran(threadmesh, here, "list", "--waiting")
        (answer,) = await answers(here, run)
        state = (await here.store.run(run.id)).state

    (waiting,) = listed
    assert waiting["state"] == "asking"
    assert waiting["questions"] == [{"server": "home", "id": "q", "message": "How many\u200b seats?", "schema": SCHEMA}]
    shown = answered.out.splitlines()
    assert shown[:2] == ["home__lamp: the server home asks", "How many\\u200b seats?"]
    assert shown[-1] == "Answered c1."
    assert (answer.action, json.loads(answer.content_json)) == (AnswerAction.ACCEPT, {"seats": 4, "note": "5"})
    assert state is RunState.RUNNING
    assert left.out == "No call waits for a person.\n"


async def test_what_does_not_fit_is_not_sent(threadmesh: CommandLine) -> None:
    async with context() as here:
        run = await asked(here)
        wrong = await ran(threadmesh, here, "answer", run.id, "c1", "seats=9")
        unasked = await ran(threadmesh, here, "answer", run.id, "c1")

        assert await answers(here, run) == ()

    assert (wrong.status, unasked.status) == (1, 2)
    assert "at most 8" in wrong.err


async def test_a_person_may_decline(threadmesh: CommandLine) -> None:
    async with context() as here:
        run = await asked(here)
        declined = await ran(threadmesh, here, "answer", run.id, "c1", "--decline")
        again = await ran(threadmesh, here, "answer", run.id, "c1", "seats=4")
        said = await answers(here, run)

    assert declined.out.splitlines()[-1] == "Declined c1."
    assert said == (Answer(question_id="q", action=AnswerAction.DECLINE),)
    assert again.status == 1


async def test_several_questions_are_answered_together(threadmesh: CommandLine) -> None:
    async with context() as here:
        run = await asked(here, QUESTION, replace(QUESTION, id="other"))
        contents = json.dumps({"q": {"seats": 1}, "other": {"seats": 2}})
        answered = await ran(threadmesh, here, "answer", run.id, "c1", contents)
        said = await answers(here, run)

    assert answered.status == 0
    assert [(each.question_id, json.loads(each.content_json)["seats"]) for each in said] == [("q", 1), ("other", 2)]


async def test_a_person_at_a_terminal_is_asked_until_it_fits(
    threadmesh: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = iter(["many", "4", ""])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.prompt", lambda *_, **__: next(typed))
    async with context() as here:
        run = await asked(here)
        answered = await ran(threadmesh, here, "answer", run.id, "c1")
        (answer,) = await answers(here, run)

    assert answered.status == 0
    assert "a whole number" in answered.err
    assert json.loads(answer.content_json) == {"seats": 4}


@pytest.mark.parametrize("kind", ["stateless", "held"])
async def test_who_calls_a_tool_at_a_terminal_answers_its_server(
    threadmesh: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    typed = iter(["4", "blue"])
    monkeypatch.setattr("typer.prompt", lambda *_, **__: next(typed))
    servers = tmp_path / "servers.json"
    questioner = {"command": sys.executable, "args": [QUESTIONER, kind], "elicitation": True}
    servers.write_text(json.dumps({"mcpServers": {"questioner": questioner}}))
    words = ["tools", "call", "questioner__book", "title=Meeting", "--target"]
    async with AsyncExitStack() as stack:
        settings = ToolsSettings(servers_file=str(servers), state_dir=tmp_path)
        tools = Tools(settings, stack=stack)
        await tools.start()
        target = f"127.0.0.1:{tools.port}"
        alone = await asyncio.to_thread(threadmesh, *words, target)
        monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
        answered = await asyncio.to_thread(threadmesh, *words, target)

    assert (alone.status, "was not given" in alone.err or "Nobody" in alone.err) == (1, True)
    assert (answered.status, answered.out) == (0, "Meeting: 4 in blue\n")
    assert "the server questioner asks" in answered.err


async def test_a_call_that_asks_nothing_is_not_answered(threadmesh: CommandLine) -> None:
    async with context() as here:
        run = await running(here.store, here.clock, "k")
        write = writing(run, b"asks", calls=(call(run, "c1"),))
        await require_action(write, [Action(call_id="c1")], seconds=300, store=here.store)
        refused = await ran(threadmesh, here, "answer", run.id, "c1", "seats=4")

    assert (refused.status, "asks nothing" in refused.err) == (1, True)
