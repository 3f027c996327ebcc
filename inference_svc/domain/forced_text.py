"""The text that a grammar forces, whatever the model wants to say (jump-ahead decoding, Zheng et al. 2023). Pure."""

from collections.abc import Callable

from inference_svc.domain.gbnf_machine import Machine, Work, machine_of

_CREDIT = 8_192
_EARNED = 64


class ForcedText:
    """Knows for one answer what must come next.

    It gives up silently, and knows of nothing forced from then on, where the text does not follow the grammar and where
    the grammar is too much work: an answer may look at 8,192 of its places, and at 64 more with each character.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._work = Work(allowed=_CREDIT)
        self._state = machine.first

    @property
    def work(self) -> int:
        """How many places of the grammar were looked at; those that another answer has explored are free."""
        return self._work.done

    def read(self, text: str) -> None:
        """Go on behind what was said."""
        for char in text:
            if self._state is None:
                return
            self._work.allowed += _EARNED
            self._state = self._machine.after(self._state, char, self._work)

    def forced(self, most: int) -> str:
        """Give the characters that must come next, up to `most` of them; none where there is a choice or an end."""
        said = ""
        state = self._state
        while state is not None and len(said) < most and state.forced:
            said += state.forced
            state = self._machine.after(state, state.forced, self._work)
        return said


def forced_by(gbnf: str) -> ForcedText | None:
    """Give what a grammar forces from its beginning on. None for one that is empty or cannot be read."""
    machine = machine_of(gbnf) if gbnf else None
    return None if machine is None else ForcedText(machine)


def certain(forced: str, tokenize: Callable[[str], list[int]]) -> list[int]:
    """Give the tokens to write forced text with.

    They are those of the text's own tokenisation, as models were trained on, without the last one: what follows may
    begin in the same token. After `{"name": "` a model may write `"` alone, but also `""` or `"A`, and where text was
    cut off within a word its last token says nothing about the whole word.
    """
    return tokenize(forced)[:-1] if forced else []
