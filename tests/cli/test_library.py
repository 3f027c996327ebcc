import asyncio
import json

from tests.cli.conftest import CommandLine
from tests.cli.servers import serving, tools_service


async def _ran(threadmesh: CommandLine, *words: str) -> tuple[int, str, str]:
    async with serving(tools_service()) as target:
        ran = await asyncio.to_thread(threadmesh, "tools", *words, "--target", target)
    return ran.status, ran.out, ran.err


async def test_resources_are_listed_with_their_templates(threadmesh: CommandLine) -> None:
    status, out, _ = await _ran(threadmesh, "resources")
    _, as_json, _ = await _ran(threadmesh, "resources", "--json")

    assert status == 0
    assert [line.split() for line in out.splitlines()[1:]] == [
        ["demo", "note://a", "text/plain", "A", "note."],
        ["demo", "note://{name}", "any", "note"],
    ]
    assert json.loads(as_json)["resources"][0]["uri"] == "note://a"
    assert json.loads(as_json)["templates"][0]["uri_template"] == "note://{name}"


async def test_a_text_is_written_without_what_steers_the_terminal(threadmesh: CommandLine) -> None:
    assert await _ran(threadmesh, "read", "demo", "note://a") == (0, "[31mwords\n", "")


async def test_bytes_are_in_the_json(threadmesh: CommandLine) -> None:
    _, as_json, _ = await _ran(threadmesh, "read", "demo", "note://bytes", "--json")

    assert json.loads(as_json)["contents"] == [{"uri": "note://bytes", "mime_type": "", "base64": "AP8="}]


async def test_what_is_not_there_is_told_in_one_line(threadmesh: CommandLine) -> None:
    assert await _ran(threadmesh, "read", "demo", "note://b") == (1, "", "error: There is no such resource.\n")


async def test_prompts_are_listed_with_their_arguments(threadmesh: CommandLine) -> None:
    status, out, _ = await _ran(threadmesh, "prompts")
    _, as_json, _ = await _ran(threadmesh, "prompts", "--json")

    assert status == 0
    assert out.splitlines()[1].split() == ["demo__explain", "demo", "tool", "[tone]", "Explains."]
    assert [each["required"] for each in json.loads(as_json)["prompts"][0]["arguments"]] == [True, False]


async def test_a_prompt_is_filled_in_with_texts(threadmesh: CommandLine) -> None:
    status, out, _ = await _ran(threadmesh, "prompt", "demo__explain", "tool=5", "tone=true")

    assert status == 0
    assert json.loads(out) == {"tool": "5", "tone": "true"}
