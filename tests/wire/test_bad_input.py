"""What no service takes: over every RPC of all of them, by the rules in their protos and on a real connection."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf.descriptor import Descriptor, FieldDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client import CollectorRegistry
from protovalidate import Validator

from context_svc.adapters.sqlite_store import sqlite_store
from context_svc.app import services as context_services
from context_svc.domain.retention import Retention
from context_svc.edge.metrics import EdgeMetrics
from inference_svc.adapters.script import Script
from inference_svc.adapters.scripted_backend import ScriptedBackend
from inference_svc.app import service as inference_service
from inference_svc.domain.router import Router
from threadmesh.api.context.v1 import runs_service_pb2 as runs
from threadmesh.api.context.v1 import threads_service_pb2 as threads
from threadmesh.api.context.v1.runs_service_pb2_grpc import RunsServiceStub
from threadmesh.api.context.v1.threads_service_pb2_grpc import ThreadsServiceStub
from threadmesh.api.conversation.v1 import conversation_pb2 as conversation
from threadmesh.api.conversation.v1 import events_pb2 as events
from threadmesh.api.inference.v1 import inference_service_pb2 as inference
from threadmesh.api.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from threadmesh.api.tools.v1 import tools_service_pb2 as tools
from threadmesh.api.tools.v1.tools_service_pb2_grpc import ToolsServiceStub
from threadmesh.errors import InvalidArgument, MessageTooLarge, NotFound, RunNotFound
from threadmesh.rpc.channel import MeshChannel, translated
from threadmesh.rpc.interceptors import field_path
from threadmesh.rpc.server import serve
from threadmesh.testing.clock import FakeClock
from threadmesh.testing.loopback import channel_for
from tools_svc.app import app
from tools_svc.settings import ToolsSettings

pytestmark = pytest.mark.asyncio(loop_scope="module")
VALIDATOR = Validator()
STRING, UINT32, INT32 = (getattr(FieldDescriptor, f"TYPE_{kind}") for kind in ("STRING", "UINT32", "INT32"))
KEYS: dict[int, Any] = {STRING: ["1"], UINT32: [1], INT32: [1]}
SERVICES: list[ServiceDescriptor] = [
    service for file in (runs, threads, inference, tools) for service in file.DESCRIPTOR.services_by_name.values()
]
RPCS = [pytest.param(method, id=f"{service.name}/{method.name}") for service in SERVICES for method in service.methods]
OPTIONAL_ONEOFS = {
    "threadmesh.api.context.v1.StartRunRequest.thread",  # a run without a thread of its sender's
    "threadmesh.api.context.v1.RunEvent.event",  # one that a newer writer tells of
}
WRITTEN = (runs.RunEvent.DESCRIPTOR, runs.Call.DESCRIPTOR)
"""What a log keeps as its writer gave it, be it of a newer version: its values are read with care, not refused."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def channel(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MeshChannel]:
    """All services of the mesh behind one port."""
    directory: Path = tmp_path_factory.mktemp("services")
    (directory / "servers.json").write_text('{"mcpServers": {}}')
    settings = ToolsSettings(servers_file=str(directory / "servers.json"), state_dir=directory / "tools")
    clock = FakeClock()
    async with AsyncExitStack() as stack:
        unit = await stack.enter_async_context(app(settings, CollectorRegistry()))
        store = await stack.enter_async_context(sqlite_store(directory / "context.db", clock))
        context = context_services(store, clock, EdgeMetrics(CollectorRegistry()), Retention())
        scripted = inference_service(Router([ScriptedBackend(Script(), created=1)]))
        yield await stack.enter_async_context(channel_for(*unit.services, *context, scripted))


def reached(message: Descriptor, seen: set[str]) -> Iterator[Descriptor]:
    """Give a message and all that its fields can hold, once each."""
    entry = message.GetOptions().map_entry  # looked at with the field that it is a part of
    if message.full_name in seen or entry or not message.full_name.startswith("threadmesh."):
        return
    seen.add(message.full_name)
    yield message
    for field in message.fields:
        if field.message_type is not None:
            yield from reached(field.message_type, seen)


KEPT = {message.full_name for written in WRITTEN for message in reached(written, set())}
REQUESTS = [
    pytest.param(message, id=message.full_name.removeprefix("threadmesh.api."))
    for seen in [KEPT - {"threadmesh.api.conversation.v1.Message"}]
    for service in SERVICES
    for method in service.methods
    for message in reached(method.input_type, seen)
]


def breaks(message: Message) -> set[str]:
    """Give the fields of a message that break a rule."""
    return {field_path(each.proto.field).partition("[")[0] for each in VALIDATOR.collect_violations(message)}


def with_value(message: Descriptor, field: FieldDescriptor, value: Any) -> Message:
    """Make a message that holds nothing but a value in a field, in each way in which the field can hold it."""
    made = GetMessageClass(message)()
    if field.message_type is not None:  # a map
        getattr(made, field.name)[next(iter(KEYS[field.message_type.fields_by_name["key"].type]))] = value
    elif field.is_repeated:
        getattr(made, field.name).append(value)
    else:
        setattr(made, field.name, value)
    return made


@pytest.mark.parametrize("message", REQUESTS)
async def test_values_that_no_proto_names_are_refused(message: Descriptor) -> None:
    """An enum's number that this version does not know, a number that is none, a choice that was not made."""
    for field in message.fields:
        kept = field
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            kept = field.message_type.fields_by_name["value"]
        elif field.message_type is not None:
            assert field.message_type.full_name not in ("google.protobuf.Any", "google.protobuf.Struct")
        if kept.enum_type is not None:
            assert field.name in breaks(with_value(message, field, 99)), f"{field.full_name} takes any number"
        if kept.cpp_type in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
            for value in (float("nan"), float("inf")):
                assert field.name in breaks(with_value(message, field, value)), f"{field.full_name} takes {value}"
    for choice in message.oneofs:
        if not choice.name.startswith("_") and choice.full_name not in OPTIONAL_ONEOFS:
            assert choice.name in breaks(GetMessageClass(message)()), f"{choice.full_name} may be empty"


LARGE = "a" * (4 * 1024 * 1024)


async def sent(channel: MeshChannel, method: str, request: Message, **options: Any) -> None:
    """Send a request and read to the end, with errors as ours."""
    service = next(each for each in SERVICES if method in each.methods_by_name)
    stub: Any = {
        "RunsService": RunsServiceStub,
        "ThreadsService": ThreadsServiceStub,
        "InferenceService": InferenceServiceStub,
        "ToolsService": ToolsServiceStub,
    }[service.name](channel)
    described = service.methods_by_name[method]
    async with translated(service.name):
        call = getattr(stub, method)(iter([request]) if described.client_streaming else request, timeout=20, **options)
        if described.server_streaming:
            async for _ in call:
                pass
        else:
            await call


def said(text: str = "hi", **fields: Any) -> conversation.Message:
    return conversation.Message(**{"role": conversation.ROLE_USER, "parts": [conversation.Part(text=text)], **fields})


@pytest.mark.parametrize(
    ("method", "request_of"),
    [
        ("Generate", lambda text: inference.GenerateRequest(messages=[said(text)])),
        ("ExecuteTools", lambda text: tools.ExecuteToolsRequest(run_id=text)),
        ("AppendItems", lambda text: threads.AppendItemsRequest(thread_id=text)),
        ("StartRun", lambda text: runs.StartRunRequest(input=[threads.NewItem(message=said(text))])),
        ("AppendEvents", lambda text: runs.AppendEventsRequest(run_id=text)),
    ],
)
async def test_a_message_beyond_four_mebibytes_is_refused_and_the_connection_lives(
    channel: MeshChannel, method: str, request_of: Any
) -> None:
    with pytest.raises(MessageTooLarge):
        await sent(channel, method, request_of(LARGE))

    await sent(channel, "ListModels", inference.ListModelsRequest())


NOTHING = conversation.Part()
UNKNOWN: Any = 99
WRONG: list[tuple[str, Message, str]] = [
    ("Generate", inference.GenerateRequest(messages=[said(role=99)]), "messages[0].role"),
    ("Generate", inference.GenerateRequest(messages=[said()], priority=UNKNOWN), "priority"),
    (
        "Generate",
        inference.GenerateRequest(messages=[said(parts=[conversation.Part()])]),
        "messages[0].parts[0].content",
    ),
    ("CountTokens", inference.CountTokensRequest(), "input"),
    ("Embed", inference.EmbedRequest(), "inputs"),
    ("ExecuteTools", tools.ExecuteToolsRequest(), "calls"),
    ("AppendItems", threads.AppendItemsRequest(thread_id="t"), "items"),
    ("StartRun", runs.StartRunRequest(), "input"),
    ("ListRuns", runs.ListRunsRequest(states=[UNKNOWN]), "states[0]"),
    ("WatchRun", runs.WatchRunRequest(), "run_id"),
    ("AppendEvents", runs.AppendEventsRequest(), "run_id"),
]


@pytest.mark.parametrize(("method", "request_", "field"), WRONG, ids=[f"{each[0]}-{each[2]}" for each in WRONG])
async def test_what_breaks_a_rule_is_invalid_and_named(
    channel: MeshChannel, method: str, request_: Message, field: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await sent(channel, method, request_)

    assert caught.value.facts.get("field", "") == field


async def test_a_field_of_a_newer_version_is_ignored(channel: MeshChannel) -> None:
    request = inference.GenerateRequest(messages=[said()])
    newer = inference.GenerateRequest.FromString(request.SerializeToString() + b"\xfa\x3e\x02hi")

    await sent(channel, "Generate", newer)


@pytest.mark.parametrize("method", RPCS)
async def test_an_empty_request_is_answered_or_refused_and_never_a_defect(channel: MeshChannel, method: Any) -> None:
    service = method.containing_service
    made = channel.stream_stream if method.client_streaming else channel.unary_stream
    call = made(f"/{service.full_name}/{method.name}", request_serializer=bytes, response_deserializer=bytes)
    running = call(iter([b""]) if method.client_streaming else b"", timeout=0.3)
    with suppress(grpc.aio.AioRpcError):
        async for _ in running:
            break
        running.cancel()

    refused = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNIMPLEMENTED}
    refused |= {grpc.StatusCode.FAILED_PRECONDITION}
    answered = {grpc.StatusCode.OK, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED}
    assert await running.code() in refused | answered


@pytest.mark.parametrize("method", RPCS)
async def test_bytes_that_are_no_message_are_refused(channel: MeshChannel, method: Any) -> None:
    service = method.containing_service
    made = channel.stream_stream if method.client_streaming else channel.unary_stream
    call = made(f"/{service.full_name}/{method.name}", request_serializer=bytes, response_deserializer=bytes)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in call(iter([b"\xff\xff\xff"]) if method.client_streaming else b"\xff\xff\xff", timeout=5):
            pass

    assert caught.value.code() is not grpc.StatusCode.DEADLINE_EXCEEDED
    assert "Traceback" not in (caught.value.details() or "")


TEXT = runs.RunEvent(text_delta=events.TextDelta(text="a"))


async def test_writing_to_runs_that_are_not_there_is_not_found(channel: MeshChannel) -> None:
    with pytest.raises(RunNotFound):
        await sent(
            channel, "AppendEvents", runs.AppendEventsRequest(run_id="run_none", epoch=1, events=[runs.RunEvent()])
        )
    for method, request in (
        ("GetRun", runs.GetRunRequest(run_id="run_none")),
        ("WatchRun", runs.WatchRunRequest(run_id="run_none")),
        ("CancelRun", runs.CancelRunRequest(run_id="run_none")),
        ("GetThread", threads.GetThreadRequest(thread_id="thread_none")),
        ("ListItems", threads.ListItemsRequest(thread_id="thread_none")),
    ):
        with pytest.raises(NotFound):
            await sent(channel, method, request)


async def test_a_place_ahead_of_a_log_is_refused(channel: MeshChannel) -> None:
    run = (await RunsServiceStub(channel).StartRun(runs.StartRunRequest(input=[threads.NewItem(message=said())]))).run
    with pytest.raises(InvalidArgument) as caught:
        await sent(channel, "WatchRun", runs.WatchRunRequest(run_id=run.id, after_sequence=10_000))

    assert caught.value.facts["field"] == "after_sequence"


async def test_metadata_beyond_its_limit_is_refused(channel: MeshChannel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await InferenceServiceStub(channel).ListModels(
            inference.ListModelsRequest(), metadata=[("x-large", "a" * 20_000)], timeout=20
        )

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("value", ["nonsense", "00-zz-zz-01", "", "a" * 1_000])
async def test_a_bad_trace_is_ignored(channel: MeshChannel, value: str) -> None:
    await sent(channel, "ListModels", inference.ListModelsRequest(), metadata=[("traceparent", value)])


async def test_reflection_tells_of_our_services_only_and_can_be_switched_off(channel: MeshChannel) -> None:
    def asking() -> Iterator[Any]:
        yield reflection_pb2.ServerReflectionRequest(list_services="")

    async for response in reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(asking()):
        names = {each.name for each in response.list_services_response.service}
    assert {name for name in names if not name.startswith("grpc.")} == {service.full_name for service in SERVICES}

    async def ping() -> None:
        return

    async with (
        serve([], address="127.0.0.1:0", registry=CollectorRegistry(), ping=ping, reflect=False) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as mute,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in reflection_pb2_grpc.ServerReflectionStub(mute).ServerReflectionInfo(asking()):
                pass
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
