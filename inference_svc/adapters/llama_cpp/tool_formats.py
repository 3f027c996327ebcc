"""How the families of models write tool calls, and the reading of what they write."""

import re
import secrets
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from inference_svc.adapters.llama_cpp.call_reader import CallReader
from inference_svc.domain.answer import Called, Piece, Said
from inference_svc.domain.stop import longest_beginning


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolFormat:
    """One family's way to write calls.

    A call is a JSON object after the marker `begin`, and `end` follows it; `arguments` is the key of its arguments.
    With `bare`, an answer that begins with an object is a call without a marker. Calls of a `listed` family stand in
    one JSON array, or as a name followed by its arguments.
    """

    name: str
    begin: str
    end: str
    arguments: str = "arguments"
    bare: bool = False
    listed: bool = False

    def new_id(self) -> str:
        """Make the id of a call; Mistral's templates insist on nine letters and digits."""
        if self.listed:
            return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(9))
        return f"call_{secrets.token_hex(12)}"


HERMES = ToolFormat(name="hermes", begin="<tool_call>", end="</tool_call>")
MISTRAL = ToolFormat(name="mistral", begin="[TOOL_CALLS]", end="", listed=True)
LLAMA3 = ToolFormat(name="llama3", begin="<|python_tag|>", end="", arguments="parameters", bare=True)


def format_of(template: str) -> ToolFormat:
    """Tell a model's family by its chat template; templates that know no tools are given Hermes' form."""
    if HERMES.begin in template:
        return HERMES
    if MISTRAL.begin in template:
        return MISTRAL
    if LLAMA3.begin in template or re.search(r'"parameters":\s', template):
        return LLAMA3
    return HERMES


class ToolCallParser:
    """Tells tool calls from text in one answer; see `inference_svc.domain.answer.Parser`.

    What looks like a call and turns out not to be one is text. What was certainly the beginning of a call that did not
    come is nothing.
    """

    def __init__(
        self, form: ToolFormat, *, single: bool, forced: bool = False, new_id: Callable[[], str] | None = None
    ) -> None:
        """Begin an answer, which holds nothing but calls if they are `forced`."""
        self._form, self._single, self._forced, self._new_id = form, single, forced, new_id or form.new_id
        self._text = self._marker = ""
        self._call: CallReader | None = None
        self._spoke = self._after = False
        self._index = -1
        self.called = self.complete = self.thinking = False

    @property
    def held(self) -> str:
        """What is held back and may be text."""
        if self._call is None:
            return self._text
        return "" if self._call.name else self._marker + self._call.raw + self._text

    def feed(self, text: str) -> Sequence[Piece]:
        """Give the pieces that are certain now."""
        self._text += text
        pieces: list[Piece] = []
        while self._text and not self.complete and self._advance(pieces):
            pass
        return pieces

    def finish(self) -> Sequence[Piece]:
        """Give what was held back, if it can have been text; the beginning of a call that was cut off is none."""
        rest = self._text
        if self._call is not None:
            rest = self._call.raw + rest
        certain = self._call is not None and (self._marker or self.called)
        silent = self._forced or self._after or certain
        self._call, self._text = None, ""
        return (Said(text=rest),) if rest and not silent else ()

    def _advance(self, pieces: list[Piece]) -> bool:
        """Read on; False when more text is needed."""
        if self._call is not None:
            self._read_call(pieces, self._call)
            return True
        return self._read_between() if self._after else self._read_text(pieces)

    def _read_text(self, pieces: list[Piece]) -> bool:
        """Pass text on up to the beginning of a call."""
        if self._form.bare and not self._spoke:
            self._text = self._text.lstrip()
            if self._text.startswith("{"):
                return self._begin_call("")
        before, marker, after = self._text.partition(self._form.begin)
        if marker:
            self._say(before, pieces)
            self._text = after
            return self._begin_call(marker)
        held = longest_beginning(self._text, (self._form.begin,))
        shown, self._text = self._text[: len(self._text) - held], self._text[len(self._text) - held :]
        self._say(shown, pieces)
        return False

    def _begin_call(self, marker: str) -> bool:
        self._marker, self._call = marker, CallReader(named=self._form.listed)
        return True

    def _say(self, text: str, pieces: list[Piece]) -> None:
        if text:
            self._spoke = True
            pieces.append(Said(text=text))

    def _read_call(self, pieces: list[Piece], call: CallReader) -> None:
        known = bool(call.name)
        fragment, self._text = call.feed(self._text)
        if call.broken and not known:
            self._call = None
            self._say(self._marker + call.raw, pieces)
            return
        if call.name and not known:
            self.called = True
            self._index += 1
            pieces.append(Called(index=self._index, id=self._new_id(), name=call.name))
        if fragment:
            pieces.append(Called(index=self._index, arguments_json=fragment))
        if call.done or call.broken:
            self._call, self._after, self.complete = None, True, self._single

    def _read_between(self) -> bool:
        """Skip what stands between and behind calls; False while that is all there is."""
        self._text = self._text.lstrip(" \n;,]")
        if self._form.end:
            self._text = self._text.removeprefix(self._form.end).lstrip(" \n;,]")
        if longest_beginning(self._text, (self._form.begin, self._form.end)) == len(self._text):
            return False
        self._after = False
        if self._text.startswith("{") and (self._form.bare or self._form.listed):
            return self._begin_call("")
        return True
