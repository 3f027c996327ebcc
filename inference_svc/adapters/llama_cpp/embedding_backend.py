"""llama.cpp as a backend that makes vectors and no text."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import NoReturn, TypeVar

import structlog

from inference_svc.adapters.llama_cpp.backend import NAME
from inference_svc.adapters.llama_cpp.embedder import Embedder, Vector, batches
from inference_svc.adapters.llama_cpp.inspection import Kind, context_tokens, facts_of
from inference_svc.adapters.llama_cpp.model import LoadedModel
from inference_svc.adapters.llama_cpp.options import ModelOptions, Observer
from inference_svc.domain.ports import Capability, Embeddings, Model, ModelState, Warmed
from inference_svc.domain.prompt import Conversation, Prompt
from threadmesh.conversation import Usage
from threadmesh.errors import BackendUnavailable, ContextLengthExceeded, InvalidArgument, Overloaded, Unsupported

log = structlog.get_logger()

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Served:
    """A loaded model, the context that computes its vectors, and the longest input in tokens."""

    model: LoadedModel
    embedder: Embedder
    context_tokens: int
    fingerprint: str

    def read(self, inputs: Sequence[str]) -> list[list[int]]:
        """Give the tokens of each input. Raises what is wrong with the first one that cannot be embedded."""
        texts = [self.model.tokenize(text, special=False, ends=True) for text in inputs]
        for index, (given, tokens) in enumerate(zip(inputs, texts, strict=True)):
            if not given or not tokens:
                raise InvalidArgument("An empty text has no vector.", field=f"inputs[{index}]")
            if len(tokens) > self.context_tokens:
                raise ContextLengthExceeded(
                    field=f"inputs[{index}]", prompt_tokens=len(tokens), context_tokens=self.context_tokens
                )
        return texts

    def close(self) -> None:
        """Free everything."""
        self.embedder.close()
        self.model.close()


class EmbeddingBackend:
    """One embedding model with a thread of its own. Not ready until `load` has returned."""

    def __init__(self, options: ModelOptions, *, observer: Observer) -> None:
        self._options, self._observer = options, observer
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embedder")
        self._served: _Served | None = None
        self._stopped = asyncio.Event()
        self._asked = 0

    async def load(self, path: Path) -> None:
        """Load the model and make one vector. Raises `ModelFileError` if the file or the memory does not do."""
        served = await asyncio.get_running_loop().run_in_executor(self._worker, _load, path, self._options)
        self._served = served
        log.info(
            "model.loaded", model=self._options.name, fingerprint=served.fingerprint, context=served.context_tokens
        )

    async def until_stopped(self) -> None:
        """Return when the backend has been closed."""
        await self._stopped.wait()

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
            capabilities=(Capability.EMBED,),
            embedding_dimensions=served.embedder.dimensions if served else 0,
        )

    def stream(self, prompt: Prompt) -> NoReturn:
        """Refuse."""
        self._refuse(prompt)

    async def warm(self, prompt: Prompt) -> Warmed:
        """Refuse."""
        self._refuse(prompt)

    async def count_tokens(self, counted: Conversation | str) -> int:
        """Count the tokens of a text; a model without a chat template reads no conversations."""
        served = self._require()
        if not isinstance(counted, str):
            self._refuse(counted)
        return len(await self._work(served, lambda: served.model.tokenize(counted, special=False)))

    async def tokenize(self, read: Conversation | str, *, special: bool = False, ask: bool = True) -> Sequence[int]:
        """Give the tokens of a text, with those for its beginning and its end if it is `special`."""
        del ask
        served = self._require()
        if not isinstance(read, str):
            self._refuse(read)
        return await self._work(served, lambda: served.model.tokenize(read, special=special, ends=special))

    async def detokenize(self, tokens: Sequence[int]) -> Sequence[bytes]:
        """Give the bytes of tokens."""
        served = self._require()
        return await self._work(served, lambda: served.model.pieces(tokens))

    async def embed(self, inputs: Sequence[str], *, dimensions: int | None = None) -> Embeddings:
        """Make vectors, batch after batch; between two batches other requests take their turn."""
        served = self._require()
        most = served.embedder.dimensions
        if dimensions is not None and not 1 <= dimensions <= most:
            raise InvalidArgument(f"This model's vectors have 1 to {most} dimensions.", field="dimensions")
        vectors: list[Vector] = []
        with self._place():
            texts = await self._work(served, partial(served.read, inputs))
            for batch in batches(texts, tokens=served.embedder.tokens):
                vectors += await self._work(served, partial(self._compute, served, batch, dimensions or most))
        return Embeddings(vectors=tuple(vectors), usage=Usage(prompt_tokens=sum(map(len, texts))))

    def _compute(self, served: _Served, batch: Sequence[Sequence[int]], dimensions: int) -> list[Vector]:
        began = perf_counter()
        vectors = served.embedder.embed(batch, dimensions=dimensions)
        self._observer.stepped(seconds=perf_counter() - began, threads=self._options.threads)
        return vectors

    async def ping(self) -> None:
        """Return if the model is loaded."""
        self._require()

    async def close(self) -> None:
        """Free the model once the running batch is done."""
        served, self._served = self._served, None
        if served is not None:
            await asyncio.get_running_loop().run_in_executor(self._worker, served.close)
        self._worker.shutdown(wait=False, cancel_futures=True)
        self._stopped.set()

    @contextmanager
    def _place(self) -> Iterator[None]:
        """Take a place among the requests, of which one is computed at a time. Raises `Overloaded` if all are taken."""
        if self._asked > self._options.queue:
            raise Overloaded
        self._count(+1)
        try:
            yield
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        self._asked += change
        self._observer.occupied(running=min(self._asked, 1), waiting=max(self._asked - 1, 0), parked=0)

    def _refuse(self, asked: object) -> NoReturn:
        del asked
        raise Unsupported("This model makes embeddings and no text; name a chat model.", model=self._options.name)

    def _require(self) -> _Served:
        if self._served is None:
            raise BackendUnavailable("The model is being loaded.", model=self._options.name)
        return self._served

    async def _work(self, served: _Served, task: Callable[[], Result]) -> Result:
        """Run in the backend's thread, unless the model was closed meanwhile."""
        if self._served is not served:
            raise BackendUnavailable("The model was unloaded.", model=self._options.name)
        return await asyncio.get_running_loop().run_in_executor(self._worker, task)


def _load(path: Path, options: ModelOptions) -> _Served:
    model = LoadedModel(path, device=options.device)
    try:
        context = context_tokens(Kind.EMBEDDING, wanted=options.context_tokens, trained=model.trained_tokens)
        step = max(options.batch, context)
        embedder = Embedder(model, pooling=facts_of(model).pooling, tokens=step, threads=options.threads)
        served = _Served(model=model, embedder=embedder, context_tokens=context, fingerprint=model.fingerprint())
    except BaseException:
        model.close()
        raise
    embedder.embed(served.read(["Hello"]), dimensions=embedder.dimensions)
    return served
