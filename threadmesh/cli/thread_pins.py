"""`threadmesh threads pin` and `threadmesh threads unpin`: what stays in sight however long a thread gets."""

from threadmesh.api.context.v1 import threads_service_pb2 as pb
from threadmesh.api.context.v1.threads_service_pb2_grpc import ThreadsServiceStub
from threadmesh.cli.calls import SECONDS, find_thread, reached
from threadmesh.cli.output import one_line, stdout


async def set_pinned(target: str, name: str, sequence: int, *, pinned: bool) -> None:
    """Pin an item of the thread with this id or key, or take it out again, and write what is pinned now.

    Raises `ThreadNotFound`, `NotFound` for an item that is not there, and `PreconditionFailed` for one that cannot be
    pinned.
    """
    async with reached(target, peer="context") as channel:
        stub, thread = ThreadsServiceStub(channel), await find_thread(channel, name)
        if pinned:
            pin = pb.PinItemRequest(thread_id=thread.id, sequence=sequence)
            thread = (await stub.PinItem(pin, timeout=SECONDS)).thread
        else:
            unpin = pb.UnpinItemRequest(thread_id=thread.id, sequence=sequence)
            thread = (await stub.UnpinItem(unpin, timeout=SECONDS)).thread
    numbers = ", ".join(map(str, thread.pinned)) or "none"
    stdout().print(f"Pinned items of {one_line(thread.key or thread.id)}: {numbers}.", markup=False)
