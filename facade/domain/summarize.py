"""Lets a model write down in short what a thread begins with, so that windows without room for it hold that."""

from collections.abc import Sequence
from dataclasses import dataclass

from facade.domain.compaction import retold
from facade.domain.curation import Curation, NewSummary
from facade.domain.parameters import TurnParameters
from facade.domain.ports import Inference
from facade.domain.records import Said
from facade.domain.threads import Thread, Threads
from facade.domain.tokens import TokenCount
from threadmesh.conversation import Role, Usage, message
from threadmesh.errors import NotFound, PreconditionFailed, ThreadBusy

_PAGE = 500
_INSTRUCTIONS = (Role.SYSTEM, Role.DEVELOPER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Asks for a summary up to the entry `up_to`, or of all that stands before the newest turn."""

    up_to: int | None
    parameters: TurnParameters
    request_id: str


async def summarize(
    thread: Thread, wish: Wish, *, threads: Threads, curation: Curation, inference: Inference
) -> tuple[Said, Usage]:
    """Add a summary to the thread and give it, and what the model has used; nothing is added unless it says all.

    A thread that has a summary is summarized from its end on, together with it. Raises `PreconditionFailed` where
    nothing is new, what `Inference.generate` does, and `ThreadBusy` and `ThreadChanged`.
    """
    if thread.active_run_id:  # before a model has worked for nothing
        raise ThreadBusy
    previous = await _previous(thread, threads)
    said = await _said(thread, threads, previous=previous, up_to=wish.up_to)
    if not said:
        raise PreconditionFailed("There is nothing new to summarize before the thread's newest turn.")
    so_far = previous.message.text if previous else ""
    text, usage = await retold([each.message for each in said], wish.parameters, inference, so_far=so_far)
    counted = await TokenCount(inference, wish.parameters.model).of([message(Role.ASSISTANT, text)])
    new = NewSummary(
        first=said[0].sequence,
        last=said[-1].sequence,
        previous=previous.sequence if previous else None,
        text=text,
        tokens=sum(counted),
        request_id=wish.request_id,
    )
    return await curation.summarize(thread.id, new, tenant=thread.tenant), usage


async def _previous(thread: Thread, threads: Threads) -> Said | None:
    if thread.summary is None:
        return None
    try:
        return await threads.entry(thread.id, thread.summary, tenant=thread.tenant)
    except NotFound:  # deleted since
        return None


async def _said(thread: Thread, threads: Threads, *, previous: Said | None, up_to: int | None) -> Sequence[Said]:
    """Give what is to be retold: behind the previous summary, without instructions, which stay as they are."""
    after = (previous.covers[1] if previous.covers else previous.sequence) if previous else None
    found: list[Said] = []
    more = True
    while more:
        page, more = await threads.said(thread.id, after=after, limit=_PAGE, descending=False, tenant=thread.tenant)
        for entry in page:
            after = entry.sequence
            if up_to is not None and entry.sequence > up_to:
                return found
            if entry.message.role not in _INSTRUCTIONS and not entry.summary:
                found.append(entry)
    return found if up_to is not None else _before_newest_turn(found)


def _before_newest_turn(found: Sequence[Said]) -> Sequence[Said]:
    asked = [place for place, entry in enumerate(found) if entry.message.role is Role.USER]
    return found[: asked[-1]] if asked else []
