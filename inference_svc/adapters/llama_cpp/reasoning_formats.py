"""How the families of models write their thinking, and the reading of what they write."""

from collections.abc import Sequence
from dataclasses import dataclass

from inference_svc.adapters.llama_cpp.template import Segment
from inference_svc.adapters.llama_cpp.tool_prompt import MediaPiece
from inference_svc.domain.answer import Parser, Piece, PlainParser, Thought
from inference_svc.domain.stop import longest_beginning


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningFormat:
    """One family's way to think: between the markers `begin` and `end`, before it answers."""

    begin: str
    end: str


THINK = ReasoningFormat(begin="<think>", end="</think>")
MISTRAL = ReasoningFormat(begin="[THINK]", end="[/THINK]")
_FORMATS = (THINK, MISTRAL)


def reasoning_format_of(template: str) -> ReasoningFormat | None:
    """Tell by its chat template how a model thinks; None for those that do not.

    Some templates name only the end, to cut the thinking of earlier answers out or to skip that of the next one.
    """
    return next((each for each in _FORMATS if each.begin in template or each.end in template), None)


def begins_thinking(prompt: Sequence[Segment | MediaPiece], form: ReasoningFormat) -> bool:
    """Whether the template ends the prompt with the beginning of the thinking, as DeepSeek-R1's does."""
    last = prompt[-1] if prompt else None
    return isinstance(last, Segment) and last.template and last.text.rstrip().endswith(form.begin)


class ReasoningParser:
    """Tells the thinking from the answer behind it, which another parser reads; see `domain.answer.Parser`.

    Thinking comes first or not at all. The space around it belongs to neither.
    """

    def __init__(self, form: ReasoningFormat, *, thinking: bool, answer: Parser | None = None) -> None:
        """Begin inside the thinking, or where it may begin."""
        self._form, self._answer = form, answer or PlainParser()
        self._text = ""
        self._begun, self._bare = thinking, True
        self._over = False

    @property
    def called(self) -> bool:
        """Whether a tool was called."""
        return self._answer.called

    @property
    def complete(self) -> bool:
        """Whether the answer is over although the model might go on."""
        return self._answer.complete

    @property
    def thinking(self) -> bool:
        """Whether the model is thinking still."""
        return self._begun and not self._over

    @property
    def held(self) -> str:
        """What is held back and may be text."""
        return self._answer.held if self._over else "" if self._begun else self._text

    def feed(self, text: str) -> Sequence[Piece]:
        """Give the pieces that are certain now."""
        if self._over and not self._bare:
            return self._answer.feed(text)
        self._text += text
        if not self._begun and not self._over:
            self._begin()
        thoughts = self._think() if self.thinking else []
        return [*thoughts, *self._read_answer()] if self._over else thoughts

    def finish(self) -> Sequence[Piece]:
        """Give what was held back."""
        rest, self._text = self._text, ""
        if self.thinking:
            return self._thoughts(rest.rstrip())
        return [*self._answer.feed(rest), *self._answer.finish()]

    def _begin(self) -> None:
        """Find out whether the answer begins with thinking."""
        bare = self._text.lstrip()
        if bare.startswith(self._form.begin):
            self._begun, self._text = True, bare.removeprefix(self._form.begin)
        elif not self._form.begin.startswith(bare):
            self._over, self._bare = True, False

    def _think(self) -> list[Piece]:
        """Pass thinking on up to its end; space may turn out to be its last."""
        thought, marker, after = self._text.partition(self._form.end)
        if marker:
            thoughts = self._thoughts(thought.rstrip())
            self._over, self._bare, self._text = True, True, after
            return thoughts
        sure = self._text[: len(self._text) - longest_beginning(self._text, (self._form.end,))].rstrip()
        self._text = self._text[len(sure) :]
        return self._thoughts(sure)

    def _thoughts(self, text: str) -> list[Piece]:
        text = text.lstrip() if self._bare else text
        if not text:
            return []
        self._bare = False
        return [Thought(text=text)]

    def _read_answer(self) -> Sequence[Piece]:
        """Pass on what follows the thinking, without the space before it."""
        text = self._text.lstrip() if self._bare else self._text
        self._text = ""
        if not text:
            return ()
        self._bare = False
        return self._answer.feed(text)
