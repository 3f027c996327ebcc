"""Results of tools that a request brings: each answers a call, or the model would never be told of it."""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass

from facade.domain.threads import Threads
from threadmesh.errors import InvalidArgument

_PAGE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a piece of a request does: it makes `calls`, or gives the result of one, which it names in a `field`."""

    calls: Iterable[str] = ()
    result_of: str | None = None
    field: str = ""


def unasked(steps: Iterable[Step]) -> dict[str, str]:
    """Give the fields that name calls which the request itself does not make before, by the calls' ids.

    Raises `InvalidArgument` if a call is answered twice.
    """
    waiting: set[str] = set()
    found: dict[str, str] = {}
    for step in steps:
        waiting.update(step.calls)
        if step.result_of is None:
            continue
        if step.result_of in waiting:
            waiting.remove(step.result_of)
        elif step.result_of in found:
            raise _unknown(step.field)
        else:
            found[step.result_of] = step.field
    return found


def refuse(results: Mapping[str, str], *, calls: Container[str] = ()) -> None:
    """Raise `InvalidArgument` for the first result of a call that is none of these."""
    for call_id, field in results.items():
        if call_id not in calls:
            raise _unknown(field)


async def require_calls(
    results: Mapping[str, str], threads: Threads, *, tenant: str, thread_id: str = "", thread_key: str = ""
) -> None:
    """Raise `InvalidArgument` for the first result of a call that was never made in the thread of an id or a key.

    One that was answered before is let pass: a request is sent again when its answer has failed.
    """
    if not results:
        return
    thread = await threads.of_key(thread_key, tenant=tenant) if thread_key else None
    thread_id = thread.id if thread else thread_id
    made: set[str] = set()
    after, more = None, bool(thread_id)
    while more and not results.keys() <= made:  # a call that waits is among the newest
        page, more = await threads.said(thread_id, after=after, limit=_PAGE, descending=True, tenant=tenant)
        made |= {call.id for said in page for call in said.message.tool_calls}
        after = page[-1].sequence if page else None
        more = more and bool(page)
    refuse(results, calls=made)


def _unknown(field: str) -> InvalidArgument:
    return InvalidArgument(f"{field} names no call that waits.", field=field, kind="tool_call_id_unknown")
