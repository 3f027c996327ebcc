"""Calls of which only the thread tells, since their run's are forgotten, or a client has told of them."""

from typing import Any

from facade.domain.result_text import read_result, result_text
from facade.edge.responses.names import split_tool
from threadmesh.conversation import CallFinished, CallOutcome, Message, Text


def told_result(output: str | None, error: Any) -> str:
    """Give what a model reads of a call that a client tells of: its output, or its error."""
    if output is not None:
        return output
    return result_text(CallFinished(outcome=CallOutcome.FAILED), _words(error))


def is_of_mesh(result: Message) -> bool:
    """Say whether a tool of the mesh gave this result.

    It has the tool's name then. Results of a client's own functions have none, whatever the functions are called.
    """
    return bool(split_tool(result.name)[1])


def finished_of(result: Message) -> CallFinished:
    """Give how a call ended whose result a model reads."""
    outcome, text = read_result("\n".join(part.text for part in result.parts if isinstance(part, Text)))
    return CallFinished(outcome=outcome, parts=(Text(text=text),))


def _words(error: Any) -> str:
    """Give what an error says: one of ours holds texts, one of another client may be a text."""
    if isinstance(error, dict) and isinstance(error.get("content"), list):
        return "\n".join(str(part.get("text", "")) for part in error["content"] if isinstance(part, dict))
    return "" if error is None else str(error)
