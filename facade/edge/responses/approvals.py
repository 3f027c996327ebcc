"""Answers to the questions of a response: the run that waits goes on, and what follows is the next response."""

from collections.abc import Sequence
from contextlib import aclosing

from facade.domain.events import Run
from facade.domain.ports import Context
from facade.domain.records import Verdict
from facade.edge.responses.input_items import McpApprovalItem
from facade.edge.responses.names import Part, read_approval_id
from threadmesh.conversation import CallAwaiting
from threadmesh.errors import InvalidArgument


def asked_run(answers: Sequence[McpApprovalItem]) -> tuple[str, dict[str, McpApprovalItem]]:
    """Give the run that asked, and its answers by the calls. Raises `InvalidArgument` for questions that are none."""
    found: dict[str, McpApprovalItem] = {}
    runs = set()
    for answer in answers:
        named = read_approval_id(answer.approval_request_id)
        if named is None:
            raise _unknown(answer)
        runs.add(named[0])
        found[named[1]] = answer
    if len(runs) > 1:
        raise InvalidArgument("These answers belong to several responses; send them apart.", field="input")
    return runs.pop(), found


async def answer(run: Run, answers: dict[str, McpApprovalItem], context: Context) -> Part:
    """Decide about the calls; gives the part of the run that begins with that.

    Raises as `Context.decide`, and `InvalidArgument` for calls about which nobody asked.
    """
    part = Part(run_id=run.id, after=await _place(run, answers, context))
    for call_id, item in answers.items():
        resolution = "approved" if item.approve else "denied"
        await context.decide(run.id, call_id, Verdict(resolution=resolution, reason=item.reason or ""))
    return part


async def _place(run: Run, answers: dict[str, McpApprovalItem], context: Context) -> int:
    """Find the event from which on the run waits for these answers."""
    open_calls = set(answers)
    async with aclosing(context.watch(run.id)) as log:
        async for events in log:
            for event in events:
                if isinstance(event.body, CallAwaiting):
                    open_calls.discard(event.call_id)
                    if event.body.last and not open_calls:
                        return event.sequence
            if events and events[-1].sequence >= run.next_sequence - 1:
                break
    raise _unknown(answers[next(iter(open_calls))])


def _unknown(item: McpApprovalItem) -> InvalidArgument:
    return InvalidArgument(f"Nobody asked {item.approval_request_id[:64]}.", field="input", kind="approval_not_found")
