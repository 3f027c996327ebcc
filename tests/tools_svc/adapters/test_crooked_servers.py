"""MCP servers that break the protocol: what that costs, and whom."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
import structlog

from tests.servers.crooked import TOOLS
from tests.servers.given import CROOKED, VERBOSE, invocation, mcp_source, output, running, stdio_source, until, updates
from threadmesh.conversation import CallProgress, Text
from threadmesh.errors import (
    DeadlineExceeded,
    MeshError,
    ToolAnswerUnreadable,
    ToolConnectionLost,
    ToolFailed,
    ToolResultInvalid,
    ToolResultTooLarge,
)
from tools_svc.adapters.jsonschema_compiler import JsonSchemaCompiler
from tools_svc.adapters.mcp_source import McpSource
from tools_svc.adapters.server_config import StdioServer
from tools_svc.domain.call import ToolOutput
from tools_svc.domain.catalog import shelve
from tools_svc.domain.policy import ServerPolicy
from tools_svc.domain.tool import ServerState


@pytest.fixture
async def source() -> AsyncIterator[McpSource]:
    async with running(stdio_source(CROOKED)) as crooked:
        yield crooked


def _words(answer: ToolOutput) -> str:
    return "".join(part.text for part in answer.parts if isinstance(part, Text))


@pytest.mark.parametrize(
    ("tool", "words"),
    [
        ("fine", "fine"),
        ("noise", "heard"),
        ("log_lines", "heard"),
        ("bad_question", "refused"),
        ("wrong_id", "right"),
        ("twice", "first"),
        ("half_surrogate", "half ? pair"),
        ("huge_notification", "went on"),
        ("huge_question", "refused"),
        ("blocks", "x" * 1_000),
    ],
)
async def test_what_can_be_overlooked_is_overlooked(source: McpSource, tool: str, words: str) -> None:
    assert _words(await output(source, invocation(tool))) == words
    assert _words(await output(source, invocation("fine"))) == "fine"


@pytest.mark.parametrize(
    ("tool", "error"),
    [
        ("not_json", ToolConnectionLost),
        ("error_of_words", ToolAnswerUnreadable),
        ("no_version", ToolAnswerUnreadable),
        ("neither_end", ToolAnswerUnreadable),
        ("wrong_kind_of_id", ToolConnectionLost),
        ("huge", ToolResultTooLarge),
        ("huge_late_id", ToolResultTooLarge),
        ("huge_inner_id", ToolResultTooLarge),
        ("huge_hidden_id", ToolConnectionLost),
        ("endless", ToolResultTooLarge),
        ("too_many_blocks", ToolResultTooLarge),
        ("protocol_error", ToolFailed),
        ("no_content", ToolResultInvalid),
        ("bad_image", ToolResultInvalid),
    ],
)
async def test_what_cannot_be_used_is_an_error_of_that_call(
    source: McpSource, tool: str, error: type[MeshError]
) -> None:
    with pytest.raises(error):
        await updates(source, invocation(tool))

    assert _words(await output(source, invocation("fine"))) == "fine"


@pytest.mark.parametrize("tool", ["huge", "huge_late_id", "huge_inner_id", "error_of_words", "no_version"])
async def test_a_result_that_cannot_be_used_harms_no_call_beside_it(source: McpSource, tool: str) -> None:
    async with asyncio.timeout(30), aclosing(source.call(invocation("silent"))) as silent:
        await anext(silent)
        with pytest.raises((ToolResultTooLarge, ToolAnswerUnreadable)):
            await updates(source, invocation(tool))
        waiting = asyncio.ensure_future(anext(silent))
        await output(source, invocation("fine"))

        assert not waiting.done()
        waiting.cancel()
        await asyncio.wait({waiting})


async def test_a_server_that_never_answers_is_not_waited_for_for_ever(source: McpSource) -> None:
    """The domain's own limit comes first; this is the adapter's."""
    with pytest.raises(DeadlineExceeded):
        await updates(source, invocation("silent", timeout_seconds=0.01))


async def test_a_flood_of_progress_becomes_a_trickle_with_the_newest_at_its_end(source: McpSource) -> None:
    given = await updates(source, invocation("flood"))

    progress = [each for each in given if isinstance(each, CallProgress)]
    assert progress[-1].progress == 1999
    assert len(progress) < 200


async def test_progress_that_is_no_number_is_left_out(source: McpSource) -> None:
    given = await updates(source, invocation("endless_progress"))

    assert {(each.progress, each.total) for each in given if isinstance(each, CallProgress)} <= {(2.0, None)}
    assert isinstance(given[-1], ToolOutput)


async def test_bad_definitions_cost_only_their_own_tools(source: McpSource) -> None:
    shelf = shelve("s", source.status, ServerPolicy(timeout_seconds=1), JsonSchemaCompiler())

    assert {dropped.tool for dropped in shelf.dropped} == {"bomb", "elsewhere", "broken", "fine"}
    assert "s__fine" in {entry.tool.name for entry in shelf.entries}


async def test_definitions_that_cannot_be_read_cost_only_their_own_tools() -> None:
    with structlog.testing.capture_logs() as logged:
        async with running(stdio_source(CROOKED)) as source:
            names = [offer.name for offer in source.status.tools]

    assert names == [tool["name"] for tool in TOOLS[:-7]]
    assert [line["tools"] for line in logged if line["event"] == "tool_server.tools_unreadable"] == [7]


async def test_a_list_without_end_is_read_as_far_as_its_definitions_have_room() -> None:
    with structlog.testing.capture_logs() as logged:
        async with running(stdio_source(VERBOSE)) as source:
            definitions = [len(offer.definition_json) for offer in source.status.tools]
            pages = _words(await output(source, invocation("pages")))

    assert (len(definitions), pages) == (4, "5")
    assert 1_000_000 < sum(definitions) < 1_400_000
    cut = [line for line in logged if line["event"] == "tool_server.list_cut"]
    assert [(line["list"], line["entries"], line["kept"]) for line in cut] == [("tools", 5, 4)]


LATE = """
import runpy, sys
from pathlib import Path
if not (mark := Path(sys.argv[1])).exists():
    mark.touch()
    sys.exit(3)
runpy.run_path(sys.argv[2], run_name="__main__")
"""


async def test_why_a_server_could_not_be_reached_is_said_until_it_can(tmp_path: Path) -> None:
    late = StdioServer(command=sys.executable, args=("-c", LATE, str(tmp_path / "mark"), CROOKED))
    seen: dict[ServerState, list[str]] = {state: [] for state in ServerState}
    async with running(mcp_source(late), ServerState.UNAVAILABLE) as source, asyncio.timeout(30):
        async for status in source.changes():
            seen[status.state].append(status.failure.message if status.failure else "")
            if status.state is ServerState.READY:
                break

    assert seen[ServerState.CONNECTING] == seen[ServerState.UNAVAILABLE] == ["The tool's server ended with status 3."]
    assert seen[ServerState.READY] == [""]


async def test_an_older_revision_is_spoken_with_a_server_that_knows_no_newer(source: McpSource) -> None:
    assert source.status.protocol_version == "2025-06-18"


async def test_a_definitions_hash_covers_all_that_was_sent(source: McpSource) -> None:
    hashes = [offer.definition_hash for offer in source.status.tools if offer.name == "fine"]

    assert len(set(hashes)) == 2
    assert json.loads(source.status.tools[0].parameters_json) == {"type": "object"}


async def test_a_server_that_ends_at_once_is_unavailable_with_its_status() -> None:
    async with running(stdio_source("/no/such/script.py"), state=ServerState.UNAVAILABLE) as source:
        status = await until(source, ServerState.UNAVAILABLE)

    assert status.failure is not None
    assert "status 2" in status.failure.message


async def test_a_server_that_says_nothing_is_given_up() -> None:
    silent = stdio_source("-c", "import time; time.sleep(1000)", connect_seconds=0.3)
    async with running(silent, state=ServerState.UNAVAILABLE) as source:
        status = await until(source, ServerState.UNAVAILABLE)

    assert status.failure is not None
    assert status.failure.reason == "DEADLINE_EXCEEDED"
