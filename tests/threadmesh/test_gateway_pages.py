"""Long lists of the gateway, page by page."""

from collections.abc import AsyncGenerator
from typing import cast

import mcp_types as types
import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPError

from threadmesh.api.conversation.v1 import conversation_pb2
from threadmesh.api.tools.v1 import tools_service_pb2 as pb
from threadmesh.gateway.pages import MOST_BYTES, MOST_ENTRIES, page
from threadmesh.gateway.port import ToolsService
from threadmesh.gateway.server import Gateway


def prompt(name: str, description: str = "") -> types.Prompt:
    return types.Prompt(name=name, description=description)


def name(entry: types.Prompt) -> str:
    return entry.name


def asked(cursor: str | None) -> types.PaginatedRequestParams:
    return types.PaginatedRequestParams(cursor=cursor)


def test_a_list_that_fits_is_one_page_in_the_order_of_its_names() -> None:
    assert page([prompt("b"), prompt("a")], None, key=name) == ([prompt("a"), prompt("b")], None)
    assert page([], None, key=name) == ([], None)


def test_what_is_added_or_removed_between_two_pages_costs_no_other_entry() -> None:
    first = [prompt(f"{number:05}") for number in range(MOST_ENTRIES + 2)]
    shown, cursor = page(first, None, key=name)
    rest, end = page([prompt("0"), *first[1:], prompt("9")], asked(cursor), key=name)

    assert shown == first[:MOST_ENTRIES]
    assert (rest, end) == ([*first[MOST_ENTRIES:], prompt("9")], None)


def test_a_page_is_no_larger_than_a_client_can_take_unless_one_entry_is() -> None:
    large = [prompt(letter, "x" * (MOST_BYTES // 2)) for letter in "abc"]
    huge = prompt("d", "x" * (2 * MOST_BYTES))
    pages: list[list[str]] = []
    cursor: str | None = None
    while not pages or cursor is not None:
        shown, cursor = page([*large, huge], asked(cursor), key=name)
        pages.append([each.name for each in shown])

    assert pages == [["a"], ["b"], ["c"], ["d"]]


@pytest.mark.parametrize("cursor", ["?", "a", "/////w==", "ä"])
def test_a_cursor_of_somebody_else_is_an_error_of_the_request(cursor: str) -> None:
    with pytest.raises(MCPError) as refused:
        page([prompt("a")], asked(cursor), key=name)

    assert refused.value.code == types.INVALID_PARAMS


class ManyTools:
    """A tools service that lists more than a page, and does nothing else."""

    async def catalogue(self) -> pb.Catalogue:
        definitions = (
            conversation_pb2.ToolDefinition(name=f"s__{number:05}", parameters_json="{}")
            for number in range(2 * MOST_ENTRIES + 1)
        )
        return pb.Catalogue(tools=[pb.Tool(definition=each) for each in definitions])

    async def changes(self) -> AsyncGenerator[pb.Catalogue, None]:
        yield await self.catalogue()


async def test_a_client_reads_a_long_list_page_by_page() -> None:
    gateway = Gateway(cast("ToolsService", ManyTools()))
    names: list[str] = []
    async with Client(gateway) as client:
        listed = await client.list_tools()
        names += [tool.name for tool in listed.tools]
        while listed.next_cursor:
            listed = await client.list_tools(cursor=listed.next_cursor)
            names += [tool.name for tool in listed.tools]

    assert names == [f"s__{number:05}" for number in range(2 * MOST_ENTRIES + 1)]
