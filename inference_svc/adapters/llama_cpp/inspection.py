"""What a GGUF file says of itself, read without its weights."""

from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum
from pathlib import Path

from inference_svc.adapters.llama_cpp.library import native
from inference_svc.adapters.llama_cpp.model import LoadedModel, ModelFileError
from inference_svc.adapters.llama_cpp.options import ModelOptions
from inference_svc.adapters.llama_cpp.template import ChatTemplate

_ENCODERS = ("bert", "gemma-embedding", "t5encoder")
"""Architectures without a head that predicts tokens have one of these in their names."""


class Kind(StrEnum):
    """What a model is for."""

    CHAT = "chat"
    EMBEDDING = "embedding"


_MOST_TOKENS = {Kind.CHAT: 8_192, Kind.EMBEDDING: 2_048}
"""Longest context where nothing is configured; a step of attention that looks both ways grows with its square."""


class Pooling(IntEnum):
    """How the vectors of a text's tokens become one; the numbers are llama.cpp's `llama_pooling_type`."""

    NONE = 0
    MEAN = 1
    CLS = 2
    LAST = 3
    RANK = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What is known of a model before it is loaded.

    `trained_tokens` is the context it was trained for, 0 if the file does not say. `template` is its chat template.
    """

    architecture: str
    kind: Kind
    trained_tokens: int
    pooling: Pooling
    template: str


def inspect(path: Path) -> ModelFacts:
    """Read a file's header and vocabulary, which takes less than a second. Raises `ModelFileError`."""
    model = LoadedModel(path, vocabulary_only=True)
    try:
        return facts_of(model)
    finally:
        model.close()


def facts_of(model: LoadedModel) -> ModelFacts:
    """Give what the file of a model says. Raises `ModelFileError` for kinds of models that cannot be served."""
    architecture = model.metadata("general.architecture") or ""
    pooling = _pooling(model.metadata(f"{architecture}.pooling_type"))
    if pooling is Pooling.RANK:
        raise ModelFileError(f"{model.path} ranks texts, which is not offered; name a chat or an embedding model.")
    if native.llama_model_has_encoder(model.handle) and native.llama_model_has_decoder(model.handle):
        raise ModelFileError(f"{model.path} has an encoder and a decoder ({architecture}), which is not offered.")
    causal = model.metadata(f"{architecture}.attention.causal") != "false"
    encodes = pooling is not Pooling.NONE or not causal or any(each in architecture for each in _ENCODERS)
    return ModelFacts(
        architecture=architecture,
        kind=Kind.EMBEDDING if encodes else Kind.CHAT,
        trained_tokens=int(model.metadata(f"{architecture}.context_length") or 0),
        pooling=pooling,
        template=model.template,
    )


def context_tokens(kind: Kind, *, wanted: int, trained: int, beyond_training: bool = False) -> int:
    """Give the context of a model: what is `wanted`, 0 to choose, within what it was `trained` for, 0 if unknown."""
    if wanted and (beyond_training or not trained):
        return wanted
    return min(wanted or _MOST_TOKENS[kind], trained or _MOST_TOKENS[kind])


def check(facts: ModelFacts, options: ModelOptions, *, kind: str = "") -> ModelFacts:
    """Give the facts of a model as it is served, `kind` being what the configuration says it is.

    Raises `ModelFileError` if it cannot be served like that. Most encoders hold nothing for positions beyond their
    training, so `rope_override` does not count for them.
    """
    served = replace(facts, kind=Kind(kind or facts.kind))
    if served.kind is Kind.CHAT and facts.kind is Kind.EMBEDDING:
        raise ModelFileError("the model makes embeddings and cannot talk; leave out `kind`")
    if served.kind is Kind.EMBEDDING and options.adapters:
        raise ModelFileError("an embedding model takes no adapters")
    if options.device.gpu_layers and not native.llama_supports_gpu_offload():
        raise ModelFileError(
            "gpu_layers are wanted and llama.cpp finds no GPU; build it for yours (README, On a GPU), or set them to 0"
        )
    beyond_training = options.rope_override and served.kind is Kind.CHAT
    if options.context_tokens > facts.trained_tokens > 0 and not beyond_training:
        raise ModelFileError(
            f"{options.context_tokens} context_tokens are more than the {facts.trained_tokens} that the model was "
            "trained for; lower them, or give a chat model `rope_override = true` in the models file"
        )
    if served.kind is Kind.CHAT:
        ChatTemplate(facts.template)
    return served


def _pooling(value: str | None) -> Pooling:
    known = {str(int(each)): each for each in Pooling}
    return known.get(value or "", Pooling.NONE)
