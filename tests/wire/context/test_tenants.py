"""A tenant finds nothing of others, whatever is asked."""

from collections.abc import AsyncIterable, Callable
from typing import TYPE_CHECKING, Any

import pytest

from tests.wire.context.given import SECONDS, said
from threadmesh.api.context.v1 import runs_service_pb2 as runs_pb
from threadmesh.api.context.v1 import threads_service_pb2 as threads_pb
from threadmesh.api.conversation.v1 import questions_pb2
from threadmesh.errors import MeshError, RunNotFound, ThreadNotFound
from threadmesh.rpc.channel import translated

if TYPE_CHECKING:
    from threadmesh.api.context.v1.runs_service_pb2_grpc import RunsServiceAsyncStub as Runs
    from threadmesh.api.context.v1.threads_service_pb2_grpc import ThreadsServiceAsyncStub as Threads

ABOUT_THREADS: list[tuple[str, Callable[..., Any]]] = [
    ("GetThread", threads_pb.GetThreadRequest),
    ("AppendItems", lambda **about: threads_pb.AppendItemsRequest(items=[said("hello")], **about)),
    ("UpdateThread", threads_pb.UpdateThreadRequest),
    ("GetItem", threads_pb.GetItemRequest),
    ("DeleteItem", threads_pb.DeleteItemRequest),
    ("PinItem", threads_pb.PinItemRequest),
    ("UnpinItem", threads_pb.UnpinItemRequest),
    ("ListItems", threads_pb.ListItemsRequest),
    ("AssembleWindow", threads_pb.AssembleWindowRequest),
    (
        "AppendSummary",
        lambda **about: threads_pb.AppendSummaryRequest(text="short", items=threads_pb.ItemRange(), **about),
    ),
    ("GetRetention", threads_pb.GetRetentionRequest),
    (
        "PruneThread",
        lambda **about: threads_pb.PruneThreadRequest(limits=threads_pb.RetentionLimits(max_items=1), **about),
    ),
    ("DeleteThread", threads_pb.DeleteThreadRequest),
]
ABOUT_RUNS: list[tuple[str, Callable[..., Any]]] = [
    ("GetRun", runs_pb.GetRunRequest),
    ("WatchRun", runs_pb.WatchRunRequest),
    ("ListWaitingInput", runs_pb.ListWaitingInputRequest),
    ("ListCalls", runs_pb.ListCallsRequest),
    (
        "ResolveCall",
        lambda **about: runs_pb.ResolveCallRequest(call_id="c", resolution=runs_pb.RESOLUTION_DENIED, **about),
    ),
    (
        "AnswerCall",
        lambda **about: runs_pb.AnswerCallRequest(
            call_id="c",
            answers=[questions_pb2.Answer(question_id="q", action=questions_pb2.ANSWER_ACTION_DECLINE)],
            **about,
        ),
    ),
    ("CancelRun", runs_pb.CancelRunRequest),
    ("DeleteRun", runs_pb.DeleteRunRequest),
]


async def answered(stub: Any, method: str, request: Any) -> MeshError | None:
    """Ask, and give the error if that is what comes."""
    try:
        async with translated("context"):
            answer = getattr(stub, method)(request, timeout=SECONDS)
            if isinstance(answer, AsyncIterable) and method.startswith("Watch"):
                await anext(aiter(answer))
                answer.cancel()  # type: ignore[attr-defined]  # a call that streams
            else:
                await answer
    except MeshError as error:
        return error
    return None


async def thread_of(threads: "Threads", tenant: str) -> threads_pb.Thread:
    request = threads_pb.ResolveThreadRequest(key="k", tenant=tenant)
    thread = (await threads.ResolveThread(request, timeout=SECONDS)).thread
    await threads.AppendItems(threads_pb.AppendItemsRequest(thread_id=thread.id, items=[said("mine")]), timeout=SECONDS)
    return thread


@pytest.mark.parametrize(("method", "request_of"), ABOUT_THREADS, ids=[name for name, _ in ABOUT_THREADS])
async def test_a_thread_is_not_there_for_strangers(
    threads: "Threads", method: str, request_of: Callable[..., Any]
) -> None:
    thread = await thread_of(threads, "a")

    for stranger in ("b", ""):
        refused = await answered(threads, method, request_of(thread_id=thread.id, tenant=stranger))
        assert isinstance(refused, ThreadNotFound)
    assert (await threads.GetThread(threads_pb.GetThreadRequest(thread_id=thread.id), timeout=SECONDS)).thread == (
        await threads.GetThread(threads_pb.GetThreadRequest(thread_id=thread.id, tenant="a"), timeout=SECONDS)
    ).thread
    own = await answered(threads, method, request_of(thread_id=thread.id, tenant="a"))
    assert not isinstance(own, ThreadNotFound)


@pytest.mark.parametrize(("method", "request_of"), ABOUT_RUNS, ids=[name for name, _ in ABOUT_RUNS])
async def test_a_run_is_not_there_for_strangers(runs: "Runs", method: str, request_of: Callable[..., Any]) -> None:
    request = runs_pb.StartRunRequest(input=[said("hello")], tenant="a", owner="facade-1")
    run = (await runs.StartRun(request, timeout=SECONDS)).run
    event = runs_pb.RunEvent(model_finished=runs_pb.ModelFinished())
    writing = runs_pb.AppendEventsRequest(run_id=run.id, epoch=1, events=[event])
    _ = [each async for each in runs.AppendEvents(iter([writing]), timeout=SECONDS)]

    for stranger in ("b", ""):
        refused = await answered(runs, method, request_of(run_id=run.id, tenant=stranger))
        assert isinstance(refused, RunNotFound)
    assert not (await runs.GetRun(runs_pb.GetRunRequest(run_id=run.id), timeout=SECONDS)).run.cancel_requested
    assert not isinstance(await answered(runs, method, request_of(run_id=run.id, tenant="a")), RunNotFound)


async def test_every_request_about_a_thread_or_a_run_can_be_a_tenants() -> None:
    inside = {"ClaimRun", "HandOverRun", "RenewRun", "AppendEvents", "FinishRun", "RequireAction"}
    elsewhere = {"StartRun", "ListRuns"}
    asked = {name for name, _ in (*ABOUT_THREADS, *ABOUT_RUNS)}
    for module in (threads_pb, runs_pb):
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                fields = method.input_type.fields_by_name
                if {"thread_id", "run_id"} & set(fields.keys()) and method.name not in inside | elsewhere:
                    assert "tenant" in fields
                    assert method.name in asked


async def test_a_tenant_with_a_name_that_no_tenant_has_is_refused(threads: "Threads") -> None:
    request = threads_pb.ResolveThreadRequest(key="k", tenant="a b")
    error = await answered(threads, "ResolveThread", request)

    assert error is not None
    assert error.facts["field"] == "tenant"
