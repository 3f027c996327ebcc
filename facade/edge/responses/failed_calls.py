"""Calls of earlier answers that clients tell of: how models read that one has failed, and how that is told again."""

from typing import Any

from threadmesh.conversation import CallFinished, CallOutcome, Message, Text

_FAILED = "The call failed."


def result_text(output: str | None, error: Any) -> str:
    """Give what a model reads of a call's output, or of its error."""
    return output if output is not None else f"{_FAILED} {_words(error)}".strip()


def finished_of(result: Message) -> CallFinished:
    """Give how a call ended whose result a model reads."""
    text = "\n".join(part.text for part in result.parts if isinstance(part, Text))
    if text.startswith(_FAILED):
        why = (Text(text=text.removeprefix(_FAILED).strip()),)
        return CallFinished(outcome=CallOutcome.FAILED, parts=why)
    return CallFinished(outcome=CallOutcome.SUCCEEDED, parts=(Text(text=text),))


def _words(error: Any) -> str:
    """Give what an error says: one of ours holds texts, one of another client may be a text."""
    if isinstance(error, dict) and isinstance(error.get("content"), list):
        return "\n".join(str(part.get("text", "")) for part in error["content"] if isinstance(part, dict))
    return "" if error is None else str(error)
