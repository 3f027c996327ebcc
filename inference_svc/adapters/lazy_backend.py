"""A backend that is in memory only while somebody needs it."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Protocol

import structlog

from inference_svc.domain.events import Event, Phase, Progress
from inference_svc.domain.ports import Backend, Embeddings, Model, ModelState, Warmed
from inference_svc.domain.prompt import Conversation, Prompt
from threadmesh.clock import Clock
from threadmesh.errors import BackendUnavailable, MeshError, PreconditionFailed

log = structlog.get_logger()

_LOADING = Progress(phase=Phase.LOADING, prefilled_tokens=0, prompt_tokens=0)


class LoadedBackend(Backend, Protocol):
    """A backend that is ready from the beginning and can tell when it is not any more."""

    async def until_stopped(self) -> None:
        """Return when the backend has been closed. Raises what else stopped it."""
        ...


class LoadObserver(Protocol):
    """Watches how one model comes and goes."""

    def loaded(self, *, seconds: float) -> None:
        """Tell how long a load took."""
        ...

    def failed(self) -> None:
        """Tell that a load failed."""
        ...

    def unloaded(self) -> None:
        """Tell that the memory was freed."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """When a model is in memory.

    A `required` one is loaded at the unit's start: requests are refused until then, and what goes wrong with it ends
    the unit. A model that nobody used for `seconds` is unloaded; 0 keeps it.
    """

    required: bool = False
    seconds: float = 0.0


class LazyBackend:
    """Loads its backend when the first request comes; those who come meanwhile wait for the same load.

    A load goes on when the request that caused it has left. One that failed is tried again by the next request.
    """

    def __init__(
        self,
        described: Model,
        open_backend: Callable[[], Awaitable[LoadedBackend]],
        *,
        tasks: asyncio.TaskGroup,
        clock: Clock,
        observer: LoadObserver,
        keeping: Keeping,
    ) -> None:
        """`described` is what is known of the model before it is loaded. Loads run in `tasks`."""
        self._described, self._open_backend = described, open_backend
        self._tasks, self._clock, self._observer, self._keeping = tasks, clock, observer, keeping
        self._backend: LoadedBackend | None = None
        self._loading: asyncio.Task[MeshError | None] | None = None
        self._changing = asyncio.Lock()
        self._state = ModelState.LOADING if keeping.required else ModelState.UNLOADED
        self._awaited = keeping.required
        self._users = 0
        self._used = clock.monotonic()

    def describe(self) -> Model:
        """Say which model this is and whether it is in memory."""
        if self._backend is not None:
            return self._backend.describe()
        return replace(self._described, state=self._state)

    async def start(self) -> None:
        """Load at the unit's start. Raises what is wrong with the model as it is."""
        if error := await self._loaded():
            raise error

    async def load(self) -> None:
        """Return once the model is ready. Raises `BackendUnavailable` if it cannot be loaded."""
        if error := await self._loaded():
            raise BackendUnavailable(
                "The model could not be loaded; the log says why.", model=self._described.name
            ) from error

    async def unload(self) -> None:
        """Free the memory until the next request. Raises `PreconditionFailed` while requests run."""
        if self._users or self._loading:
            raise PreconditionFailed("The model is in use; try again when its requests have ended.", users=self._users)
        await self._discard(ModelState.UNLOADED)

    async def unload_unused(self) -> None:
        """Free the memory if nobody has used the model for long enough."""
        unused = self._clock.monotonic() - self._used
        if self._keeping.seconds and unused >= self._keeping.seconds and not self._users and not self._loading:
            await self._discard(ModelState.UNLOADED)

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Event, None]:
        """Answer, and tell while the model is being loaded."""
        if self._backend is None and not self._awaited:
            yield _LOADING
        async with self._using() as backend, aclosing(backend.stream(prompt)) as events:
            async for event in events:
                yield event

    async def warm(self, prompt: Prompt) -> Warmed:
        """Read a prompt into the KV cache."""
        async with self._using() as backend:
            return await backend.warm(prompt)

    async def count_tokens(self, counted: Conversation | str) -> int:
        """Count tokens."""
        async with self._using() as backend:
            return await backend.count_tokens(counted)

    async def tokenize(self, read: Conversation | str, *, special: bool = False, ask: bool = True) -> Sequence[int]:
        """Give the tokens of a text or a conversation."""
        async with self._using() as backend:
            return await backend.tokenize(read, special=special, ask=ask)

    async def detokenize(self, tokens: Sequence[int]) -> Sequence[bytes]:
        """Give the bytes of tokens."""
        async with self._using() as backend:
            return await backend.detokenize(tokens)

    async def embed(self, inputs: Sequence[str], *, dimensions: int | None = None) -> Embeddings:
        """Turn texts into vectors."""
        async with self._using() as backend:
            return await backend.embed(inputs, dimensions=dimensions)

    async def ping(self) -> None:
        """Return unless the model is awaited since the start, or its engine has stopped."""
        if self._backend is not None:
            await self._backend.ping()
        elif self._awaited:
            raise BackendUnavailable("The model is being loaded.", model=self._described.name)

    async def close(self) -> None:
        """Give up a load that runs, and free the memory."""
        if self._loading is not None:
            self._loading.cancel()
        await self._discard(ModelState.UNLOADED)

    @asynccontextmanager
    async def _using(self) -> AsyncIterator[LoadedBackend]:
        """Give the backend, loaded, and keep it from being unloaded."""
        if self._awaited:
            raise BackendUnavailable("The model is being loaded.", model=self._described.name)
        self._users += 1
        try:
            while self._backend is None:
                await self.load()
            yield self._backend
        finally:
            self._users -= 1
            self._used = self._clock.monotonic()

    async def _loaded(self) -> MeshError | None:
        """Wait until the model is in memory; gives what prevents it."""
        if self._backend is not None:
            return None
        if self._loading is None:
            self._loading = self._tasks.create_task(self._load())
        return await asyncio.shield(self._loading)

    async def _load(self) -> MeshError | None:
        self._state = ModelState.LOADING
        began = self._clock.monotonic()
        try:
            async with self._changing:
                backend = await self._open_backend()
        except MeshError as error:
            self._state = ModelState.FAILED
            self._observer.failed()
            log.error("model.load_failed", model=self._described.name, error=str(error))
            return error
        finally:
            self._loading = None
        self._backend, self._awaited = backend, False
        self._used = self._clock.monotonic()
        self._observer.loaded(seconds=self._used - began)
        self._tasks.create_task(self._watch(backend))
        return None

    async def _watch(self, backend: LoadedBackend) -> None:
        """Wait for the end of an engine. One that breaks ends the unit, or else is loaded anew by the next request."""
        try:
            await backend.until_stopped()
        except MeshError as error:
            if self._keeping.required:
                raise
            log.error("model.broke", model=self._described.name, error=str(error))
            await self._discard(ModelState.FAILED)

    async def _discard(self, state: ModelState) -> None:
        backend, self._backend = self._backend, None
        if backend is None:
            return
        self._described, self._state = backend.describe(), state
        log.info("model.unloaded", model=self._described.name)
        self._observer.unloaded()
        async with self._changing:
            await backend.close()
