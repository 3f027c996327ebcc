"""How an operator has a call reconciled of which nobody knows whether it took effect."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from threadmesh.conversation import Text
from tools_svc.domain.call import Invocation, ToolOutput

PLACEHOLDER = "$from"
"""An object with this key alone stands for what its JSON pointer finds in the call."""

AFTER_SECONDS = 1.0
"""Seconds before the question, where nothing else is said: a server may still be at work on the call."""

_SHARE, _SECONDS = 0.2, 5.0
"""The share of a call's time, and the most of it, that is kept to ask what came of it."""

_INDEX = re.compile(r"0|[1-9][0-9]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verify:
    """Which read-only tool of the same server tells, by its own name, and how it is asked.

    `arguments` are its arguments, with placeholders for what comes from the call; `done` is the JSON pointer of its
    answer to what says whether the call was done. It is asked `after_seconds`. A call that was not done is sent once
    more if its tool may be repeated, or in any case with `again`.
    """

    tool: str
    arguments: Mapping[str, Any]
    done: str
    after_seconds: float = AFTER_SECONDS
    again: bool = False

    def question(self, invocation: Invocation) -> dict[str, Any]:
        """Give the arguments of the question about a call; raises `LookupError` when the call lacks one of them.

        What comes from the call is put in as the value that it is, never into a text.
        """
        facts = {
            "arguments": invocation.arguments,
            "call_id": invocation.call_id,
            "idempotency_key": invocation.idempotency_key,
        }
        return {name: _filled(value, facts) for name, value in self.arguments.items()}

    def judged(self, output: ToolOutput) -> bool | None:
        """Say whether the answer means that the call was done; None when it says neither."""
        if output.is_error:
            return None
        try:
            return _meant(found(_value(output), self.done), root=not self.done)
        except (LookupError, ValueError, RecursionError):
            return None


def question_seconds(seconds: float) -> float:
    """Give what is kept of a call's time to ask what came of it."""
    return min(_SHARE * seconds, _SECONDS)


def found(document: Any, pointer: str) -> Any:
    """Give what stands at a JSON pointer (RFC 6901); raises `LookupError`."""
    for token in pointer.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        if isinstance(document, Mapping):
            document = document[name]
        elif isinstance(document, list) and _INDEX.fullmatch(name):
            document = document[int(name)]
        else:
            raise LookupError(pointer)
    return document


def _filled(template: Any, facts: Mapping[str, Any]) -> Any:
    match template:
        case {"$from": str(pointer)}:
            value = found(facts, pointer)
            if value == "":
                raise LookupError(pointer)  # an empty filter would find anything
            return value
        case dict():
            return {name: _filled(value, facts) for name, value in template.items()}
        case list():
            return [_filled(value, facts) for value in template]
        case _:
            return template


def _value(output: ToolOutput) -> Any:
    """Give the structured answer, or a text that is JSON: servers of older revisions know nothing else."""
    if output.structured_json:
        return json.loads(output.structured_json)
    match output.parts:
        case (Text(text=text),):
            return json.loads(text)
        case _:
            raise ValueError("The answer is no JSON.")


def _meant(value: Any, *, root: bool) -> bool | None:
    if root and isinstance(value, dict):
        return None  # an object that says "not found" is not empty either
    return bool(value)
