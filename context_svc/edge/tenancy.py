"""Whose threads and runs a request may see: those of others are not there for it."""

from context_svc.domain.ports import RunStore, ThreadStore
from context_svc.domain.run import Run, RunState
from context_svc.domain.thread import Thread
from threadmesh.api.context.v1 import runs_service_pb2 as runs
from threadmesh.api.context.v1 import threads_service_pb2 as threads
from threadmesh.errors import RunNotFound, ThreadNotFound

AboutThread = (
    threads.GetThreadRequest
    | threads.UpdateThreadRequest
    | threads.GetItemRequest
    | threads.DeleteItemRequest
    | threads.DeleteThreadRequest
    | threads.AppendItemsRequest
    | threads.PinItemRequest
    | threads.UnpinItemRequest
    | threads.AppendSummaryRequest
    | threads.ListItemsRequest
    | threads.AssembleWindowRequest
    | threads.GetRetentionRequest
    | threads.PruneThreadRequest
)
AboutRun = (
    runs.GetRunRequest
    | runs.WatchRunRequest
    | runs.CancelRunRequest
    | runs.DeleteRunRequest
    | runs.ResolveCallRequest
    | runs.AnswerCallRequest
    | runs.ListWaitingInputRequest
    | runs.ListCallsRequest
)
OfTenant = (
    threads.ResolveThreadRequest
    | threads.CreateThreadRequest
    | threads.ImportThreadRequest
    | threads.ListThreadsRequest
    | threads.GetUsageRequest
    | runs.StartRunRequest
    | runs.ListRunsRequest
    | AboutThread
    | AboutRun
)
"""A request that may name a tenant."""


def tenant_of(request: OfTenant) -> str | None:
    """Give the tenant for whom something is asked; None if for nobody in particular."""
    return request.tenant if request.HasField("tenant") else None


def taken_limit(request: threads.CreateThreadRequest | threads.AppendItemsRequest) -> int:
    """Take the limit of what may be stored out of a request.

    It is no part of what is asked: a repetition with another one is still the same request.
    """
    limit = request.stored_bytes_limit
    request.ClearField("stored_bytes_limit")
    return limit


async def visible_thread(request: AboutThread, store: ThreadStore) -> Thread:
    """Give the request's thread. Raises `ThreadNotFound`, also for a thread of somebody else."""
    thread = await store.thread(request.thread_id)
    if tenant_of(request) not in {None, thread.tenant}:
        raise ThreadNotFound
    return thread


async def visible_run(request: AboutRun, store: RunStore) -> Run:
    """Give the request's run. Raises `RunNotFound`, also for a run that was deleted, or of somebody else."""
    run = await store.run(request.run_id)
    if tenant_of(request) not in {None, run.tenant} or run.state is RunState.DELETED:
        raise RunNotFound
    return run


async def require_thread(request: AboutThread, store: ThreadStore) -> None:
    """Raise `ThreadNotFound` for a thread that the request's tenant does not have; a thread never changes hands."""
    if request.HasField("tenant"):
        await visible_thread(request, store)


async def require_run(request: AboutRun, store: RunStore) -> None:
    """Raise `RunNotFound` for a run that the request's tenant does not have; a run never changes hands."""
    if request.HasField("tenant"):
        await visible_run(request, store)
