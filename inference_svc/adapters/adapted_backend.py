"""An adapter of a model, offered under a name of its own."""

import hashlib
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

from inference_svc.domain.events import Event, Started
from inference_svc.domain.ports import Backend, Embeddings, Model, Warmed
from inference_svc.domain.prompt import Conversation, Prompt


class AdaptedBackend:
    """A backend whose model is changed by one of its adapters. Closing it does not close the backend."""

    def __init__(self, backend: Backend, *, adapter: str, fingerprint: Callable[[], str]) -> None:
        """`fingerprint` gives that of the adapter's file; it is asked once the model is loaded."""
        self._backend, self._adapter, self._fingerprint = backend, adapter, fingerprint

    def describe(self) -> Model:
        """Say which model this is; its fingerprint differs where that of the base model or of the adapter does."""
        base = self._backend.describe()
        fingerprint = self._combined(base.fingerprint) if base.fingerprint else ""
        return replace(base, name=self._adapter, base=base.name, fingerprint=fingerprint)

    def _combined(self, base: str) -> str:
        return hashlib.sha256(f"{base}+{self._fingerprint()}".encode()).hexdigest()[: len(base)]

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Event, None]:
        """Answer with the adapter."""
        async with aclosing(self._backend.stream(self._adapted(prompt))) as events:
            async for event in events:
                if isinstance(event, Started):
                    yield replace(event, model=self._adapter, fingerprint=self._combined(event.fingerprint))
                else:
                    yield event

    async def warm(self, prompt: Prompt) -> Warmed:
        """Read a prompt into the adapter's KV cache."""
        return await self._backend.warm(self._adapted(prompt))

    async def count_tokens(self, counted: Conversation | str) -> int:
        """Count tokens; an adapter changes neither vocabulary nor template."""
        return await self._backend.count_tokens(counted)

    async def tokenize(self, read: Conversation | str, *, special: bool = False, ask: bool = True) -> Sequence[int]:
        """Give the tokens of a text or a conversation; an adapter changes neither vocabulary nor template."""
        return await self._backend.tokenize(read, special=special, ask=ask)

    async def detokenize(self, tokens: Sequence[int]) -> Sequence[bytes]:
        """Give the bytes of tokens."""
        return await self._backend.detokenize(tokens)

    async def embed(self, inputs: Sequence[str], *, dimensions: int | None = None) -> Embeddings:
        """Turn texts into vectors as the base model does, which refuses."""
        return await self._backend.embed(inputs, dimensions=dimensions)

    async def ping(self) -> None:
        """Return if the base model answers."""
        await self._backend.ping()

    async def close(self) -> None:
        """Do nothing: the base model closes the adapter."""

    def _adapted(self, prompt: Prompt) -> Prompt:
        return replace(prompt, adapter=self._adapter)
