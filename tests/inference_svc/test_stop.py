"""Tokens become text: whole code points only, and nothing of a stop string."""

from itertools import pairwise
from typing import TypeVar

from hypothesis import example, given, settings
from hypothesis import strategies as st

from inference_svc.domain.stop import StopScanner, Utf8, longest_beginning

TEXTS = st.text(alphabet="ab<|é😀\n", max_size=40)
STOPS = st.lists(st.text(alphabet="ab<|é", min_size=1, max_size=4), max_size=3)


Cuttable = TypeVar("Cuttable", str, bytes)


def cut(whole: Cuttable, places: list[int]) -> list[Cuttable]:
    """Cut at any places; bytes also within code points, as a tokenizer may."""
    borders = sorted({0, len(whole), *(place % (len(whole) + 1) for place in places)})
    return [whole[begin:end] for begin, end in pairwise(borders)]


@settings(deadline=None)
@given(text=st.text(max_size=40), places=st.lists(st.integers(0, 200)))
def test_text_comes_in_whole_code_points_however_its_bytes_are_cut(text: str, places: list[int]) -> None:
    utf8 = Utf8()
    pieces = [utf8.feed(piece) for piece in cut(text.encode(), places)]

    assert "".join(pieces) == text
    assert utf8.finish() == ""


def test_half_a_code_point_at_the_end_becomes_one_replacement_character() -> None:
    utf8 = Utf8()

    assert utf8.feed("😀".encode()[:3]) == ""
    assert utf8.finish() == "\ufffd"


@settings(deadline=None)
@given(text=TEXTS, stops=STOPS, places=st.lists(st.integers(0, 200)))
@example(text="<b<", stops=["b", "<b<"], places=[2])
def test_what_is_shown_ends_before_the_stop_string_that_is_complete_first_however_it_is_cut(
    text: str, stops: list[str], places: list[int]
) -> None:
    scanner = StopScanner(stops)
    shown = "".join(scanner.feed(piece) for piece in cut(text, places)) + scanner.finish()
    ends = ((begin, end) for end in range(len(text) + 1) for begin in range(end))
    first = next((begin for begin, end in ends if text[begin:end] in stops), len(text))

    assert shown == text[:first]
    assert scanner.stopped == any(stop in text for stop in stops)


def test_text_that_may_begin_a_stop_string_waits() -> None:
    scanner = StopScanner(["<end>"])

    assert scanner.feed("so <en") == "so "
    assert scanner.feed("try") == "<entry"


def test_nothing_follows_a_stop_string() -> None:
    scanner = StopScanner(["."])

    assert scanner.feed("One. Two.") == "One"
    assert scanner.feed(" Three.") == ""
    assert scanner.finish() == ""


def test_the_longest_possible_beginning_counts() -> None:
    assert longest_beginning("x<to", ["<tool_call>", "o"]) == 3
    assert longest_beginning("x", ["<tool_call>"]) == 0
