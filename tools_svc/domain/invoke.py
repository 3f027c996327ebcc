"""What a source is asked to do for one call of a batch."""

from tools_svc.domain.call import Batch, Continuation, Invocation, idempotency_key
from tools_svc.domain.plan import Planned

_BEGINNING = Continuation(round=0, answers=())


def goes_on_with(call_id: str, batch: Batch) -> Continuation:
    """Give the answers that a call goes on with; none, of no round, where it begins."""
    return batch.continuations.get(call_id, _BEGINNING)


def invocation(planned: Planned, batch: Batch) -> Invocation:
    """Give what the tool's source is asked to do; what a process that is gone was holding begins anew."""
    tool = planned.entry.tool
    goes_on = goes_on_with(planned.call.id, batch)
    limits = [tool.timeout_seconds, *([batch.timeout_seconds] if batch.timeout_seconds is not None else [])]
    return Invocation(
        tool=tool.server_tool,
        arguments=planned.arguments,
        timeout_seconds=min(limits),
        call_id=planned.call.id,
        definition_hash=tool.definition_hash,
        run_id=batch.run_id,
        thread_id=batch.thread_id,
        request_id=batch.request_id,
        traceparent=batch.traceparent,
        idempotency_key=idempotency_key(batch.run_id, planned.call.id),
        may_ask=batch.answers_questions,
        answers=() if goes_on.held else goes_on.answers,
        request_state="" if goes_on.held else goes_on.request_state,
    )
