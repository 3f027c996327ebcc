"""Server-sent events out of a stream of bytes, in linear time and bounded memory."""

from collections.abc import Iterator
from dataclasses import dataclass

from tools_svc.adapters.framing import Framer, Oversized

_KEPT = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerEvent:
    """An event of a kind (`message` where none is said); its data, or what is left of data that was too long."""

    kind: str
    data: bytes | Oversized


class EventFramer:
    """Cuts what it is fed into events; of data longer than `limit` bytes it keeps only the ends.

    https://html.spec.whatwg.org/multipage/server-sent-events.html, but a lone CR ends no line.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lines = Framer(limit)
        self._kind = ""
        self._data: list[bytes] = []
        self._size = 0
        self._oversized: Oversized | None = None

    @property
    def pending(self) -> int:
        """Bytes of the data that has not ended yet, and of the line that has not."""
        return self._size + self._lines.pending

    def abandoned(self) -> Oversized:
        """Give what is known of an event that has become too long and has not ended."""
        line = self._lines.abandoned()
        return Oversized(head=self._first(line.head.removeprefix(b"data:")), tail=b"", length=self.pending)

    def feed(self, chunk: bytes) -> Iterator[ServerEvent]:
        """Give the events that `chunk` completes."""
        for line in self._lines.feed(chunk):
            if isinstance(line, Oversized):
                self._field(line.head, cut=line)
            elif text := line.removesuffix(b"\r"):
                self._field(text)
            elif (event := self._take()) is not None:
                yield event

    def _field(self, line: bytes, cut: Oversized | None = None) -> None:
        """Take a line, or of one that was `cut` its head."""
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"event":
            self._kind = value[:_KEPT].decode(errors="replace")
        elif name == b"data":
            size = (cut.length if cut else len(line)) + 1
            if cut or self._size + size > self._limit:
                self._lose(value, end=cut.tail if cut else value, size=size)
            else:
                self._data.append(value)
                self._size += size

    def _lose(self, begin: bytes, *, end: bytes, size: int) -> None:
        """Throw the data away that becomes too long by a line of this size, all but its ends."""
        self._size += size
        before = self._oversized.tail if self._oversized else b"\n".join(self._data)
        tail = b"\n".join([before, end])[-_KEPT:]
        self._oversized = Oversized(head=self._first(begin), tail=tail, length=self._size)
        self._data.clear()

    def _first(self, line: bytes) -> bytes:
        """Give the first bytes of the data that go on with this line."""
        return self._oversized.head if self._oversized else b"\n".join([*self._data, line])[:_KEPT]

    def _take(self) -> ServerEvent | None:
        data = self._oversized or b"\n".join(self._data)
        event = ServerEvent(kind=self._kind or "message", data=data) if data else None
        self._kind, self._data, self._size, self._oversized = "", [], 0, None
        return event
