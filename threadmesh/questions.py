"""What a tool's server asks while a call is under way, and what it is answered."""

from dataclasses import dataclass
from enum import StrEnum

from threadmesh.conversation import Message

MOST_ROUNDS = 10
"""How often the server of one call may ask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A form that a person fills in: what the server says of it, and its JSON Schema."""

    message: str
    schema_json: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingRequest:
    """A conversation of which a model says the next message, in at most `max_tokens`."""

    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question; its id tells it from those that come together with it."""

    id: str
    asked: Form | SamplingRequest


class AnswerAction(StrEnum):
    """What was made of a question: CANCEL says that nobody has answered it."""

    ACCEPT = "accept"
    DECLINE = "decline"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer to a question: a form's content as a JSON object, or what a `model` said, which may be `truncated`."""

    question_id: str
    action: AnswerAction
    content_json: str = ""
    text: str = ""
    model: str = ""
    truncated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRequired:
    """A call of the tool `name` cannot go on before the `server`'s questions are answered.

    `round` counts how often the call has asked, from 1. The server sees `request_state` again, whatever it means. A
    call that is `held` is under way meanwhile, in the process that made it; any process can go on with another one.
    `given` are the answers that are there already.
    """

    name: str
    server: str
    questions: tuple[Question, ...]
    round: int
    request_state: str = ""
    held: bool = False
    given: tuple[Answer, ...] = ()

    @property
    def open(self) -> tuple[Question, ...]:
        """The questions without an answer."""
        answered = {answer.question_id for answer in self.given}
        return tuple(question for question in self.questions if question.id not in answered)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallAwaitingInput:
    """A call of the tool `name` waits for a person to answer its server, for so many `seconds`, in this `round`."""

    name: str
    server: str
    questions: tuple[Question, ...]
    seconds: float
    round: int


def unanswered(questions: tuple[Question, ...]) -> tuple[Answer, ...]:
    """Give the answers of somebody who was not there."""
    return tuple(Answer(question_id=question.id, action=AnswerAction.CANCEL) for question in questions)
