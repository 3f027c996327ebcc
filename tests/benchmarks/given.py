"""Answers as servers stream them."""

import json
from collections.abc import Sequence
from typing import Any

from benchmarks.load.http import Exchange

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"


def chunk(content: str | None = None, *, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    delta = {} if content is None else {"content": content}
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **fields}


def stream(*chunks: dict[str, Any], done: bool = True) -> list[bytes]:
    """Give the blocks of a stream."""
    blocks = [f"data: {json.dumps(each)}\n\n".encode() for each in chunks]
    return [*blocks, b"data: [DONE]\n\n"] if done else blocks


def chunked(blocks: Sequence[bytes]) -> bytes:
    """Frame a body as RFC 9112, section 7.1 says."""
    framed = b"".join(b"%x\r\n%b\r\n" % (len(block), block) for block in blocks)
    return HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + framed + b"0\r\n\r\n"


def received(*pieces: bytes, sent: float = 100.0) -> Exchange:
    """Let one piece arrive each second."""
    return Exchange(sent=sent, pieces=tuple((sent + 1 + number, piece) for number, piece in enumerate(pieces)))
