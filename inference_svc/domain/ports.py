"""What the domain needs of the world."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from inference_svc.domain.events import Event
from inference_svc.domain.prompt import Conversation, Prompt
from threadmesh.conversation import Usage


class Capability(StrEnum):
    """What a model can be asked for."""

    GENERATE = "generate"
    EMBED = "embed"
    IMAGE_INPUT = "image_input"
    AUDIO_INPUT = "audio_input"


class ModelState(StrEnum):
    """Whether a model is in memory; one that `FAILED` to load is tried again by the next request."""

    UNLOADED = "unloaded"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A name to ask for.

    `fingerprint` identifies the weights, the form they are held in, and the template; `created` is in seconds since
    1970. `context_tokens` and `embedding_dimensions` are 0 while they are not known, `fingerprint` is empty then.
    `base` names the model that this one is an adapter of; `details` say how it computes, for people. `temperature` and
    `top_p` are those of requests that name none; None where that is not known.
    """

    name: str
    backend: str
    context_tokens: int
    state: ModelState
    fingerprint: str
    created: int
    capabilities: tuple[Capability, ...] = (Capability.GENERATE,)
    base: str = ""
    embedding_dimensions: int = 0
    details: Mapping[str, str] = field(default_factory=dict)
    temperature: float | None = None
    top_p: float | None = None

    @property
    def ready(self) -> bool:
        """Whether it can answer at once."""
        return self.state is ModelState.READY


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmed:
    """What was prefilled: the prompt's tokens, and those of them that were in the KV cache before."""

    prompt_tokens: int
    cached_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings:
    """One vector of unit length for each input, in order, and what they consumed."""

    vectors: tuple[tuple[float, ...], ...]
    usage: Usage


class Backend(Protocol):
    """An engine that answers for one model.

    It can be described at any time; everything else raises `BackendUnavailable` until it is ready, or waits until it is
    loaded. What a request asks for and the engine cannot do is `InvalidArgument`, `UnsupportedSchema`,
    `ContextLengthExceeded` or `Unsupported`; too many requests at once are `Overloaded`.
    """

    def describe(self) -> Model:
        """Say which model this is and whether it is ready."""
        ...

    def stream(self, prompt: Prompt) -> AsyncGenerator[Event, None]:
        """Answer.

        The stream begins with `Started`, before which only a `Progress` may tell that the model is being loaded. It
        ends with exactly one `Finished`, and raises a `MeshError` where it cannot go on. Deltas number their tokens
        without a gap and hold whole code points. The stream may be silent for long. Closing it early stops the engine
        within one step, also while it reads the prompt.
        """
        ...

    async def warm(self, prompt: Prompt) -> Warmed:
        """Read the prompt of an expected request and keep it in the KV cache."""
        ...

    async def count_tokens(self, counted: Conversation | str) -> int:
        """Count the tokens of a conversation as the model's template renders it, or of a text as it stands."""
        ...

    async def tokenize(self, read: Conversation | str, *, special: bool = False, ask: bool = True) -> Sequence[int]:
        """Give the tokens of a conversation as the model's template renders it, or of a text as it stands.

        A `special` text is read as a raw prompt is: with the token for its beginning, and with control tokens. A
        conversation ends where the assistant begins to speak if `ask`; an image or a sound in it has no tokens.
        """
        ...

    async def detokenize(self, tokens: Sequence[int]) -> Sequence[bytes]:
        """Give the bytes of each token; together they are the text. Raises `InvalidArgument` for what is no token."""
        ...

    async def embed(self, inputs: Sequence[str], *, dimensions: int | None = None) -> Embeddings:
        """Turn texts into vectors, of which the first `dimensions` components are kept.

        Raises `Unsupported` where the model cannot, `InvalidArgument` and `ContextLengthExceeded` with the place of
        the input.
        """
        ...

    async def ping(self) -> None:
        """Return if requests are answered, at once or after the load that they cause. Raises `BackendUnavailable`."""
        ...

    async def close(self) -> None:
        """Stop the engine; running streams raise `BackendUnavailable`."""
        ...


class Loadable(Protocol):
    """A model that can be brought into memory and out of it."""

    async def load(self) -> None:
        """Return once the model is ready. Raises `BackendUnavailable` if it cannot be loaded."""
        ...

    async def unload(self) -> None:
        """Free the model's memory until it is needed again. Raises `PreconditionFailed` while it is in use."""
        ...
