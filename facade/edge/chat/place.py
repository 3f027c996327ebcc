"""Places in the stream of a run: the ids of its server-sent events, from which a reader goes on."""

import re
from dataclasses import dataclass

from facade.domain.events import Run
from threadmesh.errors import InvalidArgument

_ID = re.compile(r"(run_[0-9A-Za-z]{1,64}):(0|[1-9][0-9]{0,15})(?:\.([0-9]{1,3}))?")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,15}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A chunk of a stream: the `part`-th of those that the event `sequence` became; None for the last of them."""

    sequence: int
    part: int | None = None

    def holds(self, sequence: int, part: int) -> bool:
        """Whether a reader who has come to this place has seen that chunk."""
        if sequence != self.sequence:
            return sequence < self.sequence
        return self.part is None or part <= self.part


def id_of(run: Run, sequence: int, part: int, parts: int) -> str:
    """Give the id of a chunk, `<run>:<sequence>`, followed by its part unless it is the event's last one."""
    return f"{run.id}:{sequence}" + (f".{part}" if part < parts - 1 else "")


def read_place(run: Run, *, last_event_id: str | None, starting_after: str | None = None) -> Place | None:
    """Read where a reader of the run has come to; None for the beginning.

    Raises `InvalidArgument` for what is no place of this run's stream, or lies ahead of it.
    """
    if last_event_id:
        place, field = _read_id(run, last_event_id), "last-event-id"
    elif starting_after is not None:
        place, field = _read_number(starting_after), "starting_after"
    else:
        return None
    if place.sequence >= run.next_sequence:
        raise InvalidArgument(
            f"{field} is ahead of the stream, which has {run.next_sequence} events so far.",
            field=field,
            kind="event_id_ahead",
        )
    return place


def _read_id(run: Run, text: str) -> Place:
    found = _ID.fullmatch(text.strip())
    if found is None or found[1] != run.id:
        raise InvalidArgument(
            f"last-event-id must be the id of an event of this stream, such as {run.id}:0.",
            field="last-event-id",
            kind="invalid_event_id",
        )
    return Place(sequence=int(found[2]), part=None if found[3] is None else int(found[3]))


def _read_number(text: str) -> Place:
    if not _NUMBER.fullmatch(text):
        raise InvalidArgument(
            "starting_after must be the number of an event, from 0.", field="starting_after", kind="invalid_event_id"
        )
    return Place(sequence=int(text))
