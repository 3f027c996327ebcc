"""Server-sent events from bytes, as the HTML standard, section 9.2.6, reads them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_LINE_END = re.compile(rb"\r\n|\n|\r")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event: its data, lines joined by newlines, its name and the id that a reconnection would send."""

    data: str
    name: str = "message"
    id: str = ""


class EventReader:
    """Cuts a stream of bytes into events, wherever the network cut it.

    Lines end only with CR, LF or both: `str.splitlines` would also cut the JSON of an answer at U+2028.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[str] = []
        self._name = ""
        self._id = ""

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Give the events that are complete with this chunk; the rest of the chunk is kept for the next one."""
        self._rest += chunk
        while end := _LINE_END.search(self._rest):
            if end.group() == b"\r" and end.end() == len(self._rest):
                return  # the LF of this line end may be still to come
            line, self._rest = self._rest[: end.start()], self._rest[end.end() :]
            if event := self._line(line.decode("utf-8", errors="replace")):
                yield event

    def _line(self, line: str) -> Event | None:
        if not line:
            return self._dispatch()
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match field:
            case "data":
                self._data.append(value)
            case "event":
                self._name = value
            case "id" if "\0" not in value:
                self._id = value
            case _:  # a comment, a retry time, or a field that the standard ignores
                pass
        return None

    def _dispatch(self) -> Event | None:
        data, name = self._data, self._name
        self._data, self._name = [], ""
        return Event(data="\n".join(data), name=name or "message", id=self._id) if data else None
