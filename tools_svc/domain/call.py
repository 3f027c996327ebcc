"""One call of a tool: what is asked, what the tool's server is sent, and what comes back."""

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from threadmesh.conversation import CallFinished, CallProgress, CallStarted, Part, ToolCall
from threadmesh.questions import Answer, InputRequired, Question

CallEvent = CallStarted | CallProgress | CallFinished | InputRequired


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuation:
    """The answers to a round of questions, and what their server wants to see again; see `InputRequired`."""

    round: int
    answers: tuple[Answer, ...]
    request_state: str = ""
    held: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Calls to run on behalf of one run; an empty `run_id` is a person's own.

    `timeout_seconds` shortens what each call may take. Calls that are `resumed` may have been sent before. `approvals`
    are the hashes of definitions that persons have approved, by the calls' ids. With `answers_questions` somebody has
    the questions of servers answered; `continuations` are the answers, by the calls' ids. With a `trusted_context`, the
    model that asks for the calls had read no untrusted results. The `traceparent` is the trace that they are part of,
    which ends at the servers of tools and where a call becomes a task.
    """

    calls: tuple[ToolCall, ...]
    run_id: str = ""
    thread_id: str = ""
    request_id: str = ""
    traceparent: str = ""
    epoch: int = 0
    timeout_seconds: float | None = None
    resumed: bool = False
    approvals: Mapping[str, str] = field(default_factory=dict)
    answers_questions: bool = False
    continuations: Mapping[str, Continuation] = field(default_factory=dict)
    trusted_context: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """What a source is asked to do: its own name of the tool, the checked arguments, and whose call it is.

    The call was planned for the definition of `definition_hash`, and is not sent to another; empty is any.
    `timeout_seconds` tells the source when nobody waits any longer. A `durable` call outlives who makes it: its source
    may hand it to its server for good, and is asked by the `handle` that this gave what came of it, without sending it
    again. `given_up` says, when the call is closed, that nobody will ask any more.

    The server of a call that `may_ask` can have questions answered. One that has asked so, and whose answer was
    `Asked`, is made again with the `answers` and the `request_state` that came with the questions.
    """

    tool: str
    arguments: dict[str, Any]
    timeout_seconds: float
    call_id: str
    definition_hash: str = ""
    run_id: str = ""
    thread_id: str = ""
    request_id: str = ""
    traceparent: str = ""
    idempotency_key: str = ""
    durable: bool = False
    handle: str = ""
    may_ask: bool = False
    answers: tuple[Answer, ...] = ()
    request_state: str = ""
    given_up: Callable[[], bool] = field(default=lambda: True, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The call waits for its turn: nothing of it goes out before `Sent`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """From here on the call may have taken effect.

    `by` names the server, where it is not the source itself; `instead` is what that server was asked, where that is
    another call.
    """

    by: str = ""
    instead: Invocation | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The server keeps the call under this handle: its result can be asked for, also over another connection."""

    handle: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolOutput:
    """A tool's answer: what the model reads, and the structured result as JSON text, empty when there is none."""

    parts: tuple[Part, ...] = ()
    structured_json: str = ""
    is_error: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The server wants questions answered before it goes on.

    It waits for them with the call under way, and `reply` takes the answers; or, without `reply`, this is all that it
    says, and the call is made again with the answers and this `request_state`.
    """

    questions: tuple[Question, ...]
    request_state: str = ""
    reply: Callable[[Sequence[Answer]], None] | None = field(default=None, compare=False, repr=False)


Update = Waiting | Sent | Accepted | CallProgress | Asked | ToolOutput


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEvent:
    """An event of a run's calls; `sequence` numbers them from 1, superseded progress leaves gaps."""

    sequence: int
    call_id: str
    event: CallEvent


def idempotency_key(run_id: str, call_id: str) -> str:
    """Give the key by which a server may recognise a repeated call; empty for a call outside of runs."""
    if not run_id:
        return ""
    digest = hashlib.sha256(f"{len(run_id)}:{run_id}{call_id}".encode()).digest()
    return base64.b32encode(digest).decode().rstrip("=").lower()
