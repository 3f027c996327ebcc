"""Refuses sounds that cost too much to decode, and gives a decoder only what was checked. Pure.

Decoders believe what a header says about the length and reserve memory for it. So the length is computed from what is
there, and what only repeats it is left out.
"""

import struct
from collections.abc import Iterator

from threadmesh.errors import InvalidArgument

MOST_SECONDS = 600
LEAST_SECONDS = 0.1

_RATES = range(4_000, 384_001)
_CHANNELS = range(1, 9)
_PCM, _FLOAT, _ALAW, _MULAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_BITS = {_PCM: (8, 16, 24, 32), _FLOAT: (32, 64), _ALAW: (8,), _MULAW: (8,)}
_KILOBITS = (
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
)
_MPEG_RATES = (44_100, 48_000, 32_000)
_TAG_REACH = 48
"""Bytes of a frame within which a tag with the length of the whole begins."""


class _Damaged(Exception):
    """The bytes are not what their format demands."""


def checked_sound(media_type: str, data: bytes, *, field: str) -> bytes:
    """Give the part of a WAV, MP3 or FLAC that may be decoded; `field` says where it stands in the request.

    Raises `InvalidArgument` for a sound that is damaged, of another format or longer than ten minutes.
    """
    if media_type not in _CHECKS:
        raise InvalidArgument("Sounds are read as WAV, MP3 or FLAC.", field=field)
    try:
        seconds, plain = _CHECKS[media_type](data)
    except (_Damaged, struct.error, IndexError):
        raise InvalidArgument("The sound is damaged, cut short or of a rare kind.", field=field) from None
    if seconds > MOST_SECONDS:
        raise InvalidArgument(f"The sound is longer than {MOST_SECONDS} seconds.", field=field)
    return plain


def _wav(data: bytes) -> tuple[float, bytes]:
    """Read a WAV's samples and write a header of our own before them."""
    chunks = dict(_riff_chunks(data))
    form, sound = chunks.get(b"fmt ", b""), chunks.get(b"data", b"")
    kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", form)
    if kind == _EXTENSIBLE:
        (kind,) = struct.unpack_from("<H", form, 24)
    if bits not in _BITS.get(kind, ()) or rate not in _RATES or channels not in _CHANNELS:
        raise _Damaged
    frame = channels * bits // 8
    sound = sound[: len(sound) // frame * frame]
    header = struct.pack("<HHIIHH", kind, channels, rate, rate * frame, frame, bits)
    body = b"WAVEfmt " + struct.pack("<I", len(header)) + header + b"data" + struct.pack("<I", len(sound)) + sound
    return len(sound) / frame / rate, b"RIFF" + struct.pack("<I", len(body)) + body


def _riff_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Give the chunks of a RIFF file up to its samples, whose length may be unknown to who wrote it."""
    place = 12
    while place + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, place)
        yield name, data[place + 8 : place + 8 + length]
        if name == b"data":
            return
        place += 8 + length + length % 2


def _mp3(data: bytes) -> tuple[float, bytes]:
    """Follow an MP3 from frame to frame, without a first frame that only tells the length."""
    begin = _after_id3(data)
    while b"Xing" in data[begin : begin + _TAG_REACH] or b"Info" in data[begin : begin + _TAG_REACH]:
        begin += _mp3_frame(data, begin)[0]
    place, seconds = begin, 0.0
    while place + 4 <= len(data) and data[place] == 0xFF:
        length, lasting = _mp3_frame(data, place)
        if place + length > len(data):
            break
        place, seconds = place + length, seconds + lasting
    if place == begin:
        raise _Damaged
    return seconds, data[begin:place]


def _after_id3(data: bytes) -> int:
    if not data.startswith(b"ID3"):
        return 0
    size = 0
    for byte in data[6:10]:
        size = size << 7 | byte & 0x7F
    return 10 + size + (10 if data[5] & 0x10 else 0)


def _mp3_frame(data: bytes, place: int) -> tuple[int, float]:
    """Give bytes and seconds of the frame of layer III that begins here (ISO 11172-3, 2.4.2.3 and 13818-3)."""
    sync, second, third, _ = struct.unpack_from("4B", data, place)
    version, kilobits, rate = second >> 3 & 3, third >> 4, third >> 2 & 3
    if sync != 0xFF or second & 0xE6 != 0xE2 or version == 1 or kilobits in (0, 15) or rate == 3:
        raise _Damaged
    first = version == 3
    hertz = _MPEG_RATES[rate] // {3: 1, 2: 2, 0: 4}[version]
    samples = 1152 if first else 576
    return samples * 125 * _KILOBITS[first][kilobits] // hertz + (third >> 1 & 1), samples / hertz


def _flac(data: bytes) -> tuple[float, bytes]:
    """Read the length that a FLAC declares, which bounds what is decoded (RFC 9639, 8.2)."""
    kind = data[4] & 0x7F
    packed = int.from_bytes(data[18:26])
    rate, samples = packed >> 44, packed & (1 << 36) - 1
    if kind != 0 or len(data) < 42 or rate not in _RATES or not samples:
        raise _Damaged
    return samples / rate, data


_CHECKS = {"audio/wav": _wav, "audio/mpeg": _mp3, "audio/flac": _flac}
