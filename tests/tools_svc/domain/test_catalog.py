from dataclasses import replace

import pytest

from threadmesh.conversation import Failure
from threadmesh.errors import ToolNotFound, ToolServerUnavailable
from tools_svc.adapters.jsonschema_compiler import JsonSchemaCompiler
from tools_svc.domain.catalog import Catalogue, Shelf, shelve
from tools_svc.domain.naming import public_name
from tools_svc.domain.policy import ServerPolicy
from tools_svc.domain.tool import Effect, OfferedTool, ServerState, ServerStatus

POLICY = ServerPolicy(timeout_seconds=7, effects={"reads": Effect.READ_ONLY})
OBJECT = '{"type":"object"}'
DOWN = Failure.of(ToolServerUnavailable())


def _shelf(*offers: OfferedTool, name: str = "s", state: ServerState = ServerState.READY) -> Shelf:
    failure = DOWN if state is ServerState.UNAVAILABLE else None
    return shelve(name, ServerStatus(state=state, failure=failure, tools=offers), POLICY, JsonSchemaCompiler())


def _offer(name: str, parameters_json: str = OBJECT, output_schema_json: str = "") -> OfferedTool:
    return OfferedTool(name=name, parameters_json=parameters_json, output_schema_json=output_schema_json)


def test_a_tool_gets_its_public_name_effect_and_time_limit() -> None:
    tool = _shelf(_offer("reads")).entries[0].tool

    assert (tool.name, tool.server, tool.server_tool) == ("s__reads", "s", "reads")
    assert (tool.effect, tool.timeout_seconds) == (Effect.READ_ONLY, 7)


def test_tools_whose_definitions_are_too_long_together_are_left_out_from_the_end() -> None:
    offers = [replace(_offer(f"t{number}"), definition_json="x" * 200_000) for number in range(8)]
    shelf = _shelf(*offers)

    assert [entry.tool.server_tool for entry in shelf.entries] == ["t0", "t1", "t2", "t3", "t4"]
    assert [dropped.tool for dropped in shelf.dropped] == ["t5", "t6", "t7"]


@pytest.mark.parametrize(
    "bad",
    [
        _offer("bad", parameters_json='{"type":"string"}'),
        _offer("bad", parameters_json="false"),
        _offer("bad", parameters_json='{"properties":{"a":{"type":"nonsense"}}}'),
        _offer("bad", parameters_json='{"$ref":"#"}'),
        _offer("bad", parameters_json='{"$ref":"file:///etc/passwd"}'),
        _offer("bad", output_schema_json='{"type":"nonsense"}'),
        _offer("good"),
    ],
)
def test_a_bad_tool_is_left_out_and_named_and_the_others_stay(bad: OfferedTool) -> None:
    shelf = _shelf(_offer("good"), bad, _offer("better"))

    assert [entry.tool.server_tool for entry in shelf.entries] == ["good", "better"]
    assert [dropped.tool for dropped in shelf.dropped] == [bad.name]
    assert shelf.server.tool_count == 2


def _alike() -> tuple[str, str]:
    """Find two names of which the public ones are the same, as a server could."""
    seen: dict[str, str] = {}
    for number in range(1_000_000):
        tool = "send" + chr(0x4E00 + number // 1_000) + chr(0x4E00 + number % 1_000)
        if (before := seen.setdefault(public_name("s", tool), tool)) != tool:
            return before, tool
    raise AssertionError


def test_tools_that_come_to_one_public_name_are_all_left_out() -> None:
    """Otherwise the server would choose which of them is called, under the approval that the other one needs."""
    one, other = _alike()
    shelf = _shelf(_offer(one), _offer("good"), _offer(other))

    assert [entry.tool.server_tool for entry in shelf.entries] == ["good"]
    assert [dropped.tool for dropped in shelf.dropped] == [one, other]


def test_a_tool_without_a_schema_takes_any_object() -> None:
    entry = _shelf(_offer("free", parameters_json="")).entries[0]

    assert entry.arguments.complaint({"a": 1}) == ""


def test_tools_and_servers_are_ordered_by_name() -> None:
    catalogue = Catalogue(shelves={"z": _shelf(_offer("b"), _offer("a"), name="z"), "a": _shelf(_offer("c"), name="a")})

    assert [tool.name for tool in catalogue.tools] == ["a__c", "z__a", "z__b"]
    assert [server.name for server in catalogue.servers] == ["a", "z"]


def test_a_server_that_is_away_offers_nothing_but_its_tools_are_remembered() -> None:
    catalogue = Catalogue(shelves={"s": _shelf(_offer("reads"), state=ServerState.UNAVAILABLE)})

    assert catalogue.tools == ()
    assert catalogue.servers[0].tool_count == 0
    assert catalogue.find("s__reads").tool.server_tool == "reads"


def test_a_server_that_is_being_reached_again_still_offers_its_tools() -> None:
    """A restart of a second must not take the tools out of a conversation."""
    catalogue = Catalogue(shelves={"s": _shelf(_offer("reads"), state=ServerState.CONNECTING)})

    assert [tool.name for tool in catalogue.tools] == ["s__reads"]


def test_what_is_not_found_is_told_apart_from_what_is_away() -> None:
    catalogue = Catalogue(shelves={"s": _shelf(_offer("reads")), "away": _shelf(state=ServerState.UNAVAILABLE)})

    for name in ("s__other", "nobody__reads", "plain"):
        with pytest.raises(ToolNotFound):
            catalogue.find(name)
    with pytest.raises(ToolServerUnavailable):
        catalogue.find("away__anything")
