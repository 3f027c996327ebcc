"""The start of a run, and the window that comes with it, to and from protobuf."""

from datetime import timedelta

from facade.adapters.run_codec import encode_items
from facade.domain.records import NewItem, NewRun, Window
from threadmesh.api.context.v1 import runs_service_pb2 as pb
from threadmesh.api.context.v1 import threads_service_pb2 as threads
from threadmesh.codec import decode_message

_MULTITASK = {
    "enqueue": pb.MULTITASK_ENQUEUE,
    "interrupt": pb.MULTITASK_INTERRUPT,
    "reject": pb.MULTITASK_REJECT,
}

_OWN_WORDS = {threads.PROVENANCE_OPERATOR, threads.PROVENANCE_USER, threads.PROVENANCE_MODEL}
"""Where a summary's words come from that retells neither tools nor other systems."""


def encode_start(new: NewRun, *, owner: str) -> pb.StartRunRequest:
    """Encode a request for a run, claimed by the owner if there is one."""
    counted = zip(new.input, new.input_tokens or [0] * len(new.input), strict=True)
    request = pb.StartRunRequest(
        input=encode_items([NewItem(message=message, tokens=tokens) for message, tokens in counted]),
        parameters_json=new.parameters.to_json(),
        idempotency_key=new.idempotency_key,
        fingerprint=new.fingerprint,
        multitask=_MULTITASK[new.multitask],
        attempt_key=new.attempt_key,
        repetition=new.repetition,
        instead_of=new.instead_of,
        owner=owner,
        window_token_budget=new.window_tokens,
        tenant=new.tenant,
        metadata=new.metadata,
        stored_bytes_limit=new.stored_limit,
        number=new.number,
    )
    request.timeout.FromTimedelta(timedelta(seconds=new.timeout_seconds))
    if new.thread_id:
        request.thread_id = new.thread_id
    elif new.thread_key:
        request.thread_key = new.thread_key
    return request


def decode_window(window: threads.AssembleWindowResponse) -> Window:
    """Decode a window."""
    return Window(
        messages=tuple(map(decode_message, window.messages)),
        tokens=window.tokens,
        omitted_items=window.omitted_items,
        least_tokens=window.least_tokens,
        summary=window.summary if window.HasField("summary") else None,
        retells_others=window.HasField("summary") and window.summary_provenance not in _OWN_WORDS,
    )
