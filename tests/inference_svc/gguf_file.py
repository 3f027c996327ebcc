"""Writes GGUF files, version 3, of 32-bit floats; ggml's docs/gguf.md has the format."""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

Value = str | bool | int | float | Sequence[str] | Sequence[int]
Tensors = Mapping[str, "np.ndarray[tuple[int, ...], np.dtype[np.float32]]"]

_ALIGNMENT = 32
_F32 = 0
_UINT16, _UINT32, _INT32, _FLOAT32, _BOOL, _STRING, _ARRAY = 2, 4, 5, 6, 7, 8, 9


class Short(int):
    """An integer of 16 bits."""


def write_gguf(path: Path, metadata: Mapping[str, Value], tensors: Tensors) -> Path:
    """Write a file; tensors have their rows first, as numpy and PyTorch do."""
    header = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(metadata))
    header += b"".join(_string(key) + _typed(value) for key, value in metadata.items())
    data = b""
    for name, tensor in tensors.items():
        dimensions = struct.pack(f"<I{tensor.ndim}Q", tensor.ndim, *reversed(tensor.shape))
        header += _string(name) + dimensions + struct.pack("<IQ", _F32, len(data))
        data += _padded(tensor.astype("<f4").tobytes())
    path.write_bytes(_padded(header) + data)
    return path


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % _ALIGNMENT)


def _string(text: str) -> bytes:
    content = text.encode()
    return struct.pack("<Q", len(content)) + content


def _typed(value: Value) -> bytes:
    match value:
        case bool():
            return struct.pack("<I?", _BOOL, value)
        case Short():
            return struct.pack("<IH", _UINT16, value)
        case int():
            return struct.pack("<II", _UINT32, value)
        case float():
            return struct.pack("<If", _FLOAT32, value)
        case str():
            return struct.pack("<I", _STRING) + _string(value)
        case _:
            kind = _STRING if isinstance(value[0], str) else _INT32
            content = b"".join(_string(each) if isinstance(each, str) else struct.pack("<i", each) for each in value)
            return struct.pack("<IIQ", _ARRAY, kind, len(value)) + content
