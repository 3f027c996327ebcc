"""Which format an image or a sound has, told by its first bytes: what a request declares may be wrong or a lie."""

_BEGINNINGS = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"fLaC", "audio/flac"),
    (b"ID3", "audio/mpeg"),
)
_RIFF = {b"WAVE": "audio/wav", b"WEBP": "image/webp"}
_OTHER_NAMES = {
    "image/jpg": "image/jpeg",
    "audio/mp3": "audio/mpeg",
    "audio/wave": "audio/wav",
    "audio/x-wav": "audio/wav",
    "audio/vnd.wave": "audio/wav",
    "audio/x-flac": "audio/flac",
}


def media_type_of(data: bytes) -> str:
    """Give the MIME type of an image (PNG, JPEG, GIF, BMP, WebP) or a sound (WAV, MP3, FLAC); empty for other bytes."""
    for beginning, media_type in _BEGINNINGS:
        if data.startswith(beginning):
            return media_type
    if data.startswith(b"RIFF"):
        return _RIFF.get(data[8:12], "")
    return "audio/mpeg" if _begins_mpeg_frame(data) else ""


def same_media_type(declared: str, found: str) -> bool:
    """Whether a declared MIME type names the one that was found, by any of its names and in any case."""
    declared = declared.strip().lower()
    return bool(found) and _OTHER_NAMES.get(declared, declared) == found


def _begins_mpeg_frame(data: bytes) -> bool:
    """Whether a frame of MPEG audio begins here, of a version and a layer that exist (ISO 11172-3, 2.4.2.3)."""
    return len(data) > 1 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0 and data[1] & 0x18 != 0x08 and bool(data[1] & 6)
