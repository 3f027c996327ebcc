"""Language models of some kilobytes with random weights; they mean nothing and compute fast."""

from pathlib import Path

import gguf
import numpy as np

WIDTH = 64
_HEADS, _FEED, _LAYERS = 2, 64, 2
_CONTROL = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>")


def write_model(path: Path, *, architecture: str = "qwen2") -> Path:
    """Write a model with one token for each byte and those that begin and end turns and images; gives its path.

    Positions of `qwen2vl` have several dimensions (M-RoPE), those of `qwen2` one.
    """
    file = gguf.GGUFWriter(path, architecture)
    file.add_block_count(_LAYERS)
    file.add_context_length(512)
    file.add_embedding_length(WIDTH)
    file.add_feed_forward_length(_FEED)
    file.add_head_count(_HEADS)
    file.add_head_count_kv(_HEADS)
    file.add_layer_norm_rms_eps(1e-6)
    if architecture == "qwen2vl":
        file.add_rope_dimension_sections([8, 4, 4, 0])
    _add_vocabulary(file)
    _add_tensors(file)
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
    return path


def _add_vocabulary(file: gguf.GGUFWriter) -> None:
    normal = [chr(code) for code in range(256, 512)] + [chr(code) for code in range(33, 127)] + ["ab"]
    file.add_tokenizer_model("gpt2")
    file.add_tokenizer_pre("qwen2")
    file.add_token_list([*normal, *_CONTROL])
    file.add_token_types([gguf.TokenType.NORMAL] * len(normal) + [gguf.TokenType.CONTROL] * len(_CONTROL))
    file.add_token_merges(["a b"])
    file.add_eos_token_id(len(normal) + 1)
    file.add_add_bos_token(False)
    file.add_vocab_size(len(normal) + len(_CONTROL))


def _add_tensors(file: gguf.GGUFWriter) -> None:
    random = np.random.default_rng(7)

    def add(name: str, *shape: int) -> None:
        file.add_tensor(name, (random.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32))

    vocabulary = 256 + 94 + 1 + len(_CONTROL)
    add("token_embd.weight", vocabulary, WIDTH)
    file.add_tensor("output_norm.weight", np.ones(WIDTH, dtype=np.float32))
    for layer in range(_LAYERS):
        for name in ("attn_norm", "ffn_norm"):
            file.add_tensor(f"blk.{layer}.{name}.weight", np.ones(WIDTH, dtype=np.float32))
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            add(f"blk.{layer}.{name}.weight", WIDTH, WIDTH)
        for name in ("attn_q", "attn_k", "attn_v"):
            add(f"blk.{layer}.{name}.bias", WIDTH)
        add(f"blk.{layer}.ffn_gate.weight", _FEED, WIDTH)
        add(f"blk.{layer}.ffn_up.weight", _FEED, WIDTH)
        add(f"blk.{layer}.ffn_down.weight", WIDTH, _FEED)
