"""Who of the waiting comes next, and who may wait at all."""

import pytest

from inference_svc.domain.admission import WaitingRoom
from threadmesh.errors import Overloaded


def room(places: int = 100, slots: int = 0) -> WaitingRoom[str]:
    return WaitingRoom(places=places, slots=slots)


def served(waiting: WaitingRoom[str], *, slots: int) -> list[str]:
    """Serve as many of those that wait as there are slots for."""
    taken: list[str] = []
    for key in list(waiting):
        if len(taken) < slots and not waiting.stands_back(key):
            waiting.serve(key)
            taken.append(key)
    return taken


def enter(waiting: WaitingRoom[str], key: str, *, tenant: str = "", priority: int = 1, cost: float = 100.0) -> None:
    waiting.enter(key, tenant=tenant, priority=priority, cost=cost)


def test_equals_are_served_in_the_order_of_arrival() -> None:
    waiting = room()
    for key in "abc":
        enter(waiting, key)

    assert list(waiting) == ["a", "b", "c"]


def test_a_higher_priority_goes_first() -> None:
    waiting = room()
    enter(waiting, "text")
    enter(waiting, "nobody waits", priority=2)
    enter(waiting, "speech", priority=0)

    assert list(waiting) == ["speech", "text", "nobody waits"]


def test_one_request_of_a_tenant_goes_before_the_second_of_another() -> None:
    waiting = room()
    for number in range(50):
        enter(waiting, f"ann {number}", tenant="ann")
    enter(waiting, "bob", tenant="bob")

    assert list(waiting)[:2] == ["ann 0", "bob"]


def test_a_tenant_with_small_requests_gets_more_of_them_in() -> None:
    waiting = room()
    for number in range(4):
        enter(waiting, f"large {number}", tenant="ann", cost=300.0)
        enter(waiting, f"small {number}", tenant="bob", cost=100.0)

    assert list(waiting)[:5] == ["large 0", "small 0", "small 1", "small 2", "large 1"]


def test_who_was_away_does_not_catch_up() -> None:
    waiting = room()
    for number in range(10):
        enter(waiting, f"ann {number}", tenant="ann")
        waiting.serve(f"ann {number}")
        waiting.leave(f"ann {number}")
    for number in range(2):
        enter(waiting, f"ann again {number}", tenant="ann")
        enter(waiting, f"bob {number}", tenant="bob")

    assert list(waiting) == ["ann again 0", "bob 0", "ann again 1", "bob 1"]


def test_there_are_only_so_many_places() -> None:
    waiting = room(places=2)
    enter(waiting, "a")
    enter(waiting, "b")
    waiting.serve("a")
    with pytest.raises(Overloaded):
        enter(waiting, "c")
    waiting.leave("a")
    enter(waiting, "c")

    assert list(waiting) == ["b", "c"]


def test_one_tenant_leaves_places_to_the_others() -> None:
    waiting = room(places=8)
    for number in range(6):
        enter(waiting, f"ann {number}", tenant="ann")
    with pytest.raises(Overloaded):
        enter(waiting, "ann 6", tenant="ann")
    enter(waiting, "bob", tenant="bob")

    assert "bob" in list(waiting)


def test_who_has_to_begin_anew_stands_where_it_stood() -> None:
    waiting = room()
    for key in "abc":
        enter(waiting, key)
    waiting.serve("a")
    waiting.wait_again("a")

    assert list(waiting) == ["a", "b", "c"]
    assert waiting.waits("a")


def test_leaving_twice_does_no_harm() -> None:
    waiting = room(places=1)
    enter(waiting, "a")
    waiting.leave("a")
    waiting.leave("a")
    enter(waiting, "b")

    assert len(waiting) == 1
    assert not waiting.waits("a")


def test_once_there_are_several_tenants_none_is_served_in_all_slots() -> None:
    waiting = room(slots=4)
    enter(waiting, "bob was here", tenant="bob")
    waiting.leave("bob was here")
    for number in range(100 // 2):
        enter(waiting, f"ann {number}", tenant="ann")

    assert served(waiting, slots=4) == ["ann 0", "ann 1", "ann 2"]
    enter(waiting, "bob", tenant="bob")
    assert not waiting.stands_back("bob")
    waiting.leave("ann 0")
    assert not waiting.stands_back("ann 3")


def test_a_tenant_that_is_alone_has_all_slots() -> None:
    waiting = room(slots=4)
    for number in range(6):
        enter(waiting, f"ann {number}", tenant="ann")

    assert len(served(waiting, slots=4)) == 4


def test_of_few_slots_none_is_kept_free() -> None:
    waiting = room(slots=2)
    enter(waiting, "bob", tenant="bob")
    waiting.leave("bob")
    for number in range(3):
        enter(waiting, f"ann {number}", tenant="ann")

    assert len(served(waiting, slots=2)) == 2


def test_what_has_no_tenant_is_no_other_tenant_and_has_all_slots() -> None:
    waiting = room(slots=4)
    enter(waiting, "warm-up")
    waiting.leave("warm-up")
    for number in range(6):
        enter(waiting, f"ann {number}", tenant="ann")
    assert len(served(waiting, slots=4)) == 4

    waiting = room(slots=4)
    enter(waiting, "ann", tenant="ann")
    enter(waiting, "bob", tenant="bob")
    for number in range(6):
        enter(waiting, f"{number}")
    assert len(served(waiting, slots=4)) == 4
