"""The calls that the mesh has run as items, from what is kept of them."""

from collections.abc import Iterator, Sequence
from typing import Any

from facade.domain.records import CallRecord, CallState
from facade.edge.responses.names import approval_id, item_id
from facade.edge.responses.parts import Item, McpApprovalRequest, McpCall

_MADE = (CallState.INTENT, CallState.FINISHED)


def call_items(entry: str, records: Sequence[CallRecord]) -> Iterator[dict[str, Any]]:
    """Give the calls of the entry of a name as a response shows them: the questions about them, the answers, the calls.

    Calls that wait for an answer are not made yet.
    """
    asked = [record for record in records if record.approval is not None]
    questions = {record.call.id: approval_id(entry, record.call.id) for record in asked}
    for record in asked:
        question = McpApprovalRequest(0, questions[record.call.id], record.call.name, record.call.arguments_json)
        yield _told(question)
    for record in asked:
        if record.approved is not None:
            yield answer_item(questions[record.call.id], record)
    for record in records:
        if record.state in _MADE:
            yield _call(item_id("mcp", entry, record.call.id), questions.get(record.call.id), record)


def answer_item(question: str, record: CallRecord) -> dict[str, Any]:
    """Give a person's answer to the question of an id about a call."""
    told = {"approval_request_id": question, "approve": record.approved, "reason": record.reason or None}
    return {"id": f"mcpa{question.removeprefix('mcpr')}", "type": "mcp_approval_response", **told}


def _call(name: str, question: str | None, record: CallRecord) -> dict[str, Any]:
    call = McpCall(0, name, record.call.name, record.call.arguments_json, approval=question)
    body = _told(call)
    if record.finished is not None:
        for _ in call.finish(record.finished):
            pass
    return body


def _told(item: Item) -> dict[str, Any]:
    """Give the body of an item that has told of itself."""
    for _ in item.begin():
        pass
    return item.body
