"""Tokens become text: whole code points only, and nothing of a stop string."""

import codecs
from collections.abc import Sequence


class Utf8:
    """Joins the bytes of tokens into code points; half a code point waits for its other half."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    @property
    def held(self) -> int:
        """The number of bytes that wait."""
        return len(self._decoder.getstate()[0])

    def feed(self, piece: bytes) -> str:
        """Give the text that is complete with this piece; bytes that are no UTF-8 become U+FFFD."""
        return self._decoder.decode(piece)

    def finish(self) -> str:
        """Give U+FFFD if half a code point was left waiting."""
        return self._decoder.decode(b"", final=True)


class StopScanner:
    """Lets text pass up to the first stop string; text that may turn out to be the beginning of one waits."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self.held = ""
        self.stopped = False

    def feed(self, text: str) -> str:
        """Give what may be shown now; nothing more once a stop string was met."""
        if self.stopped:
            return ""
        self.held += text
        begin = self._first_stop()
        if begin is not None:
            self.stopped = True
            shown, self.held = self.held[:begin], ""
            return shown
        keep = self._possible_beginning()
        shown, self.held = self.held[: len(self.held) - keep], self.held[len(self.held) - keep :]
        return shown

    def finish(self) -> str:
        """Give what was held back for a stop string that did not come."""
        shown, self.held = self.held, ""
        return shown

    def _first_stop(self) -> int | None:
        """Give where the stop string begins that is complete first: so it does not matter how the text was cut."""
        found = [(place + len(stop), place) for stop in self._stops if (place := self.held.find(stop)) >= 0]
        return min(found)[1] if found else None

    def _possible_beginning(self) -> int:
        return longest_beginning(self.held, self._stops)


def longest_beginning(text: str, markers: Sequence[str]) -> int:
    """Count the characters at the end of `text` that may be the beginning of one of the `markers`."""
    return max((_overlap(text, marker) for marker in markers), default=0)


def _overlap(text: str, marker: str) -> int:
    return next((size for size in range(min(len(text), len(marker) - 1), 0, -1) if text.endswith(marker[:size])), 0)
