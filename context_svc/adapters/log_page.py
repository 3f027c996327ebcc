"""Cuts stored batches into a piece of a log that one message can carry."""

from collections.abc import Iterable, Iterator

from context_svc.domain.run import Batch, Event

_BYTES = 1 << 20
_EVENT_BYTES = 32  # what number and date add to an event on the wire


def page_of(batches: Iterable[Batch], *, after: int) -> tuple[Event, ...]:
    """Give events numbered above `after`, at least one if there is any, at most about a megabyte."""
    return tuple(_page_of(batches, after=after))


def _page_of(batches: Iterable[Batch], *, after: int) -> Iterator[Event]:
    size = 0
    for batch in batches:
        for sequence, body in enumerate(batch.bodies, start=batch.first_sequence):
            if sequence <= after:
                continue
            size += len(body) + _EVENT_BYTES
            if size > _BYTES and size > len(body) + _EVENT_BYTES:
                return
            yield Event(sequence=sequence, create_time=batch.create_time, body=body)
