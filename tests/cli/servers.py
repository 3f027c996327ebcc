"""Servers that the commands talk to in tests: the wire is real, what they answer is written down here."""

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import grpc

from threadmesh.api.context.v1 import threads_service_pb2 as threads_pb
from threadmesh.api.context.v1 import threads_service_pb2_grpc as threads_grpc
from threadmesh.api.conversation.v1 import conversation_pb2
from threadmesh.api.conversation.v1 import events_pb2 as events
from threadmesh.api.tools.v1 import tools_service_pb2 as tools_pb
from threadmesh.api.tools.v1 import tools_service_pb2_grpc as tools_grpc
from threadmesh.codec import encode_message
from threadmesh.conversation import Role, message
from threadmesh.errors import CallNotFound, ResourceNotFound, ThreadNotFound
from threadmesh.rpc.server import Service, serve
from threadmesh.telemetry.metrics import new_registry

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(slots=True)
class Api:
    """An API that answers every request alike, and remembers what it was asked."""

    url: str = ""
    status: int = 200
    body: bytes = b""
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def stream(self, *chunks: object) -> None:
        """Answer with these chunks as server-sent events."""
        lines = (chunk if isinstance(chunk, str) else json.dumps(chunk, ensure_ascii=False) for chunk in chunks)
        self.body = "".join(f": beat\n\ndata: {line}\n\n" for line in lines).encode()


@contextmanager
def open_api() -> Iterator[Api]:
    """Serve an `Api` on a free port."""
    api = Api()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            api.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            api.headers.append(dict(self.headers))
            self.send_response(api.status)
            self.end_headers()
            self.wfile.write(api.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name in http.server
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        api.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield api
        finally:
            server.shutdown()
            thread.join()


def tasks() -> tuple[tools_pb.Task, tools_pb.Task]:
    """Give one that is under way and one that has ended."""
    running = tools_pb.Task(run_id="r", call_id="c1", name="s__long", server="s", attempt=1, owner="host/1")
    running.state, running.cancel_requested = tools_pb.TASK_STATE_CLAIMED, True
    running.progress.CopyFrom(events.CallProgress(progress=1, total=2, message="\x1b[31mhalf"))
    running.create_time.FromSeconds(1_780_000_000)
    ended = tools_pb.Task(run_id="r", call_id="c2", name="s__long", server="s")
    ended.state, ended.outcome = tools_pb.TASK_STATE_FINISHED, events.CALL_OUTCOME_UNKNOWN
    return running, ended


class SmallTools(tools_grpc.ToolsServiceServicer):
    """Two tools: `demo__echo` succeeds with its arguments, `demo__fail` fails; and those that are held back."""

    def __init__(self, quarantined: Sequence[tools_pb.QuarantinedTool], rules: dict[str, Any]) -> None:
        self.quarantined = quarantined
        self.rules = rules
        self.approved: list[tuple[str, str]] = []
        self.approvals: list[tools_pb.Approval] = []

    async def ApproveDefinition(
        self, request: tools_pb.ApproveDefinitionRequest, context: Context
    ) -> tools_pb.ApproveDefinitionResponse:
        self.approved.append((request.name, request.definition_hash))
        return tools_pb.ApproveDefinitionResponse()

    async def ListTools(self, request: tools_pb.ListToolsRequest, context: Context) -> tools_pb.ListToolsResponse:
        schema = json.dumps({"type": "object", "properties": {"text": {"type": "string"}}})
        failure = conversation_pb2.Failure(reason="X", message="its command is missing")
        return tools_pb.ListToolsResponse(
            tools=[
                tools_pb.Tool(
                    definition=conversation_pb2.ToolDefinition(
                        name=name, description="Says\nit again.", parameters_json=schema
                    ),
                    server="demo",
                    effect=tools_pb.EFFECT_READ_ONLY,
                    definition_hash="h",
                    **self.rules,
                )
                for name in ("demo__echo", "demo__fail")
            ],
            servers=[
                tools_pb.Server(name="demo", state=tools_pb.SERVER_STATE_READY, tool_count=2),
                tools_pb.Server(name="gone", state=tools_pb.SERVER_STATE_UNAVAILABLE, failure=failure),
            ],
            quarantined=self.quarantined,
        )

    async def ListTasks(self, request: tools_pb.ListTasksRequest, context: Context) -> tools_pb.ListTasksResponse:
        """Hold two tasks, one on a page."""
        first, second = tasks()
        if request.states:
            return tools_pb.ListTasksResponse(tasks=[each for each in (first, second) if each.state in request.states])
        if request.page_token:
            return tools_pb.ListTasksResponse(tasks=[second])
        return tools_pb.ListTasksResponse(tasks=[first], next_page_token="next")

    async def CancelCall(self, request: tools_pb.CancelCallRequest, context: Context) -> tools_pb.CancelCallResponse:
        if request.call_id not in ("c1", "c2"):
            raise CallNotFound(call=request.call_id)
        return tools_pb.CancelCallResponse(cancelled=request.call_id == "c1")

    async def ListResources(
        self, request: tools_pb.ListResourcesRequest, context: Context
    ) -> tools_pb.ListResourcesResponse:
        note = tools_pb.Resource(
            server="demo", uri="note://a", name="a", description="A\nnote.", mime_type="text/plain"
        )
        template = tools_pb.ResourceTemplate(server="demo", uri_template="note://{name}", name="any note")
        return tools_pb.ListResourcesResponse(resources=[note], templates=[template])

    async def ReadResource(
        self, request: tools_pb.ReadResourceRequest, context: Context
    ) -> tools_pb.ReadResourceResponse:
        if request.uri == "note://a":
            contents = [tools_pb.ResourceContent(uri=request.uri, mime_type="text/plain", text="\x1b[31mwords")]
        elif request.uri == "note://bytes":
            contents = [tools_pb.ResourceContent(uri=request.uri, data=b"\x00\xff")]
        else:
            raise ResourceNotFound
        return tools_pb.ReadResourceResponse(contents=contents)

    async def ListPrompts(self, request: tools_pb.ListPromptsRequest, context: Context) -> tools_pb.ListPromptsResponse:
        arguments = [tools_pb.PromptArgument(name="tool", required=True), tools_pb.PromptArgument(name="tone")]
        prompt = tools_pb.Prompt(name="demo__explain", server="demo", description="Explains.", arguments=arguments)
        return tools_pb.ListPromptsResponse(prompts=[prompt])

    async def GetPrompt(self, request: tools_pb.GetPromptRequest, context: Context) -> tools_pb.GetPromptResponse:
        said = encode_message(message(Role.USER, json.dumps(dict(sorted(request.arguments.items())))))
        return tools_pb.GetPromptResponse(description="Explains.", messages=[said])

    async def ExecuteTools(
        self, request: tools_pb.ExecuteToolsRequest, context: Context
    ) -> AsyncIterator[tools_pb.ExecuteToolsResponse]:
        call = request.calls[0]
        self.approvals += request.approvals
        started = events.CallStarted(name=call.name, server="demo", arguments_json=call.arguments_json, attempt=1)
        yield tools_pb.ExecuteToolsResponse(sequence=1, call_id=call.id, started=started)
        progress = events.CallProgress(progress=1, total=4, message="a quarter")
        yield tools_pb.ExecuteToolsResponse(sequence=2, call_id=call.id, progress=progress)
        yield tools_pb.ExecuteToolsResponse(sequence=3, heartbeat=tools_pb.Heartbeat())
        yield tools_pb.ExecuteToolsResponse(sequence=4, call_id=call.id, finished=_finished(call))
        yield tools_pb.ExecuteToolsResponse(sequence=5, done=tools_pb.Done())


def _finished(call: conversation_pb2.ToolCall) -> events.CallFinished:
    if call.name == "demo__echo":
        text = f"\x1b[31m{call.arguments_json}"
        return events.CallFinished(outcome=events.CALL_OUTCOME_SUCCEEDED, parts=[conversation_pb2.Part(text=text)])
    failure = conversation_pb2.Failure(reason="X", code=9, message="It does not work today.")
    parts = [conversation_pb2.Part(text="Try\ntomorrow.")]
    return events.CallFinished(outcome=events.CALL_OUTCOME_FAILED, failure=failure, parts=parts)


class SmallThreads(threads_grpc.ThreadsServiceServicer):
    """Keeps the threads it is given; pages hold two entries, so that there is always a next page."""

    def __init__(self, threads: Sequence[threads_pb.Thread], items: Sequence[threads_pb.Item]) -> None:
        self._threads = threads
        self._items = items

    async def GetThread(self, request: threads_pb.GetThreadRequest, context: Context) -> threads_pb.GetThreadResponse:
        for thread in self._threads:
            if thread.id == request.thread_id:
                return threads_pb.GetThreadResponse(thread=thread)
        raise ThreadNotFound

    async def ListThreads(
        self, request: threads_pb.ListThreadsRequest, context: Context
    ) -> threads_pb.ListThreadsResponse:
        found = [thread for thread in self._threads if thread.key.startswith(request.key_prefix)]
        start = int(request.page_token or 0)
        token = str(start + 2) if start + 2 < len(found) else ""
        return threads_pb.ListThreadsResponse(threads=found[start : start + 2], next_page_token=token)

    async def ListItems(self, request: threads_pb.ListItemsRequest, context: Context) -> threads_pb.ListItemsResponse:
        first = request.after_sequence + 1 if request.HasField("after_sequence") else 0
        found = [item for item in self._items if item.sequence >= first]
        return threads_pb.ListItemsResponse(items=found[:2], has_more=len(found) > 2)


@asynccontextmanager
async def serving(*services: Service, address: str = "127.0.0.1:0") -> AsyncIterator[str]:
    """Serve through the real kit, on a free port where none is named; gives `host:port`."""

    async def ping() -> None:
        return

    async with serve(services, address=address, registry=new_registry(), ping=ping) as server:
        yield f"127.0.0.1:{server.port}"


def small_tools(*quarantined: tools_pb.QuarantinedTool, **rules: Any) -> SmallTools:
    """Make the tools, which have such `rules`, and those that are held back."""
    return SmallTools(quarantined, rules)  # type: ignore[abstract]  # it has what the commands call


def tools_service(tools: SmallTools | None = None) -> Service:
    """Give the service of `SmallTools`."""
    name = tools_pb.DESCRIPTOR.services_by_name["ToolsService"].full_name
    return Service(servicer=tools or small_tools(), add=tools_grpc.add_ToolsServiceServicer_to_server, name=name)


def threads_service(threads: Sequence[threads_pb.Thread], items: Sequence[threads_pb.Item] = ()) -> Service:
    """Give the service of `SmallThreads`."""
    name = threads_pb.DESCRIPTOR.services_by_name["ThreadsService"].full_name
    servicer = SmallThreads(threads, items)  # type: ignore[abstract]  # it has what the commands call
    return Service(servicer=servicer, add=threads_grpc.add_ThreadsServiceServicer_to_server, name=name)
