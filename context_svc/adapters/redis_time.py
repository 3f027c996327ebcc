"""The time of a Redis store: one for all processes that share it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from context_svc.adapters.rows import date
from context_svc.domain.change import Moment

_MICRO = 1_000_000
_TOLERANCE_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the server said of its time, in microseconds, and between which of this machine's seconds it was said."""

    wall: int
    correction: int
    asked: float
    answered: float

    @property
    def steady(self) -> float:
        """Seconds of the store's steady clock."""
        return (self.wall + self.correction) / _MICRO


class Timekeeper(Protocol):
    """Makes a moment of a reading."""

    async def moment(self, reading: Reading, correct: "Correct") -> Moment:
        """Give the moment; calls `correct` if the steady clock must be set."""
        ...


Correct = Callable[[int, int], Awaitable[None]]
"""Moves the store's steady clock back: by how much it was corrected before, and by how much more, in microseconds."""


class ServerTime:
    """Takes the time from the server, so that it is the same for every process.

    A Redis server tells only its wall clock. The steady clock is that clock without its jumps: each process compares
    what passed on the server with what passed on its own machine since it last looked, which it does once a second.
    Where the two differ by more than a second, the server's clock was set; the difference goes into the store, from
    where all processes take it. So:

    - a jump of the server's clock by more than a second moves no lease and no deadline if some process has looked at
      it before and after; a smaller one moves them by that much. Dates of records follow the wall clock;
    - a restart of the server gives every open run a new lease, for its writer could not renew it meanwhile;
      deadlines go on. A jump during the restart is noticed like any other;
    - while no process is running, a jump back does not move the steady clock behind the last change, and a jump ahead
      counts as time that passed;
    - a process whose whole machine was paused, unnoticed by its own clock, may set the steady clock back by the length
      of the pause: leases then last that much longer. Nothing makes them shorter.
    """

    def __init__(self) -> None:
        self._last: Reading | None = None

    async def moment(self, reading: Reading, correct: Correct) -> Moment:
        """See `Timekeeper.moment`."""
        last, steady = self._last, reading.steady
        if last and (jump := _jump(last, reading)):
            # Whoever corrects first is the one; what the others see then is no jump any more.
            await correct(reading.correction, round(jump * _MICRO))
            steady -= jump
            self._last = None
        elif not last or reading.answered >= last.answered:
            self._last = reading
        return Moment(time=date(reading.wall), steady=steady)


def reading_of(answer: Any, *, asked: float, answered: float) -> Reading:
    """Read what the scripts tell of the time: TIME, and the correction."""
    (seconds, microseconds), correction = answer
    return Reading(
        wall=int(seconds) * _MICRO + int(microseconds), correction=int(correction), asked=asked, answered=answered
    )


def _jump(last: Reading, now: Reading) -> float:
    """Give by how many seconds the server's clock was set between two readings; 0 if it need not have been."""
    passed = now.steady - last.steady
    least, most = now.asked - last.answered, now.answered - last.asked
    if least - _TOLERANCE_SECONDS <= passed <= most + _TOLERANCE_SECONDS:
        return 0.0
    return passed - (least + most) / 2
