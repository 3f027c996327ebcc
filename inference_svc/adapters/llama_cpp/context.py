"""One llama_context: its batch, its KV cache, its compute threads. Used by one thread only, `abort` excepted."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import llama_cpp.llama_cpp as native

from inference_svc.adapters.llama_cpp.library import AbortSwitch, Threadpool, first_problem
from inference_svc.adapters.llama_cpp.lora import Adapters
from inference_svc.adapters.llama_cpp.model import LoadedModel, ModelFileError
from inference_svc.adapters.llama_cpp.options import ContextOptions


class Decoded(Enum):
    """How a step ended; after FULL and ABORTED the KV cache is as before it."""

    DONE = 0
    FULL = 1
    ABORTED = 2
    FAILED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Tokens of one sequence at consecutive positions; logits are kept for the last of them if `wanted`."""

    sequence: int
    position: int
    tokens: Sequence[int]
    wanted: bool


class Context:
    """Computes steps."""

    def __init__(self, model: LoadedModel, options: ContextOptions, adapters: Adapters | None = None) -> None:
        """Allocate. Raises `ModelFileError` where the memory does not suffice."""
        self._adapters = adapters
        params = native.llama_context_default_params()
        params.n_ctx = options.cells
        params.n_batch = params.n_ubatch = options.batch  # one physical batch a step: an aborted step leaves no trace
        params.n_seq_max = params.n_outputs_max = options.sequences  # logits are kept for one token of each
        params.kv_unified = True  # sequences share the cells of a prefix
        params.n_threads = params.n_threads_batch = options.threads
        params.no_perf = True
        self._handle = native.llama_init_from_model(model.handle, params)
        if not self._handle:
            raise ModelFileError(f"There is not enough memory for {options.cells} tokens of context: {first_problem()}")
        self._memory = native.llama_get_memory(self._handle)
        self._batch = native.llama_batch_init(options.batch, 0, 1)
        self._threads = Threadpool(options.threads)
        self._threads.attach(self._handle)
        self._switch = AbortSwitch()
        self._switch.attach(self._handle)

    @property
    def handle(self) -> Any:
        """The `llama_context *`."""
        return self._handle

    def adapt(self, adapter: str) -> None:
        """Compute the coming steps with the adapter of this name, or with the bare model if it is empty."""
        if self._adapters is not None:
            self._adapters.apply(self._handle, adapter)

    def decode(self, entries: Sequence[Entry]) -> tuple[Decoded, list[int]]:
        """Compute a step; gives for each entry the row of its logits, -1 where none were wanted."""
        rows = []
        place = 0
        for entry in entries:
            place = self._fill(entry, place)
            rows.append(place - 1 if entry.wanted else -1)
        self._batch.n_tokens = place
        code = native.llama_decode(self._handle, self._batch)
        if code == 0:
            native.llama_synchronize(self._handle)
        return (Decoded(code) if code in (0, 1, 2) else Decoded.FAILED), rows

    def _fill(self, entry: Entry, place: int) -> int:
        batch = self._batch
        for offset, token in enumerate(entry.tokens):
            batch.token[place] = token
            batch.pos[place] = entry.position + offset
            batch.n_seq_id[place] = 1
            batch.seq_id[place][0] = entry.sequence
            batch.logits[place] = 0
            place += 1
        batch.logits[place - 1] = entry.wanted
        return place

    def keep(self, sequence: int, tokens: int) -> None:
        """Forget a sequence from this position on."""
        native.llama_memory_seq_rm(self._memory, sequence, tokens, -1)

    def copy(self, source: int, target: int, tokens: int) -> None:
        """Let a sequence begin with the first tokens of another; they share the cells."""
        native.llama_memory_seq_rm(self._memory, target, -1, -1)
        native.llama_memory_seq_cp(self._memory, source, target, 0, tokens)

    def forget_all(self) -> None:
        """Empty the KV cache."""
        native.llama_memory_clear(self._memory, True)

    def abort(self) -> None:
        """End the running step at once, from any thread; `rearm` before the next one."""
        self._switch.set()

    def rearm(self) -> None:
        """Let steps run again after an abort."""
        self._switch.clear()

    def close(self) -> None:
        """Free everything."""
        native.llama_batch_free(self._batch)
        native.llama_free(self._handle)
        self._threads.close()
