"""LoRA adapters: small changes to a model's weights, applied while it computes."""

import ctypes
from collections.abc import Sequence
from typing import Any

from inference_svc.adapters.llama_cpp.library import first_problem, forget_problems, native
from inference_svc.adapters.llama_cpp.model import LoadedModel, ModelFileError
from inference_svc.adapters.llama_cpp.options import AdapterFile


class Adapters:
    """The loaded adapters of one model; they use its weights and must be closed before it."""

    def __init__(self, model: LoadedModel, files: Sequence[AdapterFile]) -> None:
        """Load all. Raises `ModelFileError` for a file that is no adapter of this model."""
        self._loaded: dict[str, tuple[Any, float]] = {}
        for file in files:
            self._loaded[file.name] = _load(model, file), file.scale

    def apply(self, context: Any, name: str) -> None:
        """Let a `llama_context *` compute its next steps with an adapter, or without any if the name is empty.

        Costs nothing where the same one is in force already. Raises `KeyError` for an adapter that was not loaded.
        """
        if not name:
            native.llama_set_adapters_lora(context, None, 0, None)
            return
        handle, scale = self._loaded[name]
        handles = (native.llama_adapter_lora_p_ctypes * 1)(handle)
        native.llama_set_adapters_lora(context, handles, 1, (ctypes.c_float * 1)(scale))

    def close(self) -> None:
        """Free all; contexts that use them must be closed before."""
        for handle, _ in self._loaded.values():
            native.llama_adapter_lora_free(handle)
        self._loaded = {}


def _load(model: LoadedModel, file: AdapterFile) -> Any:
    forget_problems()
    handle = native.llama_adapter_lora_init(model.handle, str(file.path).encode())
    if not handle:
        problem = first_problem().rpartition("failed to apply lora adapter: ")[2]
        raise ModelFileError(f"{file.path} is not an adapter of this model: {problem or 'it cannot be read'}.")
    if native.llama_adapter_get_alora_n_invocation_tokens(handle):
        raise ModelFileError(f"{file.path} is to be switched on within a prompt, which is not offered.")
    return handle
