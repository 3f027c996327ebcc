"""What models read of threads and what is kept of them, as context_svc decides it."""

from datetime import timedelta

from google.protobuf.duration_pb2 import Duration

from facade.adapters.run_writer import PEER, SECONDS
from facade.adapters.start_codec import decode_window
from facade.adapters.threads_client import decode_said, decode_thread
from facade.domain.curation import NewSummary, Retention
from facade.domain.records import Said, Window
from facade.domain.threads import Thread
from threadmesh.api.context.v1 import threads_service_pb2 as pb
from threadmesh.api.context.v1 import threads_service_pb2_grpc as rpc
from threadmesh.rpc.channel import MeshChannel, translated


class CurationClient:
    """The `Curation` port over gRPC."""

    def __init__(self, channel: MeshChannel) -> None:
        self._threads = rpc.ThreadsServiceStub(channel)

    async def pin(self, thread_id: str, sequence: int, *, tenant: str) -> Thread:
        """Make an entry part of every window."""
        request = pb.PinItemRequest(thread_id=thread_id, sequence=sequence, tenant=tenant)
        async with translated(PEER):
            response = await self._threads.PinItem(request, timeout=SECONDS)
        return decode_thread(response.thread)

    async def unpin(self, thread_id: str, sequence: int, *, tenant: str) -> Thread:
        """Take an entry out of every window again."""
        request = pb.UnpinItemRequest(thread_id=thread_id, sequence=sequence, tenant=tenant)
        async with translated(PEER):
            response = await self._threads.UnpinItem(request, timeout=SECONDS)
        return decode_thread(response.thread)

    async def window(self, thread_id: str, *, token_budget: int, tenant: str) -> Window:
        """Give the newest part of a thread that fits."""
        request = pb.AssembleWindowRequest(thread_id=thread_id, token_budget=max(1, token_budget), tenant=tenant)
        async with translated(PEER):
            response = await self._threads.AssembleWindow(request, timeout=SECONDS)
        return decode_window(response)

    async def summarize(self, thread_id: str, new: NewSummary, *, tenant: str) -> Said:
        """Add a summary."""
        request = pb.AppendSummaryRequest(
            thread_id=thread_id,
            items=pb.ItemRange(first=new.first, last=new.last),
            previous_summary=new.previous,
            text=new.text,
            tokens=new.tokens,
            request_id=new.request_id,
            tenant=tenant,
        )
        async with translated(PEER):
            response = await self._threads.AppendSummary(request, timeout=SECONDS)
        return decode_said(response.item)

    async def retention(self, thread_id: str, *, tenant: str) -> Retention | None:
        """Give the rule of a thread."""
        request = pb.GetRetentionRequest(thread_id=thread_id, tenant=tenant)
        async with translated(PEER):
            response = await self._threads.GetRetention(request, timeout=SECONDS)
        return _decode_rule(response.rule) if response.HasField("rule") else None

    async def prune(self, thread_id: str, limits: Retention, *, dry_run: bool, tenant: str) -> int:
        """Remove a thread's oldest turns, or only count."""
        request = pb.PruneThreadRequest(
            thread_id=thread_id, limits=_encode_limits(limits), dry_run=dry_run, tenant=tenant
        )
        async with translated(PEER):
            response = await self._threads.PruneThread(request, timeout=SECONDS)
        return response.items


def _decode_rule(rule: pb.RetentionRule) -> Retention:
    limits = rule.limits
    return Retention(
        pattern=rule.pattern,
        max_age=limits.max_age.ToTimedelta() if limits.HasField("max_age") else None,
        max_idle=limits.max_idle.ToTimedelta() if limits.HasField("max_idle") else None,
        max_items=limits.max_items if limits.HasField("max_items") else None,
        max_tokens=limits.max_tokens if limits.HasField("max_tokens") else None,
        only_summarized=limits.only_summarized,
    )


def _encode_limits(limits: Retention) -> pb.RetentionLimits:
    return pb.RetentionLimits(
        max_age=_duration(limits.max_age),
        max_idle=_duration(limits.max_idle),
        max_items=limits.max_items,
        max_tokens=limits.max_tokens,
        only_summarized=limits.only_summarized,
    )


def _duration(length: timedelta | None) -> Duration | None:
    if length is None:
        return None
    wire = Duration()
    wire.FromTimedelta(length)
    return wire
