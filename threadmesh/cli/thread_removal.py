"""`threadmesh threads prune` and `threadmesh threads delete`: conversations that go."""

from threadmesh.api.context.v1 import threads_service_pb2 as pb
from threadmesh.api.context.v1.threads_service_pb2_grpc import ThreadsServiceStub
from threadmesh.cli.calls import SECONDS, find_thread, reached
from threadmesh.cli.output import print_json, print_table, stdout

_PAGE_SECONDS = 300.0
"""Limit of pruning a page of threads, of which some may be very long."""


async def prune_threads(target: str, *, dry_run: bool, as_json: bool) -> None:
    """Apply the retention rules of the mesh now, and write what went, or what would go."""
    pruned: list[pb.PrunedThread] = []
    async with reached(target, peer="context") as channel:
        request = pb.PruneThreadsRequest(dry_run=dry_run)
        while True:
            page = await ThreadsServiceStub(channel).PruneThreads(request, timeout=_PAGE_SECONDS)
            pruned += page.threads
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
    if as_json:
        print_json(
            [
                {"id": each.thread_id, "key": each.key, "rule": each.pattern, "items": each.items, "whole": each.whole}
                for each in pruned
            ]
        )
        return
    if not pruned:
        stdout().print("The rules keep everything that is there.")
        return
    heading = "would go" if dry_run else "went"
    rows = [[each.key, each.thread_id, each.pattern, _what(each)] for each in pruned]
    print_table(["key", "id", "rule", heading], rows)


async def thread_to_delete(target: str, name: str) -> pb.Thread:
    """Give the thread with this id or key; raises `ThreadNotFound`."""
    async with reached(target, peer="context") as channel:
        return await find_thread(channel, name)


async def delete_thread(target: str, thread_id: str) -> None:
    """Forget a thread with all its items and runs; raises `ThreadNotFound`, and `ThreadBusy` while it has a run."""
    async with reached(target, peer="context") as channel:
        await ThreadsServiceStub(channel).DeleteThread(pb.DeleteThreadRequest(thread_id=thread_id), timeout=SECONDS)


def _what(pruned: pb.PrunedThread) -> str:
    items = f"{pruned.items} item{'' if pruned.items == 1 else 's'}"
    return f"the thread with {items}" if pruned.whole else items
