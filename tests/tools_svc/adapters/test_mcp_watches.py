"""Servers of older revisions that tell of changes of single resources."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from pathlib import Path

import pytest

from tests.servers.given import NOTICEBOARD, invocation, output, running, stdio_source, updates
from threadmesh.errors import MeshError, ToolFailed
from tools_svc.adapters.mcp_source import McpSource

BOARD = "board://hall"


@pytest.fixture
async def source(tmp_path: Path) -> AsyncIterator[McpSource]:
    async with running(stdio_source(NOTICEBOARD, str(tmp_path))) as board:
        yield board


def asked(home: Path, line: str) -> int:
    return (home / "log").read_text().splitlines().count(line)


async def test_a_resource_is_subscribed_to_while_it_is_followed(source: McpSource, tmp_path: Path) -> None:
    async with asyncio.timeout(30):
        async with aclosing(source.watch(BOARD)) as changes:
            await anext(changes)
            hearing = asyncio.ensure_future(anext(changes))
            await output(source, invocation("pin"))
            heard = await hearing
        while not asked(tmp_path, f"resources/unsubscribe {BOARD}"):
            await asyncio.sleep(0)

    assert heard == BOARD  # a part of it has changed
    assert asked(tmp_path, f"resources/subscribe {BOARD}") == 1


async def test_after_a_lost_connection_it_is_followed_anew_and_may_have_changed(
    source: McpSource, tmp_path: Path
) -> None:
    async with asyncio.timeout(30), aclosing(source.watch(BOARD)) as changes:
        await anext(changes)
        with suppress(MeshError):
            await updates(source, invocation("die"))

        assert await anext(changes) == BOARD
        hearing = asyncio.ensure_future(anext(changes))
        await output(source, invocation("pin"))
        assert await hearing == BOARD
    assert asked(tmp_path, f"resources/subscribe {BOARD}") == 2


async def test_what_may_not_be_followed_is_an_error(source: McpSource) -> None:
    async with asyncio.timeout(30), aclosing(source.watch("board://secret")) as changes:
        with pytest.raises(ToolFailed):
            await anext(changes)
