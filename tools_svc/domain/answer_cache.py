"""Answers that are kept for a while."""

from collections import OrderedDict
from dataclasses import dataclass

from threadmesh.clock import Clock
from tools_svc.domain.call import ToolOutput
from tools_svc.domain.output import size_of

MOST_ANSWERS = 256
MOST_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    output: ToolOutput
    until: float
    bytes: int


class AnswerCache:
    """Answers by key, each until its time is over; the oldest go beyond 256 answers or 8 MiB."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        self._bytes = 0

    def get(self, key: bytes) -> ToolOutput | None:
        """Give the answer if it is still good."""
        kept = self._kept.get(key)
        return kept.output if kept is not None and self._clock.monotonic() < kept.until else None

    def keep(self, key: bytes, output: ToolOutput, *, seconds: float) -> None:
        """Keep an answer; one that is larger than everything may be together is not."""
        self._forget(key)
        size = size_of(output)
        if size > MOST_BYTES:
            return
        self._kept[key] = _Kept(output=output, until=self._clock.monotonic() + seconds, bytes=size)
        self._bytes += size
        while len(self._kept) > MOST_ANSWERS or self._bytes > MOST_BYTES:
            self._forget(next(iter(self._kept)))

    def _forget(self, key: bytes) -> None:
        if kept := self._kept.pop(key, None):
            self._bytes -= kept.bytes
