"""Checks what a mesh remembers of a request against what its reader saw and what its tools did."""

import json
import time
from collections import Counter
from typing import Any

import grpc
import httpx2

from tests.chaos.reader import Reader
from tests.chaos.units import Units
from threadmesh.api.context.v1 import runs_service_pb2 as runs
from threadmesh.api.context.v1 import threads_service_pb2 as threads
from threadmesh.api.context.v1.runs_service_pb2_grpc import RunsServiceStub
from threadmesh.api.context.v1.threads_service_pb2_grpc import ThreadsServiceStub
from threadmesh.api.conversation.v1 import conversation_pb2 as conversation

ENDED = {runs.RUN_STATE_SUCCEEDED, runs.RUN_STATE_FAILED, runs.RUN_STATE_CANCELLED}
_PATIENCE_SECONDS = 10.0
_PAUSE_SECONDS = 0.05


def check(units: Units, reader: Reader, *, facade: str = "other") -> None:
    """Fail unless everything agrees."""
    with grpc.insecure_channel(units.target("context")) as channel:
        run = RunsServiceStub(channel).GetRun(runs.GetRunRequest(run_id=reader.run), wait_for_ready=True).run
        calls = RunsServiceStub(channel).ListCalls(runs.ListCallsRequest(run_id=reader.run)).calls
        page = ThreadsServiceStub(channel).ListItems(threads.ListItemsRequest(thread_id=reader.thread, page_size=1000))
    assert run.state in ENDED, "the run has an end"
    _check_stream(units, reader, facade)
    _check_items(list(page.items), list(calls), reader, succeeded=run.state == runs.RUN_STATE_SUCCEEDED)
    _check_calls(units, list(calls), list(page.items))


def _check_stream(units: Units, reader: Reader, facade: str) -> None:
    """What was read in pieces is what is read at once."""
    completion = "chatcmpl-" + reader.run.removeprefix("run_")
    whole = _read_patiently(f"{units.url(facade)}/v1/chat/completions/{completion}/stream")
    assert [block for block in whole.split("\n\n") if block] == reader.blocks
    finishes = [choice for chunk in reader.chunks for choice in chunk.get("choices", ()) if choice["finish_reason"]]
    errors = [chunk for chunk in reader.chunks if "error" in chunk]
    assert len(finishes) + len(errors) == 1, "a stream has exactly one end"


def _read_patiently(url: str) -> str:
    """Read what a facade shows; one that has just lost the context service says so until it has found it again."""
    ends = time.monotonic() + _PATIENCE_SECONDS
    while (response := httpx2.get(url, timeout=60)).status_code == 503 and time.monotonic() < ends:
        time.sleep(_PAUSE_SECONDS)
    assert response.status_code == 200, response.text
    return response.text


def _check_items(items: "list[threads.Item]", calls: "list[runs.Call]", reader: Reader, *, succeeded: bool) -> None:
    """The question stands in the thread once, each of the mesh's calls has one result, the answer is what was read."""
    assert [item.sequence for item in items] == list(range(len(items)))
    roles = Counter(item.message.role for item in items)
    assert roles[conversation.ROLE_USER] == 1
    theirs = {call["id"] for chunk in reader.chunks for call in _calls(chunk) if call.get("id")}
    asked = [call.id for item in items for call in item.message.tool_calls if call.id not in theirs]
    answered = [item.message.tool_call_id for item in items if item.message.role == conversation.ROLE_TOOL]
    assert sorted(asked) == sorted(answered) == sorted(call.id for call in calls), "every call has exactly one result"
    said = "".join(_text(item) for item in items if item.message.role == conversation.ROLE_ASSISTANT)
    if succeeded:
        assert said == reader.text


def _check_calls(units: Units, calls: "list[runs.Call]", items: "list[threads.Item]") -> None:
    """Nothing was done twice, what is said to be done was done, and what was done is not said to have failed."""
    done = Counter(units.done())
    results = {item.message.tool_call_id: _text(item) for item in items if item.message.tool_call_id}
    for call in calls:
        name = json.loads(call.arguments_json)["name"]
        assert done[name] <= 1, f"{name} was done {done[name]} times"
        if results[call.id] == f"did {name}":
            assert done[name] == 1
        elif done[name]:
            assert "unknown" in results[call.id].lower(), results[call.id]


def _calls(chunk: dict[str, Any]) -> list[dict[str, Any]]:
    """Give the calls that a client is to make."""
    return [call for choice in chunk.get("choices", ()) for call in choice["delta"].get("tool_calls") or ()]


def _text(item: "threads.Item") -> str:
    return "".join(part.text for part in item.message.parts if part.WhichOneof("content") == "text")
