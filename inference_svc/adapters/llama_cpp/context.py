"""One llama_context: its batch, its KV cache, its compute threads. Used by one thread only, `abort` excepted."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from inference_svc.adapters.llama_cpp.library import AbortSwitch, Threadpool, first_problem, native
from inference_svc.adapters.llama_cpp.lora import Adapters
from inference_svc.adapters.llama_cpp.model import LoadedModel, ModelFileError
from inference_svc.adapters.llama_cpp.options import ContextOptions

State = ctypes.Array[ctypes.c_uint8]
"""What a sequence holds, as llama.cpp writes it."""


_FLASH_ATTENTION = {"auto": -1, "off": 0, "on": 1}
"""`llama_flash_attn_type` of llama.h."""
_TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8, "iq4_nl": 20, "bf16": 30}
"""`ggml_type` of ggml.h, those that a KV cache can have."""


class Decoded(Enum):
    """How a step ended; after FULL and ABORTED the KV cache is as before it."""

    DONE = 0
    FULL = 1
    ABORTED = 2
    FAILED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Tokens of one sequence at consecutive positions; logits are kept for the last `wanted` of them."""

    sequence: int
    position: int
    tokens: Sequence[int]
    wanted: int


class Context:
    """Computes steps."""

    def __init__(self, model: LoadedModel, options: ContextOptions, adapters: Adapters | None = None) -> None:
        """Allocate. Raises `ModelFileError` where the memory does not suffice."""
        self._adapters = adapters
        params = native.llama_context_default_params()
        params.n_ctx = options.cells
        params.n_batch = params.n_ubatch = options.batch  # one physical batch a step: an aborted step leaves no trace
        params.n_seq_max = options.slots
        params.n_outputs_max = params.n_outputs_max_per_seq = options.rows
        params.kv_unified = True  # sequences share the cells of a prefix
        params.n_threads = params.n_threads_batch = self._threads = options.threads
        params.no_perf = True
        params.flash_attn_type = _FLASH_ATTENTION[options.device.flash_attention]
        params.type_k, params.type_v = _TYPES[options.device.cache_k], _TYPES[options.device.cache_v]
        self._handle = native.llama_init_from_model(model.handle, params)
        if not self._handle:
            raise ModelFileError(f"There is not enough memory for {options.cells} tokens of context: {first_problem()}")
        self._memory = native.llama_get_memory(self._handle)
        self._batch = native.llama_batch_init(options.batch, 0, 1)
        self._pool = Threadpool(options.threads)
        self._pool.attach(self._handle)
        self._switch = AbortSwitch()
        self._switch.attach(self._handle)

    @property
    def handle(self) -> Any:
        """The `llama_context *`."""
        return self._handle

    def use_threads(self, threads: int) -> None:
        """Compute the coming steps with so many threads, at most those that the context was made for."""
        if threads != self._threads:
            self._threads = threads
            native.llama_set_n_threads(self._handle, threads, threads)

    def adapt(self, adapter: str) -> None:
        """Compute the coming steps with the adapter of this name, or with the bare model if it is empty."""
        if self._adapters is not None:
            self._adapters.apply(self._handle, adapter)

    def decode(self, entries: Sequence[Entry]) -> tuple[Decoded, list[int]]:
        """Compute a step; gives for each entry the row of its first wanted logits, -1 where none were wanted."""
        rows = []
        place = 0
        for entry in entries:
            place = self._fill(entry, place)
            rows.append(place - entry.wanted if entry.wanted else -1)
        self._batch.n_tokens = place
        code = native.llama_decode(self._handle, self._batch)
        if code == 0:
            native.llama_synchronize(self._handle)
        return (Decoded(code) if code in (0, 1, 2) else Decoded.FAILED), rows

    def _fill(self, entry: Entry, place: int) -> int:
        batch = self._batch
        wanted_from = len(entry.tokens) - entry.wanted
        for offset, token in enumerate(entry.tokens):
            batch.token[place] = token
            batch.pos[place] = entry.position + offset
            batch.n_seq_id[place] = 1
            batch.seq_id[place][0] = entry.sequence
            batch.logits[place] = offset >= wanted_from
            place += 1
        return place

    def keep(self, sequence: int, tokens: int) -> bool:
        """Forget a sequence from this position on; where the model's memory cannot, all of it, and that is False."""
        if native.llama_memory_seq_rm(self._memory, sequence, tokens, -1):
            return True
        native.llama_memory_seq_rm(self._memory, sequence, -1, -1)
        return False

    def copy(self, source: int, target: int, tokens: int) -> None:
        """Let a sequence begin with the first tokens of another; they share the cells."""
        native.llama_memory_seq_rm(self._memory, target, -1, -1)
        native.llama_memory_seq_cp(self._memory, source, target, 0, tokens)

    def copy_beginning(self, source: int, target: int, tokens: int) -> None:
        """Let a sequence share the cells of another one for its first tokens and keep its own for the rest."""
        native.llama_memory_seq_rm(self._memory, target, 0, tokens)
        native.llama_memory_seq_cp(self._memory, source, target, 0, tokens)

    def save(self, sequence: int) -> State:
        """Copy what a sequence holds."""
        size = native.llama_state_seq_get_size(self._handle, sequence)
        state: State = (ctypes.c_uint8 * size)()
        native.llama_state_seq_get_data(self._handle, state, size, sequence)
        return state

    def restore(self, sequence: int, state: State) -> bool:
        """Put a copy back; False, and the sequence is empty, where there are not enough free cells."""
        if native.llama_state_seq_set_data(self._handle, state, len(state), sequence):
            return True
        native.llama_memory_seq_rm(self._memory, sequence, -1, -1)
        return False

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
        self._pool.close()
