"""Plain Python functions as tools of the whole service."""

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest

from tests.tools_svc.given import call, mesh, text
from threadmesh.api.conversation.v1 import events_pb2 as events
from threadmesh.api.tools.v1 import tools_service_pb2 as pb

EXAMPLE = Path(__file__).parents[2] / "deploy" / "mcp" / "home_tools.py"
ROUGH = '''
import os
from threadmesh.tools import tool

@tool
def crash() -> str:
    """End the process."""
    os._exit(3)

@tool
def printed() -> str:
    """Print what looks like the protocol."""
    print('{"jsonrpc": "2.0", "id": 1, "result": {}}', flush=True)
    return os.environ["WORD"]

@tool
def leave() -> str:
    """Leave, as scripts do."""
    raise SystemExit(3)

@tool
def odd() -> str:
    """Name a file that has no proper name."""
    return "na\\udce9me"

def helper() -> str:
    """Be no tool."""
    return ""
'''


TWO = '''
from threadmesh.tools import tool

@tool(effect="read_only")
def said() -> str:
    """Say something."""
    return "{answer}"
'''


async def test_an_edited_file_is_read_again_and_a_broken_edit_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(TWO.format(answer="one"))
    async with mesh(tmp_path, mine={"python": str(file)}) as running, asyncio.timeout(60):
        before = text((await running.run(call("mine__said")))["call"])
        file.write_text("def broken(:")
        os.kill(os.getpid(), signal.SIGHUP)
        while running.registry.get_sample_value("threadmesh_tools_servers_file_refused") != 1:
            await asyncio.sleep(0.01)
        broken = text((await running.run(call("mine__said")))["call"])
        file.write_text(TWO.format(answer="two"))
        os.kill(os.getpid(), signal.SIGHUP)
        while (after := text((await running.run(call("mine__said")))["call"])) != "two":
            await asyncio.sleep(0.01)

    assert (before, broken, after) == ("one", "one", "two")


async def test_the_example_offers_its_functions_and_runs_them(tmp_path: Path) -> None:
    async with mesh(tmp_path, home={"python": str(EXAMPLE)}) as running:
        listed = await running.tools.ListTools(pb.ListToolsRequest())
        given = await running.events(
            call("home__brew_tea", "tea", cups=2),
            call("home__set_lamp", "lamp", room="hall", brightness=3),
            call("home__brew_tea", "too much", cups=5),
            call("home__set_lamp", "wrong", room="cellar", brightness=3),
        )

    effects = {tool.definition.name: tool.effect for tool in listed.tools}
    assert effects == {
        "home__lamps": pb.EFFECT_READ_ONLY,
        "home__set_lamp": pb.EFFECT_IDEMPOTENT,
        "home__brew_tea": pb.EFFECT_UNSAFE,
    }
    ended = {each.call_id: each.finished for each in given if each.HasField("finished")}
    progress = [each.progress.progress for each in given if each.HasField("progress")]
    assert text(ended["tea"]) == "2 cups of tea, without sugar"
    assert progress[-1] == 2
    assert json.loads(ended["lamp"].structured_json) == {"room": "hall", "brightness": 3}
    assert text(ended["too much"]) == "The pot holds four cups; ask for fewer."
    assert ended["wrong"].failure.reason == "INVALID_TOOL_ARGUMENTS"


async def test_the_servers_file_has_the_last_word_on_effects(tmp_path: Path) -> None:
    server = {"python": str(EXAMPLE), "effects": {"lamps": "unsafe", "brew_tea": "idempotent"}}
    async with mesh(tmp_path, home=server) as running:
        listed = await running.tools.ListTools(pb.ListToolsRequest())

    effects = {tool.server_tool: tool.effect for tool in listed.tools}
    assert effects["lamps"] == pb.EFFECT_UNSAFE
    assert effects["brew_tea"] == pb.EFFECT_IDEMPOTENT


async def test_neither_an_exit_nor_an_odd_name_costs_the_server(tmp_path: Path) -> None:
    file = tmp_path / "rough.py"
    file.write_text(ROUGH)
    rough = {"python": str(file), "env": {"WORD": "hello"}}
    async with mesh(tmp_path, rough=rough) as running, asyncio.timeout(60):
        ended = await running.run(*(call(f"rough__{each}", each) for each in ("leave", "odd", "printed")))

    assert text(ended["leave"]) == "The tool failed with SystemExit."
    assert [text(ended["odd"]), text(ended["printed"])] == ["na?me", "hello"]


async def test_a_crash_costs_its_own_call_and_what_is_printed_disturbs_nobody(tmp_path: Path) -> None:
    file = tmp_path / "rough.py"
    file.write_text(ROUGH)
    rough = {"python": str(file), "env": {"WORD": "hello"}}
    async with mesh(tmp_path, rough=rough, home={"python": str(EXAMPLE)}) as running:
        listed = await running.tools.ListTools(pb.ListToolsRequest())
        printed = await running.run(call("rough__printed"))
        ended = await running.run(call("rough__crash", "crash"), call("home__brew_tea", "tea", cups=1))

    assert {tool.server_tool for tool in listed.tools if tool.server == "rough"} == {
        "crash",
        "printed",
        "leave",
        "odd",
    }
    assert text(printed["call"]) == "hello"
    assert ended["crash"].outcome == events.CALL_OUTCOME_UNKNOWN
    assert ended["tea"].outcome == events.CALL_OUTCOME_SUCCEEDED


UNTYPED = "from threadmesh.tools import tool\n@tool\ndef f(x): ..."


@pytest.mark.parametrize("code", ["import no_such_module", "x = 1", UNTYPED])
async def test_a_file_that_cannot_be_used_leaves_its_server_away(tmp_path: Path, code: str) -> None:
    file = tmp_path / "broken.py"
    file.write_text(code)
    async with mesh(tmp_path, wait=False, broken={"python": str(file)}) as running, asyncio.timeout(60):
        await running.seen(running.tools.WatchTools(pb.WatchToolsRequest()), pb.SERVER_STATE_UNAVAILABLE, "broken")
