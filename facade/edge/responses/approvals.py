"""Answers to the questions of a response: the run that waits goes on, and what follows is the next response."""

from collections.abc import Collection, Sequence
from contextlib import aclosing

from facade.domain.events import Run
from facade.domain.ports import Context
from facade.domain.records import CallState, Verdict
from facade.edge.responses import input_items as items
from facade.edge.responses.input_items import McpApprovalItem
from facade.edge.responses.names import Part, read_approval_id
from facade.edge.responses.waits import located
from threadmesh.conversation import CallAwaiting
from threadmesh.errors import InvalidArgument

_OF_MODELS = (items.McpCallItem, items.FunctionCallItem, items.ReasoningItem, items.CompactionItem)
_TELLS_NOBODY = (items.McpListToolsItem, items.McpApprovalRequestItem, items.McpApprovalItem)


def unanswered(given: str | Sequence[items.InputItem]) -> list[McpApprovalItem]:
    """Give the approvals behind which no model has said anything yet; the others are part of what was said before."""
    if isinstance(given, str):
        return []
    called = {getattr(item, "approval_request_id", None) for item in given if isinstance(item, items.McpCallItem)}
    said = max((place for place, item in enumerate(given) if _is_of_model(item)), default=-1)
    answers = [item for item in given[said + 1 :] if isinstance(item, McpApprovalItem)]
    return [item for item in answers if item.approval_request_id not in called]


def says_more(given: str | Sequence[items.InputItem], answers: Sequence[McpApprovalItem], *, alone: bool) -> bool:
    """Say whether something is to be told to the model beside these answers.

    Where the request stands `alone`, what comes before the question was said before it.
    """
    if isinstance(given, str):
        return True
    questions = {item.approval_request_id for item in answers}
    asked = (place for place, item in enumerate(given) if _names_one_of(item, questions))
    begin = next(asked, 0) if alone else 0
    return any(not isinstance(item, _TELLS_NOBODY) for item in given[begin:])


async def require_ended(run: Run, answers: dict[str, McpApprovalItem], context: Context) -> None:
    """Raise `InvalidArgument` if one of these calls waits, or runs: only what follows them can be the response."""
    if run.state.ended:
        return
    ended = {record.call.id for record in await context.calls(run.id) if record.state is CallState.FINISHED}
    if not answers.keys() <= ended:
        raise InvalidArgument("Approvals come alone; say the rest with the next request.", field="input")


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
    part = await located(part, run, context) or part
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


def _is_of_model(item: items.InputItem) -> bool:
    return isinstance(item, _OF_MODELS) or (isinstance(item, items.MessageItem) and item.role == "assistant")


def _names_one_of(item: items.InputItem, questions: Collection[str]) -> bool:
    return isinstance(item, items.McpApprovalRequestItem) and getattr(item, "id", None) in questions


def _unknown(item: McpApprovalItem) -> InvalidArgument:
    return InvalidArgument(f"Nobody asked {item.approval_request_id[:64]}.", field="input", kind="approval_not_found")
