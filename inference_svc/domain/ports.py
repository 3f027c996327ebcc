"""What the domain needs of the world."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from inference_svc.domain.events import Event
from inference_svc.domain.prompt import Conversation, Prompt
from threadmesh.conversation import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A name to ask for.

    `fingerprint` identifies the weights, the form they are held in, and the template; `created` is in seconds since
    1970; `details` say how it computes, for people.
    """

    name: str
    backend: str
    context_tokens: int
    ready: bool
    fingerprint: str
    created: int
    details: Mapping[str, str] = field(default_factory=dict)


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

    It can be described at any time; everything else raises `BackendUnavailable` until it is ready. What a request asks
    for and the engine cannot do is `InvalidArgument`, `UnsupportedSchema`, `ContextLengthExceeded` or `Unsupported`;
    too many requests at once are `Overloaded`.
    """

    def describe(self) -> Model:
        """Say which model this is and whether it is ready."""
        ...

    def stream(self, prompt: Prompt) -> AsyncGenerator[Event, None]:
        """Answer.

        The stream begins with `Started`, ends with exactly one `Finished`, and raises a `MeshError` where it cannot go
        on. Deltas number their tokens without a gap and hold whole code points. The stream may be silent for long.
        Closing it early stops the engine within one step, also while it reads the prompt.
        """
        ...

    async def warm(self, prompt: Prompt) -> Warmed:
        """Read the prompt of an expected request and keep it in the KV cache."""
        ...

    async def count_tokens(self, counted: Conversation | str) -> int:
        """Count the tokens of a conversation as the model's template renders it, or of a text as it stands."""
        ...

    async def embed(self, inputs: Sequence[str]) -> Embeddings:
        """Turn texts into vectors. Raises `Unsupported` where the model cannot."""
        ...

    async def ping(self) -> None:
        """Return if requests can be answered at once. Raises `BackendUnavailable`."""
        ...

    async def close(self) -> None:
        """Stop the engine; running streams raise `BackendUnavailable`."""
        ...
