"""The reading of an answer, token by token: from drawn tokens to the events that are sent."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from inference_svc.domain.events import Delta
from inference_svc.domain.stop import StopScanner, Utf8
from threadmesh.conversation import FinishReason, TextDelta, TokenLogprob, ToolCallDelta


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
class Called:
    """A piece of the `index`-th tool call; `id` and `name` come with the first piece only."""

    index: int
    id: str = ""
    name: str = ""
    arguments_json: str = ""


Piece = Said | Called


class Parser(Protocol):
    """Tells tool calls from text in one answer.

    `feed` and `finish` give the pieces in order; text that may turn out to be a call's marker is held back.
    """

    called: bool
    """Whether a tool was called."""
    complete: bool
    """Whether the answer is over although the model might go on."""

    def feed(self, text: str) -> Sequence[Piece]:
        """Read more of the answer."""
        ...

    def finish(self) -> Sequence[Piece]:
        """Read the end of the answer."""
        ...


class PlainParser:
    """Takes everything for text."""

    called = False
    complete = False

    def feed(self, text: str) -> Sequence[Piece]:
        """Give the text as it is."""
        return (Said(text=text),) if text else ()

    def finish(self) -> Sequence[Piece]:
        """Give nothing: nothing was held back."""
        return ()


class Answer:
    """Turns the tokens of one generation into deltas, and knows when the answer is over.

    Every token is reported in exactly one delta, at once and in order, so that `token_index` has no gaps; its text may
    come later. A delta without tokens carries the index of the next token.
    """

    def __init__(self, *, stop: Sequence[str] = (), parser: Parser | None = None) -> None:
        self._utf8 = Utf8()
        self._stop = StopScanner(stop)
        self._parser = parser or PlainParser()
        self.tokens = 0

    @property
    def over(self) -> bool:
        """Whether a stop string was met or the last allowed tool call is complete."""
        return self._stop.stopped or self._parser.complete

    def read(self, token: Token) -> list[Delta]:
        """Give the deltas of one more token, at least one."""
        deltas = self._deltas(self._parser.feed(self._utf8.feed(token.piece)))
        first = deltas[0] if deltas else TextDelta(text="")
        rest = [replace(delta, token_index=self.tokens + 1) for delta in deltas[1:]]
        begin = replace(first, token_ids=(token.id,), token_index=self.tokens)
        if token.logprob is not None and isinstance(begin, TextDelta):
            begin = replace(begin, logprobs=(token.logprob,))
        self.tokens += 1
        return [begin, *rest]

    def finish(self) -> list[Delta]:
        """Give what was held back, once no more tokens come."""
        deltas: list[Delta] = []
        if not self.over:
            if rest := self._utf8.finish():
                deltas += self._deltas(self._parser.feed(rest))
            deltas += self._deltas(self._parser.finish())
            deltas += [TextDelta(text=text)] if (text := self._stop.finish()) else []
        return [replace(delta, token_index=self.tokens) for delta in deltas]

    def reason(self, stopped: FinishReason) -> FinishReason:
        """Say why the answer ended, given why the tokens did."""
        called = self._parser.called and (self.over or stopped is FinishReason.STOP)
        return FinishReason.TOOL_CALLS if called else FinishReason.STOP if self.over else stopped

    def _deltas(self, pieces: Sequence[Piece]) -> list[Delta]:
        return [delta for piece in pieces if (delta := self._delta(piece)) is not None]

    def _delta(self, piece: Piece) -> Delta | None:
        match piece:
            case Said(text=text):
                shown = self._stop.feed(text)
                return TextDelta(text=shown) if shown else None
            case Called(index=index, id=call_id, name=name, arguments_json=arguments):
                return ToolCallDelta(index=index, id=call_id, name=name, arguments_json=arguments)
