"""Projectors of a few kilobytes with random weights, for models that see or hear; they mean nothing and compute fast.

Keys and tensors are those that clip.cpp of llama.cpp asks for: `gemma3` sees an image as 16 tokens that attend to each
other, `mlp` (LLaVA's) as 64 tokens in order, `qwen2vl_merger` as a token for every 16 times 16 pixels, at positions of
several dimensions; `ultravox` hears every 30 seconds of sound as 60 tokens.
"""

from pathlib import Path

import gguf
import numpy as np

WIDTH = 576
"""The embedding length of the bundled model."""

_EMBED, _HEADS, _FEED, _SIDE, _PATCH, _MELS, _FRAMES, _STACK = 32, 2, 64, 64, 8, 16, 1500, 25


class _Writer:
    """Writes tensors that are the same in every run."""

    def __init__(self, path: Path) -> None:
        self.file = gguf.GGUFWriter(path, "clip")
        self._random = np.random.default_rng(7)

    def tensor(self, name: str, *shape: int, half: bool = False) -> None:
        """Add a tensor; its dimensions are in numpy's order, the opposite of ggml's."""
        values = self._random.standard_normal(shape) / np.sqrt(shape[-1])
        self.file.add_tensor(name, values.astype(np.float16 if half else np.float32))

    def norm(self, name: str, size: int) -> None:
        self.file.add_tensor(f"{name}.weight", np.ones(size, dtype=np.float32))
        self.file.add_tensor(f"{name}.bias", np.zeros(size, dtype=np.float32))

    def encoder(self, unit: str, prefix: str, *, layers: int) -> None:
        """Add what every encoder has: `unit` in keys, `prefix` in tensors."""
        self.file.add_uint32(f"clip.{unit}.embedding_length", _EMBED)
        self.file.add_uint32(f"clip.{unit}.attention.head_count", _HEADS)
        self.file.add_uint32(f"clip.{unit}.feed_forward_length", _FEED)
        self.file.add_uint32(f"clip.{unit}.block_count", layers)
        self.file.add_uint32(f"clip.{unit}.projection_dim", WIDTH)
        self.file.add_float32(f"clip.{unit}.attention.layer_norm_epsilon", 1e-5)
        for layer in range(layers):
            block = f"{prefix}.blk.{layer}"
            for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
                self.tensor(f"{block}.{name}.weight", _EMBED, _EMBED)
            for name in ("attn_q", "attn_v") if prefix == "a" else ("attn_q", "attn_k", "attn_v"):
                self.tensor(f"{block}.{name}.bias", _EMBED)
            self.norm(f"{block}.ln1", _EMBED)
            self.norm(f"{block}.ln2", _EMBED)
            self.tensor(f"{block}.ffn_up.weight", _FEED, _EMBED)
            self.tensor(f"{block}.ffn_down.weight", _EMBED, _FEED)

    def close(self) -> None:
        self.file.write_header_to_file()
        self.file.write_kv_data_to_file()
        self.file.write_tensors_to_file()
        self.file.close()


def _vision(writer: _Writer, projector: str, *, width: int) -> None:
    writer.file.add_bool("clip.has_vision_encoder", True)
    writer.file.add_string("clip.vision.projector_type", projector)
    writer.file.add_uint32("clip.vision.image_size", _SIDE)
    writer.file.add_uint32("clip.vision.patch_size", _PATCH)
    writer.file.add_array("clip.vision.image_mean", [0.5, 0.5, 0.5])
    writer.file.add_array("clip.vision.image_std", [0.5, 0.5, 0.5])
    writer.file.add_uint32("clip.vision.projector.scale_factor", 2)
    writer.encoder("vision", "v", layers=2)
    writer.tensor("v.patch_embd.weight", _EMBED, 3, _PATCH, _PATCH)
    writer.tensor("v.position_embd.weight", (_SIDE // _PATCH) ** 2, _EMBED)
    if projector == "gemma3":
        writer.tensor("mm.input_projection.weight", _EMBED, width)
        writer.file.add_tensor("mm.soft_emb_norm.weight", np.ones(_EMBED, dtype=np.float32))
    else:
        patches = 1
        if projector == "qwen2vl_merger":
            patches = 4
            writer.tensor("v.patch_embd.weight.1", _EMBED, 3, _PATCH, _PATCH)
        for number, inputs, outputs in ((0, _EMBED * patches, _FEED), (2, _FEED, width)):
            writer.tensor(f"mm.{number}.weight", outputs, inputs)
            writer.tensor(f"mm.{number}.bias", outputs)


def _audio(writer: _Writer, *, width: int) -> None:
    writer.file.add_bool("clip.has_audio_encoder", True)
    writer.file.add_string("clip.audio.projector_type", "ultravox")
    writer.file.add_uint32("clip.audio.num_mel_bins", _MELS)
    writer.file.add_uint32("clip.audio.projector.stack_factor", _STACK)
    writer.encoder("audio", "a", layers=1)
    writer.tensor("a.position_embd.weight", _FRAMES, _EMBED)
    for number, inputs in ((1, _MELS), (2, _EMBED)):
        writer.tensor(f"a.conv1d.{number}.weight", _EMBED, inputs, 3, half=True)
        writer.tensor(f"a.conv1d.{number}.bias", _EMBED, 1)
    writer.file.add_tensor("mm.a.norm_pre.weight", np.ones(_EMBED * _STACK, dtype=np.float32))
    writer.tensor("mm.a.mlp.1.weight", 2 * _FEED, _EMBED * _STACK)
    writer.file.add_tensor("mm.a.norm_mid.weight", np.ones(_FEED, dtype=np.float32))
    writer.tensor("mm.a.mlp.2.weight", width, _FEED)


def write_projector(path: Path, *, sees: str = "", hears: bool = False, width: int = WIDTH) -> Path:
    """Write a projector that sees by the architecture `sees` and hears if asked; gives its path."""
    writer = _Writer(path)
    writer.file.add_bool("clip.use_gelu", True)
    if sees:
        _vision(writer, sees, width=width)
    if hears:
        _audio(writer, width=width)
    writer.close()
    return path
