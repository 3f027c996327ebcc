"""llama.cpp as a backend: requests become jobs of the engine, what the engine delivers becomes a stream."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from typing import TypeVar

import structlog

from inference_svc.adapters.llama_cpp.options import ModelOptions, Observer
from inference_svc.adapters.llama_cpp.sequences import Delivery, Job
from inference_svc.adapters.llama_cpp.served import ServedModel, serve
from inference_svc.domain.events import Event, Finished, Started
from inference_svc.domain.ports import Capability, Embeddings, Model, ModelState, Warmed
from inference_svc.domain.prompt import Conversation, Prompt
from inference_svc.domain.sampling import resolve
from threadmesh.conversation import ToolChoiceMode, Usage
from threadmesh.errors import BackendUnavailable, MeshError, Unsupported

log = structlog.get_logger()

NAME = "llama.cpp"
_LARGEST_CHOSEN_SEED = 2**31
_WORKERS = 3
"""Two prepare requests, one waits for the engine's end."""

Result = TypeVar("Result")


class LlamaCppBackend:
    """One GGUF model on an engine of its own. Not ready until `load` has returned."""

    def __init__(self, options: ModelOptions, *, observer: Observer) -> None:
        self._options, self._observer = options, observer
        self._eyes = ThreadPoolExecutor(max_workers=1, thread_name_prefix="media")
        self._worker = ThreadPoolExecutor(max_workers=_WORKERS, thread_name_prefix="prompt")
        self._constrained = ThreadPoolExecutor(max_workers=4, thread_name_prefix="constrained")
        self._served: ServedModel | None = None

    async def load(self, path: Path) -> None:
        """Load the model and draw one token. Raises `ModelFileError` if the file or the memory does not do."""
        loop = asyncio.get_running_loop()
        served = await loop.run_in_executor(self._worker, serve, path, self._options, self._observer)
        self._served = served
        log.info(
            "model.loaded", model=self._options.name, fingerprint=served.fingerprint, context=served.context_tokens
        )

    async def until_stopped(self) -> None:
        """Return when the engine has been closed. Raises what else stopped it: nothing mends it but a new start."""
        await self._work(self._require().engine.wait)

    def describe(self) -> Model:
        """Say which model this is and whether it is ready."""
        served = self._served
        return Model(
            name=self._options.name,
            backend=NAME,
            context_tokens=served.context_tokens if served else self._options.context_tokens,
            state=ModelState.READY if served else ModelState.LOADING,
            fingerprint=served.fingerprint if served else "",
            created=self._options.created,
            capabilities=served.capabilities if served else (Capability.GENERATE,),
            details=served.details if served else {},
            temperature=self._options.drawing.temperature,
            top_p=self._options.drawing.top_p,
        )

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Event, None]:
        """Answer; see `Backend.stream`."""
        served = self._require()
        inbox: asyncio.Queue[list[Delivery]] = asyncio.Queue()
        deliver = _into(inbox)
        drawing = resolve(prompt.sampling, defaults=self._options.drawing, choose_seed=_choose_seed)
        # Whoever brings a grammar may wait until it has been tried; nobody else waits for that.
        constrained = prompt.response_format or prompt.tool_choice.mode is ToolChoiceMode.REQUIRED
        pool = self._constrained if constrained else self._worker
        job = await self._work(lambda: served.jobs.job(prompt, drawing, deliver=deliver), pool=pool)
        await self._perceive(served, job)
        served.engine.submit(job)
        try:
            yield Started(
                model=self._options.name,
                backend=NAME,
                fingerprint=served.fingerprint,
                prompt_tokens=job.size,
                seed=drawing.seed,
            )
            for delta in job.repeated if prompt.repeat_emitted else ():
                yield delta
            async with aclosing(_deliveries(inbox)) as deliveries:
                async for event in deliveries:
                    yield event
        finally:
            served.engine.cancel(job)

    async def warm(self, prompt: Prompt) -> Warmed:
        """Read a prompt into the KV cache."""
        served = self._require()
        inbox: asyncio.Queue[list[Delivery]] = asyncio.Queue()
        deliver = _into(inbox)
        job = await self._work(lambda: served.jobs.reading(prompt, deliver=deliver))
        await self._perceive(served, job)
        served.engine.submit(job)
        usage = Usage()
        try:
            async with aclosing(_deliveries(inbox)) as deliveries:
                async for event in deliveries:
                    usage = event.usage if isinstance(event, Finished) else usage
        finally:
            served.engine.cancel(job)
        return Warmed(prompt_tokens=usage.prompt_tokens, cached_tokens=usage.cached_tokens)

    async def count_tokens(self, counted: Conversation | str) -> int:
        """Count tokens."""
        served = self._require()
        if isinstance(counted, str):
            return len(await self._work(lambda: served.model.tokenize(counted, special=False)))
        return (await self._work(lambda: served.jobs.read(counted, ask=True))).cells

    async def tokenize(self, read: Conversation | str, *, special: bool = False, ask: bool = True) -> Sequence[int]:
        """Give tokens."""
        served = self._require()
        return await self._work(lambda: served.jobs.tokens(read, special=special, ask=ask))

    async def detokenize(self, tokens: Sequence[int]) -> Sequence[bytes]:
        """Give the bytes of tokens."""
        served = self._require()
        return await self._work(lambda: served.model.pieces(tokens))

    async def embed(self, inputs: Sequence[str], *, dimensions: int | None = None) -> Embeddings:
        """Refuse: llama.cpp can make vectors with any model, but those of a model that talks compare badly."""
        del inputs, dimensions
        raise Unsupported(
            "This model generates text and makes no embeddings; add an embedding model to INFERENCE_MODELS_FILE and "
            "name it.",
            model=self._options.name,
        )

    async def ping(self) -> None:
        """Return if the model is loaded and its engine runs."""
        self._require().engine.check()

    async def close(self) -> None:
        """Stop the engine and free the model."""
        served, self._served = self._served, None
        if served is not None:
            await asyncio.get_running_loop().run_in_executor(self._worker, served.close)
        for executor in (self._worker, self._constrained, self._eyes):
            executor.shutdown(wait=False, cancel_futures=True)

    def _require(self) -> ServedModel:
        if self._served is None:
            raise BackendUnavailable("The model is being loaded.", model=self._options.name)
        return self._served

    async def _work(self, task: Callable[[], Result], *, pool: ThreadPoolExecutor | None = None) -> Result:
        """Run what may take long beside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(pool or self._worker, task)

    async def _perceive(self, served: ServedModel, job: Job) -> None:
        """Compute the images and sounds of a job before it stands in the engine's way, one job after the other."""
        if not job.media:
            return
        try:
            await asyncio.get_running_loop().run_in_executor(self._eyes, served.encode, job)
        except BaseException:
            job.sampler.close()
            raise


def _choose_seed() -> int:
    return secrets.randbelow(_LARGEST_CHOSEN_SEED)


def _into(inbox: asyncio.Queue[list[Delivery]]) -> Callable[[list[Delivery]], None]:
    """Let the engine's thread deliver to this loop; once the loop has closed nobody waits for it."""
    loop = asyncio.get_running_loop()

    def deliver(deliveries: list[Delivery]) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(inbox.put_nowait, deliveries)

    return deliver


async def _deliveries(inbox: asyncio.Queue[list[Delivery]]) -> AsyncGenerator[Event, None]:
    while True:
        for delivery in await inbox.get():
            if isinstance(delivery, MeshError):
                raise delivery
            yield delivery
            if isinstance(delivery, Finished):
                return
