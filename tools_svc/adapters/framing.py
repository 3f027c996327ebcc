"""Lines out of a stream of bytes, in linear time and bounded memory."""

from dataclasses import dataclass

LARGEST_MESSAGE_BYTES = 4 * 1024 * 1024
"""What a tool server may say at once."""

_KEPT = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Oversized:
    """A line that was longer than allowed and was thrown away: its first and last bytes, and its length.

    `tail` is empty for one that has not ended.
    """

    head: bytes
    tail: bytes
    length: int


class Framer:
    """Cuts what it is fed into lines without their end; of a line longer than `limit` bytes it keeps only the ends."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        self._head = b""
        self._tail = b""
        self.pending = 0
        """Bytes of the line that has not ended yet."""

    def feed(self, chunk: bytes) -> list[bytes | Oversized]:
        """Give the lines that `chunk` completes."""
        if b"\n" not in chunk:
            self._add(chunk)
            return []
        first, *whole, rest = chunk.split(b"\n")
        self._add(first)
        lines = [self._take()]
        if len(chunk) <= self._limit:
            lines += whole
        else:
            for piece in whole:
                self._add(piece)
                lines.append(self._take())
        self._add(rest)
        return lines

    def abandoned(self) -> Oversized:
        """Give what is known of a line that has become too long and has not ended."""
        return Oversized(head=self._head, tail=b"", length=self.pending)

    def _add(self, piece: bytes) -> None:
        self.pending += len(piece)
        if self.pending > self._limit:
            pieces, self._pieces = [*self._pieces, piece], []
            self._head = self._head or b"".join(each[:_KEPT] for each in pieces)[:_KEPT]
            self._tail = (self._tail + b"".join(each[-_KEPT:] for each in pieces))[-_KEPT:]
        else:
            self._pieces.append(piece)

    def _take(self) -> bytes | Oversized:
        line: bytes | Oversized = b"".join(self._pieces)
        if self.pending > self._limit:
            line = Oversized(head=self._head, tail=self._tail, length=self.pending)
        self._pieces, self._head, self._tail, self.pending = [], b"", b"", 0
        return line
