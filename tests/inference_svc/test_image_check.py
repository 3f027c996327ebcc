"""Images that cost too much are refused before they are decoded."""

import struct

import pytest

from inference_svc.domain.image_check import check_image
from tests.inference_svc.tiny_media import bmp, gif, png, png_of
from threadmesh.errors import InvalidArgument

JPEG_SCAN = b"\xff\xda\0\2"


def jpeg(width: int, height: int, *, scans: int = 1, end: bytes = b"\xff\xd9") -> bytes:
    """Give the markers of a JPEG, without pixels."""
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 8, 8, height, width, 1)
    return b"\xff\xd8\xff\xe0\0\4\xff\xda" + frame + JPEG_SCAN * scans + end


def refused(media_type: str, data: bytes) -> str:
    """Give what is said about an image that is refused."""
    with pytest.raises(InvalidArgument) as caught:
        check_image(media_type, data, field="messages[0].parts[0]")
    assert caught.value.field == "messages[0].parts[0]"
    return caught.value.message


@pytest.mark.parametrize(
    ("media_type", "data"),
    [
        ("image/png", png(30, 20)),
        ("image/png", png(1, 1)),
        ("image/png", png_of(9, 9, b"\0" * (9 * 40), interlaced=1)),
        ("image/png", png_of(3, 2, b"\0\0" * 2, depth=1, colours=0)),
        ("image/jpeg", jpeg(4_000, 4_000)),
        ("image/jpeg", jpeg(30, 20, scans=20)),
        ("image/gif", gif()),
        ("image/bmp", bmp(30, 20)),
    ],
)
def test_images_of_usual_size_pass(media_type: str, data: bytes) -> None:
    check_image(media_type, data, field="")


@pytest.mark.parametrize(
    ("media_type", "data"),
    [
        ("image/png", png_of(4_001, 4_000, b"")),
        ("image/png", png_of(2**31 - 1, 2**31 - 1, b"")),
        ("image/jpeg", jpeg(65_535, 65_535)),
        ("image/gif", b"GIF89a\xff\xff\xff\xff"),
        ("image/bmp", b"BM" + struct.pack("<IHHIIii", 0, 0, 0, 54, 40, 2**30, -(2**31))),
    ],
)
def test_images_of_too_many_pixels_are_refused(media_type: str, data: bytes) -> None:
    assert "16 million pixels" in refused(media_type, data)


def test_a_png_that_holds_more_than_its_size_is_refused_without_inflating_it_all() -> None:
    bomb = png_of(10, 10, bytes(60_000_000))

    assert len(bomb) < 100_000
    assert "damaged" in refused("image/png", bomb)


def test_a_png_of_few_pixels_and_many_bytes_is_refused() -> None:
    assert "damaged" in refused("image/png", png_of(4_000, 4_000, b"", depth=16, colours=6))


@pytest.mark.parametrize("sides", [(201, 1), (1, 201), (0, 5), (5, 0)])
def test_images_like_a_thread_are_refused(sides: tuple[int, int]) -> None:
    assert "sides" in refused("image/png", png(*sides))


@pytest.mark.parametrize(
    ("media_type", "data"),
    [
        ("image/png", png(30, 20)[:-20]),
        ("image/png", png(30, 20)[:20]),
        ("image/png", png_of(30, 20, b"\0" * 30)),
        ("image/png", png_of(30, 20, b"\0" * 6_000, colours=5)),
        ("image/png", b"\x89PNG\r\n\x1a\n"),
        ("image/jpeg", jpeg(30, 20, scans=0).replace(b"\xff\xda", b"\0\0")),
        ("image/jpeg", jpeg(30, 20, scans=65)),
        ("image/jpeg", jpeg(30, 20, end=b"")),
        ("image/jpeg", b"\xff\xd8\xff"),
        ("image/jpeg", b"\xff\xd8\xff\xe0\0\0" + JPEG_SCAN),
        ("image/gif", b"GIF89a"),
        ("image/bmp", bmp(30, 20)[:-1]),
        ("image/bmp", b"BM"),
    ],
)
def test_broken_images_are_refused(media_type: str, data: bytes) -> None:
    assert "damaged" in refused(media_type, data)


@pytest.mark.parametrize("media_type", ["image/webp", "audio/wav", ""])
def test_other_formats_are_refused(media_type: str) -> None:
    assert "PNG, JPEG, GIF or BMP" in refused(media_type, b"RIFF")


@pytest.mark.parametrize("cut", range(0, 90, 7))
def test_no_beginning_of_an_image_is_more_than_refused(cut: int) -> None:
    for media_type, data in (("image/png", png(9, 9)), ("image/jpeg", jpeg(9, 9)), ("image/bmp", bmp(9, 9))):
        if cut < len(data) - 1:
            refused(media_type, data[:cut])
