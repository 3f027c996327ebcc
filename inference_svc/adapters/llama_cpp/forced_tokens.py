"""The tokens of what an answer's grammar forces, which need not be drawn."""

from collections.abc import Sequence

from inference_svc.adapters.llama_cpp.model import LoadedModel
from inference_svc.domain.forced_text import ForcedText, certain, forced_by
from inference_svc.domain.stop import Utf8

_CHARACTERS = 8
"""Characters to look at for each token."""


class ForcedTokens:
    """Follows one answer; used by one thread at a time."""

    def __init__(self, model: LoadedModel, forced: ForcedText) -> None:
        self._model, self._forced = model, forced
        self._utf8 = Utf8()

    def read(self, token: int) -> None:
        """Go on behind a token that was said; as in llama.cpp's grammars, control tokens count as their text."""
        self._forced.read(self._utf8.feed(self._model.piece(token, special=True)))

    def next(self, most: int) -> list[int]:
        """Give up to `most` tokens that must come next; none where the grammar leaves a choice.

        The grammar forces a text, which other tokens could spell as well; these are the usual ones.
        """
        return certain(self._forced.forced(most * _CHARACTERS), self._tokenize)[:most]

    def _tokenize(self, text: str) -> list[int]:
        """Tokenise a text that continues another: at a beginning, SentencePiece would put a space before it."""
        other = "\n" if text[0].isalnum() else "a"
        before = self._model.tokenize(other, special=False)
        tokens = self._model.tokenize(other + text, special=True)
        return tokens[len(before) :] if tokens[: len(before)] == before else []


def forced_tokens(model: LoadedModel, gbnf: str, *, said: Sequence[int]) -> ForcedTokens | None:
    """Follow an answer that has begun with the tokens `said`. None without a grammar, or with one beyond following."""
    if (forced := forced_by(gbnf)) is None:
        return None
    tokens = ForcedTokens(model, forced)
    for token in said:
        tokens.read(token)
    return tokens
