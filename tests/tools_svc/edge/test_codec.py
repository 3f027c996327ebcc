"""The catalogue always fits into a message."""

from tests.tools_svc.domain.test_catalog import POLICY
from threadmesh.rpc.server import MESSAGE_BYTES
from tools_svc.adapters.jsonschema_compiler import JsonSchemaCompiler
from tools_svc.domain.catalog import Catalogue, shelve
from tools_svc.domain.tool import OfferedTool, ServerState, ServerStatus
from tools_svc.edge.codec import encode_catalogue


def crowd(servers: int, *, parameters: int, output: int) -> Catalogue:
    """Make servers of ten tools, each with schemas of about so many bytes."""
    offers = tuple(
        OfferedTool(
            name=f"tool{number}",
            parameters_json='{"type":"object","examples":["' + "p" * parameters + '"]}',
            output_schema_json='{"type":"object","description":"' + "o" * output + '"}',
        )
        for number in range(10)
    )
    status = ServerStatus(state=ServerState.READY, tools=offers)
    names = [f"s{number}" for number in range(servers)]
    return Catalogue(shelves={name: shelve(name, status, POLICY, JsonSchemaCompiler()) for name in names})


def test_a_catalogue_that_fits_is_told_whole() -> None:
    wire = encode_catalogue(crowd(3, parameters=1000, output=1000))

    assert len(wire.tools) == 30
    assert all(tool.output_schema_json for tool in wire.tools)


def test_schemas_of_results_are_left_out_first() -> None:
    wire = encode_catalogue(crowd(3, parameters=50_000, output=60_000))

    assert len(wire.tools) == 30
    assert not any(tool.output_schema_json for tool in wire.tools)
    assert wire.ByteSize() < MESSAGE_BYTES


def test_then_the_last_tools_are_left_out() -> None:
    wire = encode_catalogue(crowd(8, parameters=60_000, output=10))

    names = [tool.definition.name for tool in wire.tools]
    assert 0 < len(names) < 80
    assert names == sorted(names)
    assert wire.ByteSize() < MESSAGE_BYTES
