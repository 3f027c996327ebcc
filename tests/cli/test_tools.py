import asyncio
import json

from tests.cli.conftest import CommandLine
from tests.cli.servers import serving, tools_service
from threadmesh.cli.ports import free_port


async def test_the_catalogue_is_listed_and_missing_servers_are_noticed(threadmesh: CommandLine) -> None:
    async with serving(tools_service()) as target:
        ran = await asyncio.to_thread(threadmesh, "tools", "list", "--target", target)

    assert ran.status == 0
    assert "demo__echo" in ran.out
    assert "read only" in ran.out
    assert "Says it again." in ran.out
    assert "gone is unavailable: its command is missing" in ran.err


async def test_the_catalogue_as_json_holds_the_schemas(threadmesh: CommandLine) -> None:
    async with serving(tools_service()) as target:
        ran = await asyncio.to_thread(threadmesh, "tools", "list", "--json", "--target", target)

    body = json.loads(ran.out)
    assert body["tools"][0]["parameters"]["properties"] == {"text": {"type": "string"}}
    assert body["servers"][1] == {
        "name": "gone",
        "state": "unavailable",
        "tools": 0,
        "failure": "its command is missing",
    }


async def test_a_call_shows_its_progress_and_writes_its_result_without_steering_the_terminal(
    threadmesh: CommandLine,
) -> None:
    async with serving(tools_service()) as target:
        ran = await asyncio.to_thread(threadmesh, "tools", "call", "demo__echo", "text=5", "--target", target)

    assert ran.status == 0
    assert ran.out == '[31m{"text": "5"}\n'
    assert ran.err.splitlines() == ['→ demo__echo {"text": "5"}', "… 1/4 a quarter"]


async def test_a_failed_call_ends_with_1_and_its_reason(threadmesh: CommandLine) -> None:
    async with serving(tools_service()) as target:
        ran = await asyncio.to_thread(threadmesh, "tools", "call", "demo__fail", "{}", "--target", target)

    assert ran.status == 1
    assert ran.out == ""
    assert ran.err.splitlines()[-1] == "error: demo__fail failed after 0.00 s: It does not work today. Try tomorrow."


async def test_an_unknown_tool_is_told_with_those_of_similar_names(threadmesh: CommandLine) -> None:
    async with serving(tools_service()) as target:
        ran = await asyncio.to_thread(threadmesh, "tools", "call", "demo_ecko", "--target", target)

    assert ran.status == 1
    assert "did you mean demo__echo" in ran.err


def test_a_mesh_that_is_not_there_ends_with_3_and_what_to_do(threadmesh: CommandLine) -> None:
    ran = threadmesh("tools", "list", "--target", f"127.0.0.1:{free_port('127.0.0.1')}")

    assert ran.status == 3
    assert "threadmesh up" in ran.err
    assert len(ran.err.splitlines()) == 1
