"""Finds the body in the bytes of an HTTP/1.1 answer (RFC 9112), wherever the network cut them."""

_HEAD_END = b"\r\n\r\n"
_LINE_END = b"\r\n"


class BodyReader:
    """Takes an answer in pieces and gives what of its body is in each.

    `status` is 0 until the whole head was read. A body ends with its last chunk, or with the connection.
    """

    def __init__(self) -> None:
        self.status = 0
        self._rest = b""
        self._chunked = False
        self._left = 0

    def feed(self, piece: bytes) -> bytes:
        """Give the part of the body that is complete with this piece."""
        self._rest += piece
        if not self.status and not self._read_head():
            return b""
        if self._chunked:
            return self._read_chunks()
        body, self._rest = self._rest, b""
        return body

    def _read_head(self) -> bool:
        head, end, rest = self._rest.partition(_HEAD_END)
        if not end:
            return False
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split(" ")[1])
        self._chunked = any(line.lower().replace(" ", "") == "transfer-encoding:chunked" for line in lines)
        self._rest = rest
        return True

    def _read_chunks(self) -> bytes:
        body = b""
        while self._rest:
            if not self._left and not self._read_size():
                break
            part, self._rest = self._rest[: self._left], self._rest[self._left :]
            self._left -= len(part)
            body += part
        return body

    def _read_size(self) -> bool:
        line, end, rest = self._rest.removeprefix(_LINE_END).partition(_LINE_END)
        if not end or not line:
            return False
        self._left = int(line.split(b";")[0], 16)
        self._rest = rest if self._left else b""
        return bool(self._left)
