"""What a scripted answer is made of: tokens, their pieces and the time between them."""

import json
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from inference_svc.adapters.script import ScriptedCall, Step
from inference_svc.domain.answer import Called, Piece, Said, Thought, Token
from inference_svc.domain.prompt import Conversation
from threadmesh.conversation import TokenLogprob
from threadmesh.errors import InvalidArgument

_WORDS = re.compile(r"\s*\S{1,8}|\s+")
_GROUP = re.compile(r"\\\\(\d)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One token to say after some seconds; without a piece, endless silence."""

    piece: Piece | None
    text: str = ""
    seconds: float = 0.0


def split(text: str) -> list[str]:
    """Give a text's tokens: words, cut after eight characters, with the space before them."""
    return _WORDS.findall(text)


def numbered(word: str) -> int:
    """Give the id of a token."""
    return zlib.crc32(word.encode()) & 0x7FFFFFFF


def token_of(word: str, *, logprobs: int | None) -> Token:
    """Give a token, certain to be drawn."""
    logprob = None if logprobs is None else TokenLogprob(token=word.encode(), logprob=0.0)
    return Token(id=numbered(word), piece=word.encode(), logprob=logprob)


class Vocabulary:
    """The words that were read: a number is made of its word, and only who has read it knows the word again."""

    def __init__(self) -> None:
        self._words: dict[int, str] = {}

    def tokens(self, read: Conversation | str) -> tuple[int, ...]:
        """Give the tokens of a conversation or a text."""
        words = split(read) if isinstance(read, str) else _words_of(read)
        self._words |= {numbered(word): word for word in words}
        return tuple(numbered(word) for word in words)

    def words(self, tokens: Sequence[int], *, field: str) -> list[str]:
        """Give the words of tokens. Raises `InvalidArgument` for those that were never read."""
        for place, token in enumerate(tokens):
            if token not in self._words:
                raise InvalidArgument("There is no such token.", field=f"{field}[{place}]")
        return [self._words[token] for token in tokens]


def _words_of(conversation: Conversation) -> list[str]:
    words = [f"{tool.name}{tool.description}{tool.parameters_json}" for tool in conversation.tools]
    for message in conversation.messages:
        words += [f"<{message.role}>", *split(message.text)]
        words += [f"{call.name}{call.arguments_json}" for call in message.tool_calls]
    return [*words, "<answer>"]


def expanded(step: Step, match: re.Match[str]) -> Step:
    r"""Give a step with `\1` and the like replaced by what the rule's expression found."""
    groups = (match.group(0), *(group or "" for group in match.groups()))

    def found(reference: re.Match[str]) -> str:
        number = int(reference[1])
        return json.dumps(groups[number])[1:-1] if number < len(groups) else ""

    return Step.model_validate_json(_GROUP.sub(found, step.model_dump_json()))


def moves(steps: Sequence[Step], *, turn: int) -> Iterator[Move]:
    """Give the tokens of an answer; `turn` tells its calls from those of other turns."""
    calls = 0
    for step in steps:
        seconds = step.delay_ms / 1000
        if step.stall:
            yield Move(piece=None)
        elif step.tool_call is not None:
            yield from _call(step.tool_call, index=calls, turn=turn, seconds=seconds)
            calls += 1
        else:
            thoughts = split(step.reasoning)
            yield from (Move(piece=Thought(text=word), text=word, seconds=seconds) for word in thoughts)
            yield from (Move(piece=Said(text=word), text=word, seconds=seconds) for word in split(step.text))


def _call(call: ScriptedCall, *, index: int, turn: int, seconds: float) -> Iterator[Move]:
    arguments = json.dumps(call.arguments)
    call_id = f"call_{turn}_{index}_{numbered(call.name + arguments):08x}"
    yield Move(piece=Called(index=index, id=call_id, name=call.name), text=call.name, seconds=seconds)
    for word in split(arguments):
        yield Move(piece=Called(index=index, arguments_json=word), text=word, seconds=seconds)
