"""Models of a few kilobytes with weights by chance: they say nothing sensible, but always the same."""

import string
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from tests.inference_svc.gguf_file import Value, write_gguf

MEAN, CLS, LAST, RANK = 1, 2, 3, 4
"""Pooling types, by llama.cpp's numbers."""

DIMENSIONS, CONTEXT = 32, 64
_FEED_FORWARD, _LAYERS, _HEADS = 64, 2, 4
_BUNDLED_LAYERS, _BUNDLED_DIMENSIONS = 30, 576
_RECURRENT_LAYERS, _RECURRENT_WIDTH = 12, 256
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_CHARACTERS = string.ascii_lowercase + string.digits + string.punctuation
_WORDS = ("▁the", "▁cat", "▁dog", "▁rain", "▁sun", "ing", "ed")
VOCABULARY = (*_SPECIAL, *(f"▁{each}" for each in _CHARACTERS), *_CHARACTERS, *_WORDS)

Weights = dict[str, "np.ndarray[tuple[int, ...], np.dtype[np.float32]]"]


def tiny_encoder(path: Path, *, pooling: int = MEAN, **changed: Value) -> Path:
    """Write an embedding model of BERT's architecture; `changed` metadata replaces what is usual."""
    usual = _metadata("bert") | {
        "bert.attention.layer_norm_epsilon": 1e-6,
        "bert.attention.causal": False,
        "bert.pooling_type": pooling,
        "tokenizer.ggml.token_type_count": 2,
    }
    return write_gguf(path, _changed(usual, changed), _encoder_weights())


def tiny_decoder(path: Path, *, pooling: int | None = None, template: str = "", **changed: Value) -> Path:
    """Write a model of Llama's architecture: one that talks, or with a `pooling` one that makes embeddings."""
    usual = _metadata("llama") | {"llama.attention.layer_norm_rms_epsilon": 1e-6, "tokenizer.ggml.eos_token_id": 3}
    if pooling is not None:
        usual["llama.pooling_type"] = pooling
    if template:
        usual["tokenizer.chat_template"] = template
    return write_gguf(path, _changed(usual, changed), _decoder_weights())


def small_recurrent(path: Path) -> Path:
    """Write a model of Mamba's architecture, whose memory is a state; it takes some milliseconds for a token."""
    inner, state, rank, kernel = 2 * _RECURRENT_WIDTH, 16, 16, 4
    usual = _metadata("mamba") | {
        "mamba.embedding_length": _RECURRENT_WIDTH,
        "mamba.block_count": _RECURRENT_LAYERS,
        "mamba.context_length": 4096,
        "mamba.feed_forward_length": 0,
        "mamba.attention.head_count": 0,
        "mamba.attention.layer_norm_rms_epsilon": 1e-6,
        "mamba.ssm.conv_kernel": kernel,
        "mamba.ssm.inner_size": inner,
        "mamba.ssm.state_size": state,
        "mamba.ssm.time_step_rank": rank,
        "tokenizer.ggml.eos_token_id": 3,
    }
    random = np.random.default_rng(4)

    def chance(*shape: int) -> Any:
        return (random.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)

    weights: Weights = {
        "token_embd.weight": chance(len(VOCABULARY), _RECURRENT_WIDTH),
        "output_norm.weight": np.ones(_RECURRENT_WIDTH, np.float32),
    }
    for layer in range(_RECURRENT_LAYERS):
        block = f"blk.{layer}"
        weights |= {
            f"{block}.attn_norm.weight": np.ones(_RECURRENT_WIDTH, np.float32),
            f"{block}.ssm_in.weight": chance(2 * inner, _RECURRENT_WIDTH),
            f"{block}.ssm_conv1d.weight": chance(inner, kernel),
            f"{block}.ssm_conv1d.bias": chance(inner),
            f"{block}.ssm_x.weight": chance(rank + 2 * state, inner),
            f"{block}.ssm_dt.weight": chance(inner, rank),
            f"{block}.ssm_dt.bias": chance(inner),
            f"{block}.ssm_a": -np.abs(chance(inner, state)) - np.float32(0.1),
            f"{block}.ssm_d": chance(inner),
            f"{block}.ssm_out.weight": chance(_RECURRENT_WIDTH, inner),
        }
    return write_gguf(path, usual, weights)


def tiny_adapter(path: Path, seed: int, changed: Mapping[str, Value] = MappingProxyType({})) -> Path:
    """Write a LoRA adapter of rank 2 for the bundled model, strong enough to change what it says."""
    random = np.random.default_rng(seed)
    weights: Weights = {}
    for layer in range(0, _BUNDLED_LAYERS, 3):
        weights[f"blk.{layer}.attn_output.weight.lora_a"] = _chance(random, 2, _BUNDLED_DIMENSIONS)
        weights[f"blk.{layer}.attn_output.weight.lora_b"] = _chance(random, _BUNDLED_DIMENSIONS, 2)
    usual: dict[str, Value] = {
        "general.type": "adapter",
        "general.architecture": "llama",
        "adapter.type": "lora",
        "adapter.lora.alpha": 2.0,
    }
    return write_gguf(path, {**usual, **changed}, weights)


def _changed(usual: Mapping[str, Value], changed: Mapping[str, Value]) -> dict[str, Value]:
    """Replace metadata; a double underscore in a name stands for a dot."""
    return {**usual, **{name.replace("__", "."): value for name, value in changed.items()}}


def _metadata(architecture: str) -> dict[str, Value]:
    return {
        "general.architecture": architecture,
        f"{architecture}.block_count": _LAYERS,
        f"{architecture}.context_length": CONTEXT,
        f"{architecture}.embedding_length": DIMENSIONS,
        f"{architecture}.feed_forward_length": _FEED_FORWARD,
        f"{architecture}.attention.head_count": _HEADS,
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.tokens": VOCABULARY,
        "tokenizer.ggml.token_type": [3 if each in _SPECIAL else 1 for each in VOCABULARY],
        "tokenizer.ggml.padding_token_id": 0,
        "tokenizer.ggml.unknown_token_id": 1,
        "tokenizer.ggml.bos_token_id": 2,
        "tokenizer.ggml.seperator_token_id": 3,
        "tokenizer.ggml.mask_token_id": 4,
    }


def _chance(random: np.random.Generator, *shape: int) -> Any:
    return random.normal(0, 0.3, shape).astype(np.float32)


def _encoder_weights() -> Weights:
    random = np.random.default_rng(1)
    weights: Weights = {
        "token_embd.weight": _chance(random, len(VOCABULARY), DIMENSIONS),
        "position_embd.weight": _chance(random, CONTEXT, DIMENSIONS),
        "token_types.weight": _chance(random, 2, DIMENSIONS),
        **_norm("token_embd_norm"),
    }
    for layer in range(_LAYERS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            weights[f"blk.{layer}.{name}.weight"] = _chance(random, DIMENSIONS, DIMENSIONS)
            weights[f"blk.{layer}.{name}.bias"] = _chance(random, DIMENSIONS)
        weights[f"blk.{layer}.ffn_up.weight"] = _chance(random, _FEED_FORWARD, DIMENSIONS)
        weights[f"blk.{layer}.ffn_up.bias"] = _chance(random, _FEED_FORWARD)
        weights[f"blk.{layer}.ffn_down.weight"] = _chance(random, DIMENSIONS, _FEED_FORWARD)
        weights[f"blk.{layer}.ffn_down.bias"] = _chance(random, DIMENSIONS)
        weights |= _norm(f"blk.{layer}.attn_output_norm") | _norm(f"blk.{layer}.layer_output_norm")
    return weights


def _norm(name: str) -> Weights:
    return {f"{name}.weight": np.ones(DIMENSIONS, np.float32), f"{name}.bias": np.zeros(DIMENSIONS, np.float32)}


def _decoder_weights() -> Weights:
    random = np.random.default_rng(2)
    ones = np.ones(DIMENSIONS, np.float32)
    weights: Weights = {
        "token_embd.weight": _chance(random, len(VOCABULARY), DIMENSIONS),
        "output_norm.weight": ones,
    }
    for layer in range(_LAYERS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            weights[f"blk.{layer}.{name}.weight"] = _chance(random, DIMENSIONS, DIMENSIONS)
        weights[f"blk.{layer}.ffn_gate.weight"] = _chance(random, _FEED_FORWARD, DIMENSIONS)
        weights[f"blk.{layer}.ffn_up.weight"] = _chance(random, _FEED_FORWARD, DIMENSIONS)
        weights[f"blk.{layer}.ffn_down.weight"] = _chance(random, DIMENSIONS, _FEED_FORWARD)
        weights |= {f"blk.{layer}.attn_norm.weight": ones, f"blk.{layer}.ffn_norm.weight": ones}
    return weights
