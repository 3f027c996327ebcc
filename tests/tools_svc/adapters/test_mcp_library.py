"""Resources and prompts of servers that get them wrong."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.servers.given import LIBRARIAN, running, stdio_source, until_listed
from threadmesh.conversation import Role
from threadmesh.errors import MeshError, ToolAnswerUnreadable, ToolResultTooLarge
from tools_svc.adapters.mcp_source import McpSource
from tools_svc.domain.tool import ServerState

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def librarian() -> AsyncIterator[McpSource]:
    async with running(stdio_source(LIBRARIAN)) as source:
        yield source


async def test_a_list_or_an_entry_that_is_wrong_costs_itself_only(librarian: McpSource) -> None:
    library = await until_listed(librarian, "note://fine")

    fine, half, *_ = library.resources
    assert fine.uri == "note://fine"
    assert (half.uri, half.size) == ("note://half ? pair", 0)
    assert [template.uri_template for template in library.templates] == ["note://{name}"]
    assert library.prompts == ()
    assert librarian.status.state is ServerState.READY
    assert [tool.name for tool in librarian.status.tools] == ["fine"]


async def test_a_list_that_is_too_long_is_cut(librarian: McpSource) -> None:
    library = await until_listed(librarian, "note://fine")

    assert 100 < len(library.resources) < 300


@pytest.mark.parametrize(
    ("uri", "error"),
    [
        ("note://nothing", ToolAnswerUnreadable),
        ("note://bad", ToolAnswerUnreadable),
        ("note://neither", ToolAnswerUnreadable),
        ("note://many", ToolResultTooLarge),
    ],
)
async def test_an_answer_that_nobody_understands_is_an_error(
    librarian: McpSource, uri: str, error: type[MeshError]
) -> None:
    async with asyncio.timeout(30):
        with pytest.raises(error):
            await librarian.read(uri)

        assert [each.content for each in await librarian.read("note://fine")] == ["yes"]


async def test_prompts_speak_for_persons_and_models_only(librarian: McpSource) -> None:
    async with asyncio.timeout(30):
        filled = await librarian.prompt("fine", {})
        for name in ("nobody", "none"):
            with pytest.raises(ToolAnswerUnreadable):
                await librarian.prompt(name, {})
        with pytest.raises(ToolResultTooLarge):
            await librarian.prompt("many", {})

    assert [(each.role, each.text) for each in filled.messages] == [(Role.ASSISTANT, "yes")]


async def test_giving_up_a_question_disturbs_no_other(librarian: McpSource) -> None:
    async with asyncio.timeout(30):
        waiting = asyncio.create_task(librarian.read("note://never"))
        await librarian.read("note://fine")
        waiting.cancel()
        await asyncio.wait({waiting})

        assert waiting.cancelled()
        assert await librarian.read("note://fine")
