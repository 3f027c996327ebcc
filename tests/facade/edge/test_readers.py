"""A run is stopped when the last of its readers has left, and never by one who only found it."""

from datetime import UTC, datetime

import pytest

from facade.domain.events import Run, RunState
from facade.edge.readers import Reader, Readers

RUN = Run(id="run_1", thread_id="thread_1", state=RunState.RUNNING, create_time=datetime(2026, 1, 1, tzinfo=UTC))
OWNER, GUEST, WATCHER = Reader.OWNER, Reader.GUEST, Reader.WATCHER


@pytest.mark.parametrize(
    ("readers", "stops"),
    [
        ([OWNER], [True]),
        ([OWNER, GUEST], [False, True]),
        ([GUEST, OWNER], [False, True]),
        ([WATCHER, OWNER], [False, True]),
        ([OWNER, WATCHER], [True, False]),
        ([GUEST, GUEST], [False, False]),
    ],
)
def test_the_last_to_leave_stops_the_run_if_its_owner_has_read_it(readers: list[Reader], stops: list[bool]) -> None:
    known = Readers()
    seats = [known.seat(RUN, reader) for reader in readers]

    assert [seat.leave() for seat in seats] == stops


def test_a_run_whose_owner_was_cut_off_goes_on_without_readers() -> None:
    known = Readers()
    owner, guest = known.seat(RUN, OWNER), known.seat(RUN, GUEST)

    assert not owner.leave(returns=True)
    assert not guest.leave()


def test_a_seat_is_left_once() -> None:
    known = Readers()
    first, second = known.seat(RUN, OWNER), known.seat(RUN, OWNER)

    assert [first.leave(), first.leave(), second.leave(), second.leave()] == [False, False, True, False]


def test_what_an_earlier_audience_wanted_does_not_hold_for_a_later_one() -> None:
    known = Readers()
    known.seat(RUN, OWNER).leave(returns=True)
    known.seat(RUN, OWNER).leave()

    assert not known.seat(RUN, GUEST).leave()


@pytest.mark.parametrize(
    ("replayed", "stops", "reader"),
    [(False, True, OWNER), (False, False, WATCHER), (True, True, GUEST), (True, False, GUEST)],
)
def test_who_began_a_run_may_stop_it_and_who_found_it_may_not(*, replayed: bool, stops: bool, reader: Reader) -> None:
    assert Reader.of(replayed=replayed, stops=stops) is reader
