"""Images and sounds inside of requests."""

import base64

from threadmesh.media_types import media_type_of, same_media_type

_MEDIA_BYTES = 3 * 1024 * 1024


def require_media(data: bytes, *, declared: str) -> None:
    """Raise `ValueError` unless the data is what it is declared to be."""
    if not data:
        raise ValueError("must be base64 of at most 3 MiB")
    found = media_type_of(data)
    if not same_media_type(declared, found):
        raise ValueError(f"declares {declared} but holds {found or 'no known format'}")


def split_data_url(url: str) -> tuple[str, bytes]:
    """Split a `data:` URL into its media type and bytes; empty for anything else."""
    head, comma, data = url.partition(",")
    head = head.lower()
    if not head.startswith("data:") or not head.endswith(";base64") or not comma:
        return "", b""
    return head.removeprefix("data:").removesuffix(";base64"), decode_base64(data)


def decode_base64(data: str) -> bytes:
    """Decode base64; empty when it is wrong or holds more than 3 MiB."""
    if len(data) > _MEDIA_BYTES * 4 // 3 + 4:
        return b""
    try:
        return base64.b64decode(data, validate=True)
    except ValueError:  # also for text that is not ASCII
        return b""
