"""A new request starts from the slot that holds most of its prompt."""

from hypothesis import given
from hypothesis import strategies as st

from inference_svc.domain.media_tokens import pseudo_tokens
from inference_svc.domain.prefix import Choice, Slot, choose, shared_prefix

TOKENS = st.lists(st.integers(0, 3), max_size=30)


def slot(number: int, tokens: list[int], *, busy: bool = False, scope: str = "", used: int = 0) -> Slot:
    return Slot(id=number, scope=scope, tokens=tokens, busy=busy, used=used)


@given(left=TOKENS, right=TOKENS)
def test_the_shared_prefix_is_the_longest_one(left: list[int], right: list[int]) -> None:
    shared = shared_prefix(left, tuple(right))

    assert left[:shared] == right[:shared]
    assert shared == min(len(left), len(right)) or left[shared] != right[shared]


def test_a_conversation_goes_on_in_its_own_slot() -> None:
    slots = [slot(0, [1, 2, 3, 4], used=1), slot(1, [1, 2], used=2), slot(2, [])]

    assert choose(slots, [1, 2, 3, 4, 5, 6], scope="") == Choice(slot=0, source=0, shared=4)


def test_a_short_shared_beginning_is_copied_so_that_the_other_conversation_stays() -> None:
    slots = [slot(0, [1, 2, 3, 4, 5, 6, 7, 8], used=5), slot(1, [])]

    assert choose(slots, [1, 2, 9, 9, 9], scope="") == Choice(slot=1, source=0, shared=2)


def test_a_busy_slot_can_be_copied_from_but_not_taken() -> None:
    slots = [slot(0, [1, 2, 3], busy=True), slot(1, [7], used=1)]

    assert choose(slots, [1, 2, 3, 4], scope="") == Choice(slot=1, source=0, shared=3)


def test_the_last_token_of_the_prompt_is_always_computed() -> None:
    assert choose([slot(0, [1, 2, 3])], [1, 2, 3], scope="") == Choice(slot=0, source=0, shared=2)


def test_nothing_is_shared_across_scopes() -> None:
    slots = [slot(0, [1, 2, 3], scope="ann"), slot(1, [])]

    found = choose(slots, [1, 2, 3, 4], scope="bob")

    assert found is not None
    assert (found.slot, found.shared) == (1, 0)


def test_the_slot_used_least_recently_makes_room() -> None:
    slots = [slot(0, [5], used=3), slot(1, [6], used=1), slot(2, [7], used=2)]

    found = choose(slots, [1, 2], scope="")

    assert found is not None
    assert (found.slot, found.shared) == (1, 0)


def test_there_is_no_place_while_all_slots_are_busy() -> None:
    assert choose([slot(0, [], busy=True)], [1], scope="") is None


def test_an_image_is_shared_whole_or_not_at_all() -> None:
    cat = pseudo_tokens(b"cat", 4)

    assert choose([slot(0, [1, *cat, 2])], [1, *cat, 3], scope="") == Choice(slot=0, source=0, shared=5)
    assert choose([slot(0, [1, 1, *cat])], [1, 1, *cat], scope="") == Choice(slot=0, source=0, shared=2)
