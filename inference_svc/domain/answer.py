"""The reading of an answer, token by token: from drawn tokens to the events that are sent."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Protocol

from inference_svc.domain.events import Delta
from inference_svc.domain.stop import StopScanner, Utf8
from threadmesh.conversation import FinishReason, ReasoningDelta, TextDelta, TokenLogprob, ToolCallDelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A drawn token: its id, its bytes (empty for control tokens), and how likely it was if somebody asked."""

    id: int
    piece: bytes
    logprob: TokenLogprob | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """Text for the reader."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Thought:
    """Thinking before the answer."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """A piece of the `index`-th tool call; `id` and `name` come with the first piece only."""

    index: int
    id: str = ""
    name: str = ""
    arguments_json: str = ""


Piece = Said | Thought | Called


class Parser(Protocol):
    """Tells thinking and tool calls from text in one answer.

    `feed` and `finish` give the pieces in order; text that may turn out to be a marker is held back.
    """

    @property
    def called(self) -> bool:
        """Whether a tool was called."""
        ...

    @property
    def complete(self) -> bool:
        """Whether the answer is over although the model might go on."""
        ...

    @property
    def thinking(self) -> bool:
        """Whether the model is thinking still."""
        ...

    @property
    def held(self) -> str:
        """What is held back and may be text."""
        ...

    def feed(self, text: str) -> Sequence[Piece]:
        """Read more of the answer."""
        ...

    def finish(self) -> Sequence[Piece]:
        """Read the end of the answer."""
        ...


class PlainParser:
    """Takes everything for text."""

    called = complete = thinking = False
    held = ""

    def feed(self, text: str) -> Sequence[Piece]:
        """Give the text as it is."""
        return (Said(text=text),) if text else ()

    def finish(self) -> Sequence[Piece]:
        """Give nothing: nothing was held back."""
        return ()


_Weighed = tuple[int, TokenLogprob]
"""A token's length in bytes and its probability."""


class Answer:
    """Turns the tokens of one generation into deltas, and knows when the answer is over.

    Every token is reported in exactly one delta, at once and in order, so that `token_index` has no gaps; its text may
    come later, and its probability comes with its text. A delta without tokens carries the index of the next token.
    Stop strings are looked for in the thinking and in the text, not in tool calls.
    """

    def __init__(self, *, stop: Sequence[str] = (), parser: Parser | None = None, silent: int = 0) -> None:
        """Begin an answer whose first `silent` tokens are read without a delta, because they were sent before."""
        self._utf8 = Utf8()
        self._stop, self._thinking_stop = StopScanner(stop), StopScanner(stop)
        self._parser = parser or PlainParser()
        self._silent = silent
        self._waiting: list[_Weighed] = []
        self.tokens = self.reasoning_tokens = 0

    @property
    def over(self) -> bool:
        """Whether a stop string was met or the last allowed tool call is complete."""
        return self._stopped or self._parser.complete

    @property
    def _stopped(self) -> bool:
        return self._stop.stopped or self._thinking_stop.stopped

    def read(self, token: Token) -> list[Delta]:
        """Give the deltas of one more token: at least one, unless it was sent before."""
        thought = self._parser.thinking
        deltas = self._deltas(self._parser.feed(self._utf8.feed(token.piece)))
        thought = thought or self._parser.thinking
        self.reasoning_tokens += thought
        self.tokens += 1
        if self.tokens <= self._silent:
            return []
        if not deltas:
            deltas = [ReasoningDelta(text="") if thought else TextDelta(text="")]
        if token.logprob is not None:
            deltas = self._with_logprobs(deltas, (len(token.piece), token.logprob))
        first = _begun(deltas[0], token.id, self.tokens - 1)
        return [first, *(replace(delta, token_index=self.tokens) for delta in deltas[1:])] if deltas[1:] else [first]

    def finish(self) -> list[Delta]:
        """Give what was held back, once no more tokens come."""
        deltas: list[Delta] = []
        if not self.over:
            if rest := self._utf8.finish():
                deltas += self._deltas(self._parser.feed(rest))
            deltas += self._deltas(self._parser.finish())
            deltas += self._released()
        if self._waiting:
            deltas = self._with_logprobs(deltas)
        return [replace(delta, token_index=self.tokens) for delta in deltas]

    def reason(self, stopped: FinishReason) -> FinishReason:
        """Say why the answer ended, given why the tokens did."""
        called = self._parser.called and (self.over or stopped is FinishReason.STOP)
        return FinishReason.TOOL_CALLS if called else FinishReason.STOP if self.over else stopped

    def _deltas(self, pieces: Sequence[Piece]) -> list[Delta]:
        deltas: list[Delta] = []
        for piece in pieces:
            if self._stopped:
                break
            if self._thinking_stop.held or self._stop.held:
                deltas += self._released(piece)
            if (delta := self._delta(piece)) is not None:
                deltas.append(delta)
        return deltas

    def _delta(self, piece: Piece) -> Delta | None:
        match piece:
            case Said(text=text):
                shown = self._stop.feed(text)
                return TextDelta(text=shown) if shown else None
            case Thought(text=text):
                shown = self._thinking_stop.feed(text)
                return ReasoningDelta(text=shown) if shown else None
            case Called(index=index, id=call_id, name=name, arguments_json=arguments):
                return ToolCallDelta(index=index, id=call_id, name=name, arguments_json=arguments)

    def _released(self, before: Piece | None = None) -> list[Delta]:
        """Give what was held back for a stop string: none reaches from thinking into text, nor over a call."""
        thought = "" if isinstance(before, Thought) else self._thinking_stop.finish()
        said = "" if isinstance(before, Said) else self._stop.finish()
        return [*([ReasoningDelta(text=thought)] if thought else []), *([TextDelta(text=said)] if said else [])]

    def _with_logprobs(self, deltas: list[Delta], *drawn: _Weighed) -> list[Delta]:
        """Give probabilities to the text that their tokens have become; those of other tokens are dropped."""
        ready = self._ready(*drawn)
        told: list[Delta] = []
        for delta in deltas:
            if not isinstance(delta, TextDelta):
                ready = [each for each in ready if each in drawn]
            elif delta.text:
                taken = _covering(ready, len(delta.text.encode()))
                told.append(replace(delta, logprobs=tuple(logprob for _, logprob in ready[:taken])))
                ready = ready[taken:]
                continue
            told.append(delta)
        return told

    def _ready(self, *drawn: _Weighed) -> list[_Weighed]:
        """Give the tokens that have been decided upon; those wait whose text is held back from its beginning on."""
        tokens = [*self._waiting, *drawn]
        room = 0 if self.over else self._utf8.held + len((self._stop.held + self._parser.held).encode())
        sizes = accumulate(size for size, _ in reversed(tokens))
        decided = len(tokens) - sum(size <= room for size in sizes)
        self._waiting = tokens[decided:]
        return tokens[:decided]


def _begun(delta: Delta, token: int, index: int) -> Delta:
    """Let a delta report a token. Most tokens are text, for which `replace` would take twice as long."""
    if isinstance(delta, TextDelta):
        return TextDelta(text=delta.text, token_ids=(token,), token_index=index, logprobs=delta.logprobs)
    return replace(delta, token_ids=(token,), token_index=index)


def _covering(tokens: Sequence[_Weighed], size: int) -> int:
    """Count the first tokens that begin within `size` bytes."""
    begins = accumulate((length for length, _ in tokens[:-1]), initial=0)
    return sum(begin < size for begin in begins) if tokens else 0
