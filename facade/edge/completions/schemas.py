"""The body of a request to go on with texts: OpenAI's fields of old, strictly typed."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from facade.edge.chat.fields import Integer, inconsistent
from facade.edge.chat.refused import Suffix
from facade.edge.chat.sampling import SamplingFields
from facade.edge.chat.schemas import Stop, StreamOptions

_MOST_PROMPTS = 2048

Token = Annotated[Integer, Field(ge=0, lt=2**31)]
Tokens = Annotated[list[Token], Field(min_length=1)]


def _kind(given: Any) -> str:
    """Tell the forms of a prompt apart by what a list begins with."""
    first = given[0] if isinstance(given, list) and given else None
    if not isinstance(given, list) or isinstance(first, str):
        return "texts" if isinstance(given, list) else "text"
    return "lists" if isinstance(first, list) else "tokens"


Prompt = Annotated[
    Annotated[str, Tag("text")]
    | Annotated[Tokens, Tag("tokens")]
    | Annotated[list[str], Field(max_length=_MOST_PROMPTS), Tag("texts")]
    | Annotated[list[Tokens], Field(max_length=_MOST_PROMPTS), Tag("lists")],
    Discriminator(_kind),
]


def _some_tokens(given: Any) -> Any:
    if given == 0 and given is not False:
        raise ValueError("must be at least 1; a prompt's own probabilities are not computed, so nothing would be told")
    return given


class CompletionRequest(SamplingFields):
    """The body of `POST /v1/completions`."""

    prompt: Prompt = Field(description="Texts or tokens. They are read as they stand; control tokens in them are such.")
    model: str | None = Field(default=None, max_length=256, description="Absent: the default model.")
    max_tokens: Annotated[Integer | None, BeforeValidator(_some_tokens)] = Field(
        default=None, ge=1, le=2**31 - 1, description="Absent: 16."
    )
    n: Integer | None = Field(default=None, ge=1, le=128, description="Up to FACADE_MAX_CHOICES.")
    best_of: Integer | None = Field(default=None, ge=0, le=20, description="Only as many as n: none are thrown away.")
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logprobs: Integer | None = Field(default=None, ge=0, le=5)
    echo: bool | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    suffix: Suffix = None
    user: str | None = Field(default=None, max_length=512)

    @model_validator(mode="after")
    def _consistent(self) -> "CompletionRequest":
        if self.stream_options is not None and not self.stream:
            raise inconsistent("stream_options", "stream_options needs stream to be true.")
        return self

    @property
    def prompts(self) -> Sequence[str | Sequence[int]]:
        """Give the prompts, one or more."""
        several = isinstance(self.prompt, list) and not isinstance(self.prompt[0], int)
        return self.prompt if several else [self.prompt]  # type: ignore[return-value,list-item]  # mypy cannot know
