"""A stream of chat completion chunks, read after it has ended."""

import json
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.failures import RequestFailed
from benchmarks.load.body import BodyReader
from benchmarks.load.http import Exchange
from threadmesh.cli.sse import EventReader

_DONE = "[DONE]"
_OK = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One streamed answer. Times are in seconds since its request was sent.

    `arrivals` holds the time of each chunk with content; some servers put several tokens into one chunk. `tokens` is
    what the server counted, or the number of chunks where it counts nothing.
    """

    arrivals: tuple[float, ...] = ()
    seconds: float = 0.0
    tokens: int = 0
    text: str = ""
    finish_reason: str = ""

    @property
    def first_token(self) -> float:
        """Time to first token."""
        return self.arrivals[0]


def read_answer(exchange: Exchange) -> Answer:
    """Read what a server sent. Raises `RequestFailed` unless that is a whole stream with content in it."""
    body, events = BodyReader(), EventReader()
    answer = Answer()
    done = False
    for arrived, piece in exchange.pieces:
        for event in events.feed(body.feed(piece)):
            done = done or event.data == _DONE
            if not done:
                answer = _with(answer, _chunk(event.data), arrived - exchange.sent)
    if body.status != _OK or not done or not answer.arrivals:
        raise RequestFailed(f"the answer was no whole stream: {_excerpt(exchange)}")
    tokens = answer.tokens or len(answer.arrivals)
    return replace(answer, tokens=tokens, seconds=exchange.pieces[-1][0] - exchange.sent)


def _chunk(data: str) -> dict[str, Any]:
    chunk: dict[str, Any] = json.loads(data)
    if "error" in chunk:
        raise RequestFailed(f"the stream ended with an error: {data[:300]}")
    return chunk


def _with(answer: Answer, chunk: dict[str, Any], seconds: float) -> Answer:
    choice = (chunk.get("choices") or [{}])[0]
    content = (choice.get("delta") or {}).get("content") or ""
    return replace(
        answer,
        text=answer.text + content,
        arrivals=(*answer.arrivals, seconds) if content else answer.arrivals,
        finish_reason=choice.get("finish_reason") or answer.finish_reason,
        tokens=(chunk.get("usage") or {}).get("completion_tokens", answer.tokens),
    )


def _excerpt(exchange: Exchange) -> str:
    return b"".join(piece for _, piece in exchange.pieces)[-300:].decode("utf-8", errors="replace") or "nothing"
