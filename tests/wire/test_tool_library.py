"""Resources and prompts of several servers, over gRPC."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.tools_svc.given import CROOKED_SERVER, WORKSHOP_SERVER, Mesh, call, mesh
from threadmesh.api.conversation.v1 import conversation_pb2
from threadmesh.api.tools.v1 import tools_service_pb2 as pb
from threadmesh.errors import (
    DeadlineExceeded,
    InvalidArgument,
    MeshError,
    PromptNotFound,
    ResourceNotFound,
    ToolResultTooLarge,
    Unsupported,
)
from threadmesh.rpc.channel import translated

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mesh]:
    directory = tmp_path_factory.mktemp("library")
    servers: dict[str, Any] = {
        "one": WORKSHOP_SERVER,
        "two": WORKSHOP_SERVER | {"timeout_seconds": 1},
        "crooked": CROOKED_SERVER,
    }
    async with mesh(directory, **servers) as running:
        async with asyncio.timeout(60):
            while not await _listed(running):
                await asyncio.sleep(0.02)
        yield running


async def _listed(service: Mesh) -> bool:
    servers = (await service.tools.ListTools(pb.ListToolsRequest())).servers
    counts = {each.name: (each.resource_count, each.prompt_count) for each in servers}
    return counts == {"one": (4, 1), "two": (4, 1), "crooked": (0, 0)}


async def test_resources_of_all_servers_are_listed_each_with_its_server(service: Mesh) -> None:
    listed = await service.tools.ListResources(pb.ListResourcesRequest())
    of_one = await service.tools.ListResources(pb.ListResourcesRequest(server="one"))

    rules = [each for each in listed.resources if each.uri == "note://rules"]
    assert [(each.server, each.title, each.mime_type) for each in rules] == [
        ("one", "The rules", "text/plain"),
        ("two", "The rules", "text/plain"),
    ]
    assert [each.server for each in listed.templates] == ["one", "two"]
    assert {each.server for each in of_one.resources} == {"one"}


async def test_a_resource_is_read_whole(service: Mesh) -> None:
    text = await service.tools.ReadResource(pb.ReadResourceRequest(server="one", uri="note://rules"))
    data = await service.tools.ReadResource(pb.ReadResourceRequest(server="one", uri="note://picture"))

    assert text.contents[0].text == "Wear goggles. ü😀"
    assert data.contents[0].data == bytes(range(256))
    assert data.contents[0].mime_type == "image/png"


@pytest.mark.parametrize(
    ("server", "uri", "error"),
    [
        ("one", "note://nowhere", ResourceNotFound),
        ("three", "note://rules", ResourceNotFound),
        ("one", "note://big", ToolResultTooLarge),
        ("two", "note://slow", DeadlineExceeded),
        ("", "note://rules", InvalidArgument),
        ("one", "", InvalidArgument),
    ],
)
async def test_what_cannot_be_read_is_refused_with_a_reason(
    service: Mesh, server: str, uri: str, error: type[MeshError]
) -> None:
    async with asyncio.timeout(30):
        with pytest.raises(error):
            async with translated("tools"):
                await service.tools.ReadResource(pb.ReadResourceRequest(server=server, uri=uri))

        after = await service.tools.ReadResource(pb.ReadResourceRequest(server="one", uri="note://rules"))
        assert after.contents


async def test_prompts_have_names_like_tools_and_are_filled_in(service: Mesh) -> None:
    listed = await service.tools.ListPrompts(pb.ListPromptsRequest())
    filled = await service.tools.GetPrompt(pb.GetPromptRequest(name="two__explain", arguments={"tool": "a lathe"}))

    assert [(each.name, each.server, each.server_prompt) for each in listed.prompts] == [
        ("one__explain", "one", "explain"),
        ("two__explain", "two", "explain"),
    ]
    assert [(each.name, each.required) for each in listed.prompts[0].arguments] == [("tool", True), ("tone", False)]
    assert filled.messages[0].role == conversation_pb2.ROLE_USER
    assert filled.messages[0].parts[0].text == "Explain a lathe in a plain tone."


async def test_a_prompt_that_is_not_there_is_told(service: Mesh) -> None:
    with pytest.raises(PromptNotFound):
        async with translated("tools"):
            await service.tools.GetPrompt(pb.GetPromptRequest(name="one__nothing"))


async def test_changes_of_a_resource_are_streamed_with_signs_of_life(service: Mesh) -> None:
    request = pb.WatchResourceRequest(server="one", uri="note://rules")
    heard: list[str] = []
    changes = 0
    async with asyncio.timeout(30):
        async for response in service.tools.WatchResource(request):
            heard.append(str(response.WhichOneof("event")))
            changes += response.HasField("change")
            assert response.sequence == changes
            if changes == 1 and heard[-1] == "heartbeat":
                await service.run(call("one__amend", "amending", uri="note://rules"))
            if changes == 2:
                break

    assert (heard[0], heard[-1], set(heard)) == ("change", "change", {"change", "heartbeat"})


@pytest.mark.parametrize(("server", "error"), [("nobody", ResourceNotFound), ("crooked", Unsupported)])
async def test_what_cannot_be_followed_is_an_error(service: Mesh, server: str, error: type[MeshError]) -> None:
    with pytest.raises(error):
        async with asyncio.timeout(30), translated("tools"):
            async for _ in service.tools.WatchResource(pb.WatchResourceRequest(server=server, uri="note://rules")):
                raise AssertionError
