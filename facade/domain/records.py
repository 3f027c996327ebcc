"""What stands in threads and runs, and what is asked for there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from facade.domain.events import RunEvent
from facade.domain.parameters import TurnParameters
from threadmesh.conversation import Approval, CallFinished, Message, Text, ToolCall
from threadmesh.questions import Answer, InputRequired, unanswered

_AROUND = 16
"""Tokens that a template may put around a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewItem:
    """An entry for a thread: what was said, and whether its writer was stopped in the middle.

    Of a result, the `approval` is what a person was asked about the call.
    """

    message: Message
    incomplete: bool = False
    tokens: int = 0
    approval: Approval | None = None


class CallState(StrEnum):
    """How far a tool call is; INTENT is durable before anything is sent."""

    PLANNED = "planned"
    AWAITING_APPROVAL = "awaiting_approval"
    AWAITING_INPUT = "awaiting_input"
    INTENT = "intent"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What a tool's server has asked, and an answer to each of the questions."""

    required: InputRequired
    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecord:
    """What the journal knows of one tool call; `ordinal` numbers it within its run.

    Where a person was asked, the hash identifies the tool's definition, unless only the thread still tells of the call
    (`hash_is_forgotten`), and `approved` is the answer, with its reason.
    What a person found out about an unknown outcome is `settled`: `succeeded` or `failed`. What its server has asked
    persons last is `asked`, and `answers` are what they said.
    """

    call: ToolCall
    ordinal: int
    state: CallState
    finished: CallFinished | None = None
    definition_hash: str = ""
    approved: bool | None = None
    reason: str = ""
    settled: str = ""
    asked: InputRequired | None = None
    answers: tuple[Answer, ...] = ()
    hash_is_forgotten: bool = False

    @property
    def approval(self) -> Approval | None:
        """What a person was asked about it; None if nobody was."""
        if not self.definition_hash and not self.hash_is_forgotten:
            return None
        return Approval(approved=self.approved, reason=self.reason)

    @property
    def answered(self) -> Answered | None:
        """What a call that has not ended goes on with; where nobody has answered in time, that."""
        if self.asked is None or self.state not in {CallState.AWAITING_INPUT, CallState.INTENT}:
            return None
        answers = self.answers or unanswered(self.asked.open)
        return Answered(required=self.asked, answers=(*self.asked.given, *answers))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A person's word about a call: `approved` or `denied`, or `succeeded` or `failed` where that was unknown.

    `output` is what a model reads of a call that has ended; the hashes identify the tool's definition and the arguments
    as the person saw them, and `request_id` tells the same word, said again, from another one.
    """

    resolution: str
    reason: str = ""
    output: str = ""
    definition_hash: str = ""
    arguments_hash: str = ""
    request_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A write to a run, durable as a whole or not at all; `first_sequence` must be the log's next number.

    A `patient` one may be kept back for a few milliseconds, so that it shares the way with those of other runs.
    """

    run_id: str
    epoch: int
    first_sequence: int
    events: Sequence[RunEvent] = ()
    items: Sequence[NewItem] = ()
    calls: Sequence[CallRecord] = ()
    patient: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The part of a thread that a model can read; `omitted_items` were left out of it.

    `least_tokens` are those of what is in every window, however small its budget. The `summary` of that number stands
    for what was left out, if one does; it `retells_others` if tools or other systems said some of that.
    """

    messages: Sequence[Message]
    tokens: int
    omitted_items: int
    least_tokens: int = 0
    summary: int | None = None
    retells_others: bool = False

    def extended(self, items: Sequence[NewItem], *, budget: int) -> "Window | None":
        """Give the window with what its run has said since; None where that may be another one than the thread's.

        It is the same where everything fits, however many tokens a byte of text may have: then nothing is chosen.
        """
        said = [item.message for item in items]
        tokens = self.tokens + sum(item.tokens or _most_tokens(item.message) for item in items)
        if self.omitted_items or self.summary is not None or tokens > budget or not all(map(_is_text, said)):
            return None
        return replace(self, messages=(*self.messages, *said), tokens=tokens)


def _most_tokens(message: Message) -> int:
    calls = sum(len(call.name.encode()) + len(call.arguments_json.encode()) for call in message.tool_calls)
    return _AROUND + len(message.text.encode()) + calls


def _is_text(message: Message) -> bool:
    return all(isinstance(part, Text) for part in message.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """A request about to be answered; with neither thread id nor key it gets a thread of its own.

    `input_tokens` are those of the messages, as far as they are known. Without an idempotency key, a `repetition` finds
    the latest run that was made with the same `attempt_key`. A run `instead_of` one that has ended is made though the
    key finds that one, and is what it finds from then on. A window of `window_tokens` is read together with the run,
    unless they are 0. A thread that is made is described by `metadata`. Its `tenant` alone sees the run and its thread,
    and has keys of his own. In a thread that stays, it is refused if that tenant has stored `stored_limit` bytes; 0 is
    no limit. With a `number`, it is refused if another run has that in the thread by now.
    """

    input: Sequence[Message]
    input_tokens: Sequence[int] = ()
    parameters: TurnParameters
    thread_id: str = ""
    thread_key: str = ""
    idempotency_key: str = ""
    fingerprint: str = ""
    multitask: str = "enqueue"
    timeout_seconds: float
    attempt_key: str = ""
    repetition: bool = False
    instead_of: str = ""
    window_tokens: int = 0
    metadata: Mapping[str, str] = field(default_factory=dict)
    tenant: str = ""
    stored_limit: int = 0
    number: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """An entry of a thread, numbered within it, and the run that wrote it; empty if none did.

    An `incomplete` one was broken off; a `summary` stands for older ones, those it `covers`, first and last.
    Of a result, the `approval` is what a person was asked about the call. What is a run's input has a `place` in that,
    which is known before the run has its turn and the input is in the thread; until then it numbers the entry as well.
    """

    id: str
    sequence: int
    run_id: str
    message: Message
    place: int | None = None
    incomplete: bool = False
    summary: bool = False
    covers: tuple[int, int] | None = None
    approval: Approval | None = None
