"""A context that turns texts into vectors, several at a time."""

import ctypes
from collections.abc import Iterator, Sequence

import numpy as np

from inference_svc.adapters.llama_cpp.inspection import Pooling
from inference_svc.adapters.llama_cpp.library import Threadpool, first_problem, native
from inference_svc.adapters.llama_cpp.model import LoadedModel, ModelFileError
from threadmesh.errors import Internal

MOST_TEXTS = 64
"""Texts that one step computes at most; each is a sequence of its own."""

Vector = tuple[float, ...]


def batches(
    texts: Sequence[Sequence[int]], *, tokens: int, most: int = MOST_TEXTS
) -> Iterator[Sequence[Sequence[int]]]:
    """Split texts, in order, into batches of at most `tokens` tokens and `most` texts; none may be longer alone."""
    begin = size = 0
    for place, text in enumerate(texts):
        if place > begin and (size + len(text) > tokens or place - begin == most):
            yield texts[begin:place]
            begin, size = place, 0
        size += len(text)
    if begin < len(texts):
        yield texts[begin:]


class Embedder:
    """Computes vectors; used from one thread at a time.

    Attention that looks both ways needs a whole text in one step, so a step holds at least the longest text. Models
    that do not say how the vectors of a text's tokens become one get their mean.
    """

    def __init__(self, model: LoadedModel, *, pooling: Pooling, tokens: int, threads: int) -> None:
        """Allocate for steps of `tokens` tokens. Raises `ModelFileError` where the memory does not suffice."""
        params = native.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = tokens
        params.n_seq_max = MOST_TEXTS
        params.kv_unified = True
        params.n_threads = params.n_threads_batch = threads
        params.embeddings = True
        params.pooling_type = int(pooling or Pooling.MEAN)
        params.no_perf = True
        self._handle = native.llama_init_from_model(model.handle, params)
        if not self._handle:
            raise ModelFileError(f"There is not enough memory for {tokens} tokens of context: {first_problem()}")
        self._memory = native.llama_get_memory(self._handle)
        self._batch = native.llama_batch_init(tokens, 0, 1)
        self._threads = Threadpool(threads)
        self._threads.attach(self._handle)
        self.tokens = tokens
        self.dimensions = int(native.llama_model_n_embd_out(model.handle))

    def embed(self, texts: Sequence[Sequence[int]], *, dimensions: int) -> list[Vector]:
        """Give a vector of unit length for each text of one batch, cut to the first `dimensions` components."""
        if self._memory:
            native.llama_memory_clear(self._memory, True)
        self._fill(texts)
        if native.llama_decode(self._handle, self._batch):
            raise Internal("The model could not be computed.")
        native.llama_synchronize(self._handle)
        return [self._vector(sequence, dimensions) for sequence in range(len(texts))]

    def _fill(self, texts: Sequence[Sequence[int]]) -> None:
        batch = self._batch
        place = 0
        for sequence, text in enumerate(texts):
            for position, token in enumerate(text):
                batch.token[place] = token
                batch.pos[place] = position
                batch.n_seq_id[place] = 1
                batch.seq_id[place][0] = sequence
                batch.logits[place] = 1
                place += 1
        batch.n_tokens = place

    def _vector(self, sequence: int, dimensions: int) -> Vector:
        found = native.llama_get_embeddings_seq(self._handle, sequence)
        values = np.ctypeslib.as_array(ctypes.cast(found, ctypes.POINTER(ctypes.c_float)), (self.dimensions,))
        values = values[:dimensions].astype(np.float64)
        length = float(np.linalg.norm(values))
        if not np.isfinite(length) or not length:
            raise Internal("The model gave a vector without a direction.")
        return tuple((values / length).tolist())

    def close(self) -> None:
        """Free everything."""
        native.llama_batch_free(self._batch)
        native.llama_free(self._handle)
        self._threads.close()
