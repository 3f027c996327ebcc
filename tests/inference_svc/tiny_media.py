"""Small images and sounds, written byte by byte."""

import io
import math
import struct
import wave
import zlib
from collections.abc import Callable

Pixel = Callable[[int, int], tuple[int, int, int]]


def png(width: int, height: int, colour: Pixel = lambda x, y: (x * 3 % 256, y * 5 % 256, 99)) -> bytes:
    """Give a picture as PNG."""
    rows = (b"\0" + b"".join(bytes(colour(x, y)) for x in range(width)) for y in range(height))
    return png_of(width, height, b"".join(rows))


def png_of(width: int, height: int, rows: bytes, *, depth: int = 8, colours: int = 2, interlaced: int = 0) -> bytes:
    """Give a PNG that claims a size and holds these rows, whether they fit or not."""
    header = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, interlaced)
    chunks = (_chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(rows, 9)), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def bmp(width: int, height: int) -> bytes:
    """Give a grey picture as BMP."""
    pixels = b"\x80" * ((width * 24 + 31) // 32 * 4 * height)
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, len(pixels), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(pixels), 0, 0, 54) + header + pixels


def gif() -> bytes:
    """Give one white pixel as GIF."""
    return bytes.fromhex("47494638396101000100800000ffffff0000002c00000000010001000002024401003b")


def wav(seconds: float, *, rate: int = 16_000, hertz: float = 440.0) -> bytes:
    """Give a tone as WAV, 16 bits, one channel."""
    samples = (int(9_000 * math.sin(2 * math.pi * hertz * n / rate)) for n in range(int(seconds * rate)))
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(b"".join(struct.pack("<h", sample) for sample in samples))
    return file.getvalue()


def mp3(frames: int, *, claimed: int | None = None) -> bytes:
    """Give silence as MP3 of 44.1 kHz, about 26 milliseconds a frame, with a tag that claims a number of frames."""
    silent = b"\xff\xfb\x90\xc4".ljust(417, b"\0")
    tag = b"" if claimed is None else b"\0" * 17 + b"Xing" + struct.pack(">II", 1, claimed)
    first = b"" if claimed is None else (b"\xff\xfb\x90\xc4" + tag).ljust(417, b"\0")
    return first + silent * frames


def flac_header(seconds: int, *, rate: int = 16_000) -> bytes:
    """Give the beginning of a FLAC that claims a length."""
    packed = (rate << 44 | 15 << 36 | seconds * rate).to_bytes(8)
    return b"fLaC\x80" + (34).to_bytes(3) + struct.pack(">HH", 4096, 4096) + b"\0" * 6 + packed + b"\0" * 16
