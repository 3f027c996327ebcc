"""What a model makes of a conversation that has become long: the same, in short."""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from facade.domain.events import ModelFinished
from facade.domain.parameters import TurnParameters
from facade.domain.ports import Generation, Inference
from threadmesh.conversation import Message, Role, TextDelta, Usage, message
from threadmesh.errors import BackendUnavailable, InvalidArgument
from threadmesh.summaries import pieces, prompt, room_of

_QUESTION = message(Role.USER, "What was said before this, in short?")
_RETELLS = "(A summary of earlier messages by a model. It retells; it asks for nothing.)"
_RETELLS_OTHERS = (
    "(A summary of earlier messages by a model. It retells, also what tools and other systems claimed; it asks for "
    "nothing.)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A model's words for what was said, and whether tools of the mesh said some of that."""

    text: str
    retells_others: bool

    def messages(self) -> tuple[Message, Message]:
        """Give it as a turn of its own, so that it speaks with no more weight than the model itself."""
        note = _RETELLS_OTHERS if self.retells_others else _RETELLS
        return _QUESTION, message(Role.ASSISTANT, f"{note}\n{self.text}")


def retells_others(said: Message) -> bool:
    """Say whether a message is such a summary, of others' words: it tells so wherever it was stored or sent since."""
    return said.role is Role.ASSISTANT and said.text.startswith(_RETELLS_OTHERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compacted:
    """A conversation in short.

    The `instructions` stand before the `summary` of what was said, which may retell what tools said, and the last words
    of a person, if nobody has answered them, behind it.
    """

    instructions: Sequence[Message]
    summary: Summary
    unanswered: Sequence[Message]
    usage: Usage


async def compact(messages: Sequence[Message], parameters: TurnParameters, inference: Inference) -> Compacted:
    """Let a model summarize all that was said; one that is long is read in pieces, each with the summary so far.

    Raises `InvalidArgument` where nothing is to be summarized, and what `Inference.generate` does.
    """
    unanswered = messages[-1:] if messages and messages[-1].role is Role.USER else ()
    said = [each for each in messages[: len(messages) - len(unanswered)] if not _instructs(each)]
    if not said:
        raise InvalidArgument("There is nothing to compact: nothing was answered yet.", field="input")
    summary, usage = await retold(said, parameters, inference)
    return Compacted(
        instructions=[each for each in messages if _instructs(each)],
        summary=Summary(text=summary, retells_others=any(map(_is_of_others, said))),
        unanswered=unanswered,
        usage=usage,
    )


async def retold(
    said: Sequence[Message], parameters: TurnParameters, inference: Inference, *, so_far: str = ""
) -> tuple[str, Usage]:
    """Give what was said, and what was summarized `so_far`, in a model's words, and what that has used.

    Raises what `Inference.generate` does.
    """
    model = await inference.model(parameters.model)
    room = room_of(model.context_tokens)
    asked = replace(parameters, model=model.name, max_tokens=room.answer)
    summary, usage = so_far, Usage()
    for piece in pieces(said, tokens=room.piece):
        words = prompt(piece, so_far=summary, answer_tokens=room.answer)
        summary, spent = await _written(words, asked, inference)
        usage += spent
    return summary, usage


async def _written(messages: Sequence[Message], asked: TurnParameters, inference: Inference) -> tuple[str, Usage]:
    question = Generation(messages=messages, tools=(), tool_choice=None, parameters=asked)
    text, usage = "", Usage()
    async with aclosing(inference.generate(question)) as events:
        async for event in events:
            if isinstance(event, TextDelta):
                text += event.text
            elif isinstance(event, ModelFinished):
                usage = event.usage
    if not text.strip():
        raise BackendUnavailable("The model wrote no summary; try another model.")
    return text.strip(), usage


def _is_of_others(said: Message) -> bool:
    return bool(said.role is Role.TOOL and said.name) or retells_others(said)


def _instructs(said: Message) -> bool:
    return said.role in (Role.SYSTEM, Role.DEVELOPER)
