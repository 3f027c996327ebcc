"""Sounds that cost too much are refused, and decoders get only what was checked."""

import io
import struct
import wave

import pytest

from inference_svc.domain.sound_check import checked_sound
from tests.inference_svc.tiny_media import flac_header, mp3, wav
from threadmesh.errors import InvalidArgument


def wav_of(form: bytes, samples: bytes, *, claimed: int | None = None, before: bytes = b"") -> bytes:
    """Give a WAV with a format of one's own, whose header claims a number of bytes."""
    length = len(samples) if claimed is None else claimed
    body = (
        b"WAVE" + before + b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", length) + samples
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def form(kind: int = 1, channels: int = 1, rate: int = 16_000, bits: int = 16, more: bytes = b"") -> bytes:
    return struct.pack("<HHIIHH", kind, channels, rate, 0, 0, bits) + more


def refused(media_type: str, data: bytes) -> str:
    """Give what is said about a sound that is refused."""
    with pytest.raises(InvalidArgument) as caught:
        checked_sound(media_type, data, field="messages[0].parts[0]")
    assert caught.value.field == "messages[0].parts[0]"
    return caught.value.message


def frames(data: bytes) -> int:
    with wave.open(io.BytesIO(data)) as reader:
        return int(reader.getnframes())


def test_a_wav_comes_out_with_its_samples() -> None:
    plain = checked_sound("audio/wav", wav(0.5), field="")

    with wave.open(io.BytesIO(plain)) as reader, wave.open(io.BytesIO(wav(0.5))) as original:
        assert reader.getparams() == original.getparams()
        assert reader.readframes(8_000) == original.readframes(8_000)


@pytest.mark.parametrize("claimed", [0xFFFFFFFF, 0x7FFFFFFF, 2_000])
def test_the_length_of_a_wav_is_what_is_there(claimed: int) -> None:
    assert frames(checked_sound("audio/wav", wav_of(form(), b"\1\0" * 500, claimed=claimed), field="")) == 500


def test_a_wav_of_extensible_format_and_with_other_chunks_is_read() -> None:
    extensible = form(0xFFFE, more=struct.pack("<HHIH", 22, 16, 0, 1) + bytes(14))
    listed = b"LIST" + struct.pack("<I", 3) + b"abc\0"

    assert frames(checked_sound("audio/wav", wav_of(extensible, b"\1\0" * 9, before=listed), field="")) == 9


@pytest.mark.parametrize(
    "form",
    [
        form(kind=2),
        form(kind=17, bits=4),
        form(rate=1),
        form(rate=2**32 - 1),
        form(channels=0),
        form(channels=255),
        form(bits=1),
        form(bits=0),
        b"",
    ],
)
def test_wavs_of_rare_kinds_are_refused(form: bytes) -> None:
    assert "rare kind" in refused("audio/wav", wav_of(form, b"\1\0" * 500))


def test_an_mp3_is_followed_from_frame_to_frame() -> None:
    assert checked_sound("audio/mpeg", mp3(5), field="") == mp3(5)
    assert checked_sound("audio/mpeg", b"ID3\4\0\0\0\0\1\0" + bytes(128) + mp3(5), field="") == mp3(5)


def test_what_an_mp3_claims_of_its_length_is_left_out() -> None:
    assert checked_sound("audio/mpeg", mp3(5, claimed=2**32 - 2), field="") == mp3(5)


def test_what_follows_the_last_whole_frame_is_left_out() -> None:
    assert checked_sound("audio/mpeg", mp3(5) + b"TAG".ljust(128), field="") == mp3(5)
    assert checked_sound("audio/mpeg", mp3(5)[:-1], field="") == mp3(4)


@pytest.mark.parametrize(
    "data",
    [b"\xff\xfb", b"\xff\xfb\x00\xc4" * 200, b"\xff\xfb\xfc\xc4" * 200, b"\xff\xea\x90\xc4", b"ID3\4", mp3(1)[:200]],
)
def test_what_has_no_frame_is_no_mp3(data: bytes) -> None:
    assert "damaged" in refused("audio/mpeg", data)


def test_the_length_of_a_flac_bounds_what_is_decoded() -> None:
    assert checked_sound("audio/flac", flac_header(600), field="") == flac_header(600)
    assert "600 seconds" in refused("audio/flac", flac_header(601))
    assert "damaged" in refused("audio/flac", flac_header(0))
    assert "damaged" in refused("audio/flac", b"fLaC\0")


@pytest.mark.parametrize(
    ("media_type", "data"),
    [("audio/wav", wav_of(form(rate=4_000, bits=8), bytes(2_400_001))), ("audio/mpeg", mp3(22_970))],
)
def test_sounds_of_more_than_ten_minutes_are_refused(media_type: str, data: bytes) -> None:
    assert "600 seconds" in refused(media_type, data)


@pytest.mark.parametrize("media_type", ["audio/ogg", "image/png", ""])
def test_other_formats_are_refused(media_type: str) -> None:
    assert "WAV, MP3 or FLAC" in refused(media_type, b"OggS")
