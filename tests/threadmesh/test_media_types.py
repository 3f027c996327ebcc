"""Formats are told by what is there."""

import pytest

from threadmesh.media_types import media_type_of, same_media_type


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (b"\x89PNG\r\n\x1a\n\0", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"BM\0\0", "image/bmp"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"RIFF\0\0\0\0WAVEfmt ", "audio/wav"),
        (b"fLaC", "audio/flac"),
        (b"ID3\x04", "audio/mpeg"),
        (b"\xff\xfb\x90\xc4", "audio/mpeg"),
        (b"\xff\xf1\x50\x80", ""),  # AAC
        (b"<!doctype html>", ""),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", ""),
        (b"\xff", ""),
        (b"", ""),
    ],
)
def test_the_first_bytes_tell_the_format(data: bytes, media_type: str) -> None:
    assert media_type_of(data) == media_type


@pytest.mark.parametrize(
    ("declared", "found", "same"),
    [
        ("image/png", "image/png", True),
        ("IMAGE/PNG ", "image/png", True),
        ("image/jpg", "image/jpeg", True),
        ("audio/mp3", "audio/mpeg", True),
        ("audio/x-wav", "audio/wav", True),
        ("image/png", "image/jpeg", False),
        ("text/html", "", False),
        ("", "", False),
    ],
)
def test_a_declared_type_is_compared_by_all_its_names(declared: str, found: str, same: bool) -> None:
    assert same_media_type(declared, found) is same
