"""Who reads the answer of which run here, so that it is stopped when the last of them has left."""

from dataclasses import dataclass
from enum import Enum

from facade.domain.events import Run


class Reader(Enum):
    """What the leaving of a reader means.

    A run is stopped once its OWNER has left, who asked for it, and no GUEST is left, whose request found it. Whether a
    WATCHER reads it never matters.
    """

    OWNER = "owner"
    GUEST = "guest"
    WATCHER = "watcher"

    @classmethod
    def of(cls, *, replayed: bool, stops: bool) -> "Reader":
        """Say what the sender of a request is, who wants that leaving `stops` the run if he began it."""
        if replayed:
            return cls.GUEST
        return cls.OWNER if stops else cls.WATCHER


@dataclass(slots=True)
class _Audience:
    seats: int = 0
    stops: bool = False


class Readers:
    """Counts the readers of each run in this process."""

    def __init__(self) -> None:
        self._audiences: dict[str, _Audience] = {}

    def seat(self, run: Run, reader: Reader) -> "Seat":
        """Count a reader until the seat is left."""
        if reader is Reader.WATCHER:
            return Seat(self._audiences, run, None)
        audience = self._audiences.setdefault(run.id, _Audience())
        audience.seats += 1
        audience.stops = audience.stops or reader is Reader.OWNER
        return Seat(self._audiences, run, audience)


class Seat:
    """The place of one reader of a run."""

    def __init__(self, audiences: dict[str, _Audience], run: Run, audience: _Audience | None) -> None:
        self.run = run
        self._audiences, self._audience = audiences, audience

    def leave(self, *, returns: bool = False) -> bool:
        """Give the place up, once; says whether nobody is left for whom the run is to go on.

        One who `returns` was cut off: the run goes on without him.
        """
        audience, self._audience = self._audience, None
        if audience is None:
            return False
        audience.seats -= 1
        audience.stops = audience.stops and not returns
        if audience.seats:
            return False
        del self._audiences[self.run.id]
        return audience.stops
