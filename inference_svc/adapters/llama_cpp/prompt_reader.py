"""A conversation as the model reads it: tokens, with images and sounds among them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from inference_svc.adapters.llama_cpp.media import MediaChunk, MediaReader
from inference_svc.adapters.llama_cpp.model import LoadedModel
from inference_svc.adapters.llama_cpp.template import ChatTemplate, Segment
from inference_svc.adapters.llama_cpp.tool_prompt import MediaPiece
from inference_svc.domain.media_tokens import Layout, Span, is_media
from inference_svc.domain.prompt import Conversation, RawPrompt
from threadmesh.errors import InvalidArgument


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPrompt:
    """The tokens of a prompt, and the segments that they were made of.

    Where a token is negative a chunk stands, which `media` has by its first position.
    """

    tokens: list[int]
    segments: Sequence[Segment | MediaPiece] = ()
    media: Mapping[int, MediaChunk] = field(default_factory=dict)

    @property
    def text(self) -> list[int]:
        """The tokens without those that stand for images and sounds."""
        return [token for token in self.tokens if not is_media(token)]

    @property
    def layout(self) -> Layout:
        """Where the chunks stand."""
        places = ((begin, chunk) for begin, chunk in self.media.items())
        return Layout(
            spans=tuple(Span(begin=begin, positions=chunk.positions, cells=chunk.cells) for begin, chunk in places)
        )

    @property
    def cells(self) -> int:
        """The KV cells that the prompt fills, which is what it costs."""
        return self.layout.cells(len(self.tokens))


class PromptReader:
    """Renders and tokenises conversations; safe to use from several threads."""

    def __init__(self, model: LoadedModel, template: ChatTemplate, *, media: MediaReader | None = None) -> None:
        """`media` reads images and sounds, for models with a projector."""
        self._model, self._template, self._media = model, template, media

    def read(self, conversation: Conversation, *, ask: bool) -> ReadPrompt:
        """Give a conversation as the model reads it, ending where the assistant begins to speak if `ask`.

        Only what the template wrote, and the marks of the model around an image, can be control tokens. Raises
        `InvalidArgument` for what the template or the model cannot take.
        """
        tokens: list[int] = []
        media: dict[int, MediaChunk] = {}
        segments = self._template.render(conversation, ask=ask)
        if ask and segments and isinstance(last := segments[-1], MediaPiece):
            raise InvalidArgument("The model's chat template wants a text after this.", field=last.field)
        for segment in segments:
            if isinstance(segment, MediaPiece):
                self._add(segment, tokens, media)
            else:
                tokens += self._model.tokenize(segment.text, special=segment.template)
        begin = self._model.begin_token
        if begin is None or tokens[:1] == [begin]:
            return ReadPrompt(tokens=tokens, segments=segments, media=media)
        moved = {place + 1: chunk for place, chunk in media.items()}
        return ReadPrompt(tokens=[begin, *tokens], segments=segments, media=moved)

    def read_raw(self, raw: RawPrompt) -> ReadPrompt:
        """Give a prompt without a conversation: whoever writes it writes control tokens, too, and means them.

        A text begins with the model's own token for that. Raises `InvalidArgument` for what holds no token, or none of
        this model.
        """
        if isinstance(raw, str):
            tokens, begin = self._model.tokenize(raw, special=True), self._model.begin_token
            if begin is not None and tokens[:1] != [begin]:
                tokens = [begin, *tokens]
        else:
            self._model.require(raw, field="raw_prompt.tokens.ids")
            tokens = list(raw)
        if not tokens:
            raise InvalidArgument("The prompt is empty, and this model has no token to begin with.", field="raw_prompt")
        return ReadPrompt(tokens=tokens)

    def _add(self, piece: MediaPiece, tokens: list[int], media: dict[int, MediaChunk]) -> None:
        if self._media is None:
            raise InvalidArgument("This model reads text only.", field=piece.field)
        for part in self._media.read(piece.media, field=piece.field):
            if isinstance(part, MediaChunk):
                media[len(tokens)] = part
                tokens += part.tokens
            else:
                tokens += part
