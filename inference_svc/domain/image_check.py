"""Refuses images that cost too much to decode, before a decoder written in C sees them. Pure.

What a header says is believed only to refuse; a PNG is inflated here in small pieces, because a few kilobytes of it can
hold gigabytes.
"""

import struct
import zlib
from collections.abc import Iterator

from threadmesh.errors import InvalidArgument

MOST_PIXELS = 16_000_000
MOST_BYTES = 64_000_000
"""Bytes of an image as its file holds them once inflated."""

_MOST_RATIO = 200
_MOST_SCANS = 64
_AT_ONCE = 1024 * 1024
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PNG_DEPTHS = (1, 2, 4, 8, 16)
_JPEG_FRAMES = (0xC0, 0xC1, 0xC2)
_JPEG_SCAN, _JPEG_END = b"\xff\xda", b"\xff\xd9"


class _Damaged(Exception):
    """The bytes are not what their format demands."""


def check_image(media_type: str, data: bytes, *, field: str) -> None:
    """Return if a PNG, JPEG, GIF or BMP may be decoded; `field` says where it stands in the request.

    Raises `InvalidArgument` for one that is damaged, of another format, has more than 16 million pixels, has sides
    that differ more than 200 times, or takes more work to decode than its size explains.
    """
    if media_type not in _SIZES:
        raise InvalidArgument("Images are read as PNG, JPEG, GIF or BMP.", field=field)
    try:
        width, height = _SIZES[media_type](data)
        if width * height > MOST_PIXELS:
            raise InvalidArgument(f"The image has more than {MOST_PIXELS // 1_000_000} million pixels.", field=field)
        if not 0 < max(width, height) <= _MOST_RATIO * min(width, height):
            raise InvalidArgument(f"The image's sides differ more than {_MOST_RATIO} times.", field=field)
        if media_type in _CONTENTS:
            _CONTENTS[media_type](data)
    except (_Damaged, struct.error, IndexError, zlib.error):
        raise InvalidArgument("The image is damaged or cut short.", field=field) from None


def _png_size(data: bytes) -> tuple[int, int]:
    length, name, width, height = struct.unpack_from(">I4sII", data, 8)
    if name != b"IHDR" or length != 13:
        raise _Damaged
    return width, height


def _check_png(data: bytes) -> None:
    """Inflate a PNG's pixels to see that they are no fewer and no more than its size needs."""
    width, height, depth, colours, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    if depth not in _PNG_DEPTHS or colours not in _PNG_CHANNELS:
        raise _Damaged
    needed = ((width * _PNG_CHANNELS[colours] * depth + 7) // 8 + 1) * height
    allowed = 2 * needed + 64 if interlaced else needed  # each of the seven passes has rows of its own
    if needed > MOST_BYTES or not needed <= _inflated(_png_pixels(data), allowed) <= allowed:
        raise _Damaged


def _png_pixels(data: bytes) -> Iterator[bytes]:
    place = 8
    while True:
        length, name = struct.unpack_from(">I4s", data, place)
        if name == b"IEND":
            return
        if name == b"IDAT":
            yield data[place + 8 : place + 8 + length]
        place += length + 12


def _inflated(pieces: Iterator[bytes], most: int) -> int:
    """Count the bytes that a compressed stream holds; stops a little above `most`."""
    inflater = zlib.decompressobj()
    size = 0
    for piece in pieces:
        left = piece
        while left and size <= most:
            size += len(inflater.decompress(left, _AT_ONCE))
            left = inflater.unconsumed_tail
    return size


def _jpeg_size(data: bytes) -> tuple[int, int]:
    place = 2
    while True:
        begin, marker, length = struct.unpack_from(">BBH", data, place)
        if begin != 0xFF or length < 2:
            raise _Damaged
        if marker in _JPEG_FRAMES:
            _, height, width = struct.unpack_from(">BHH", data, place + 4)
            return width, height
        place += 2 + length


def _check_jpeg(data: bytes) -> None:
    """See that a JPEG ends, and does not make its decoder go over the whole image again and again."""
    scans = data.count(_JPEG_SCAN)
    if not 0 < scans <= _MOST_SCANS or data.rfind(_JPEG_END) < data.rfind(_JPEG_SCAN):
        raise _Damaged


def _gif_size(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from("<HH", data, 6)
    return width, height


def _bmp_size(data: bytes) -> tuple[int, int]:
    (header,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if header == 12 else "<ii", data, 18)
    return abs(width), abs(height)


def _check_bmp(data: bytes) -> None:
    """See that a BMP holds all its rows."""
    pixels, header = struct.unpack_from("<II", data, 10)
    (depth,) = struct.unpack_from("<H", data, 24 if header == 12 else 28)
    width, height = _bmp_size(data)
    if len(data) < pixels + (width * depth + 31) // 32 * 4 * height:
        raise _Damaged


_SIZES = {"image/png": _png_size, "image/jpeg": _jpeg_size, "image/gif": _gif_size, "image/bmp": _bmp_size}
_CONTENTS = {"image/png": _check_png, "image/jpeg": _check_jpeg, "image/bmp": _check_bmp}
