"""What the servers of tools offer, and what of it a request gets."""

import pytest

from facade.domain.offer import Held, Offer, ServerState, Tool, ToolServer
from facade.domain.parameters import ServerTools
from threadmesh.conversation import ToolDefinition
from threadmesh.errors import MeshError, ToolDefinitionChanged, ToolNotFound, ToolServerUnavailable


def tool(name: str) -> Tool:
    return Tool(definition=ToolDefinition(name=name), server=name.partition("__")[0])


def server(name: str, state: ServerState, *, listed: bool = True) -> ToolServer:
    return ToolServer(name=name, state=state, listed=listed)


OFFER = Offer(
    tools=(tool("clock__now"), tool("clock__zones")),
    away=(tool("files__read"),),
    held=(Held(name="shop__buy", server="shop"),),
    servers=(
        server("clock", ServerState.READY),
        server("files", ServerState.UNAVAILABLE),
        server("shop", ServerState.READY),
        server("unseen", ServerState.UNAVAILABLE, listed=False),
    ),
)


def names(*wanted: str) -> ServerTools:
    return ServerTools(names=wanted)


@pytest.mark.parametrize(
    ("wanted", "offered"),
    [
        (ServerTools(everything=True), ["clock__now", "clock__zones"]),
        (names("clock__now"), ["clock__now"]),
        (names("clock__now", "files__read"), ["clock__now", "files__read"]),
        (names("shop__buy", "clock__now"), ["clock__now"]),
        (names("unseen__x", "clock__now"), ["clock__now"]),
    ],
    ids=["all", "one", "away", "held back", "never seen"],
)
def test_a_server_in_trouble_costs_its_own_tools_only(wanted: ServerTools, offered: list[str]) -> None:
    assert list(OFFER.chosen(wanted)) == offered


@pytest.mark.parametrize("name", ["clock__tomorrow", "files__write", "nobody__x", "now"])
def test_a_name_that_nobody_knows_is_refused_unless_the_run_has_begun(name: str) -> None:
    with pytest.raises(ToolNotFound):
        OFFER.chosen(names("clock__now", name))

    assert list(OFFER.chosen(names("clock__now", name), begun=True)) == ["clock__now"]


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("shop__buy", ToolDefinitionChanged),
        ("unseen__x", ToolServerUnavailable),
        ("files__read", ToolServerUnavailable),
    ],
)
def test_a_call_that_must_be_made_says_why_it_cannot(name: str, error: type[MeshError]) -> None:
    with pytest.raises(error):
        OFFER.require(name)


def test_nothing_is_said_of_tools_that_are_there() -> None:
    OFFER.require("clock__now")
    OFFER.require("nobody__x")


@pytest.mark.parametrize(
    ("state", "listed", "settled"),
    [
        (ServerState.CONNECTING, False, False),
        (ServerState.CONNECTING, True, True),
        (ServerState.READY, False, True),
        (ServerState.UNAVAILABLE, False, True),
    ],
)
def test_an_offer_is_settled_once_no_server_is_on_its_way_for_the_first_time(
    state: ServerState, listed: bool, settled: bool
) -> None:
    assert Offer(servers=(server("clock", state, listed=listed),)).settled is settled
