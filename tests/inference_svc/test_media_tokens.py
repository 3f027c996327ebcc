"""Images and sounds among the tokens of a prompt."""

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_svc.domain.media_tokens import MOST_POSITIONS, Layout, Span, is_media, pseudo_tokens, whole_chunks
from inference_svc.domain.prefix import shared_prefix

CAT, DOG = pseudo_tokens(b"cat", 5), pseudo_tokens(b"dog", 5)
identities = st.binary(max_size=8)
pieces = st.lists(st.integers(0, 9).map(lambda token: [token]) | identities.map(lambda name: pseudo_tokens(name, 4)))


def test_the_same_chunk_has_the_same_tokens_and_another_one_shares_none() -> None:
    assert pseudo_tokens(b"cat", 5) == CAT
    assert not set(CAT) & set(DOG)
    assert len(set(CAT)) == 5


@given(identities, st.integers(1, 300))
def test_pseudo_tokens_are_negative_and_fit_64_bits(identity: bytes, positions: int) -> None:
    tokens = pseudo_tokens(identity, positions)

    assert len(tokens) == positions
    assert all(is_media(token) and token >= -(2**63) for token in tokens)


@pytest.mark.parametrize("positions", [0, -1, MOST_POSITIONS + 1])
def test_a_chunk_takes_at_least_one_position_and_not_too_many(positions: int) -> None:
    with pytest.raises(ValueError, match=str(positions)):
        pseudo_tokens(b"cat", positions)


@pytest.mark.parametrize(
    ("shared", "kept"), [(0, 0), (1, 1), (2, 2), (3, 2), (6, 2), (7, 7), (8, 7), (12, 12), (13, 13), (14, 14)]
)
def test_a_prefix_is_cut_only_where_no_chunk_is_divided(shared: int, kept: int) -> None:
    assert whole_chunks([1, 2, *CAT, *CAT, 3, 4], shared) == kept


def test_prompts_with_different_images_share_what_stands_before_them() -> None:
    one, other = [1, 2, *CAT, 3], [1, 2, *DOG, 3]

    assert whole_chunks(other, shared_prefix(one, other)) == 2


@given(pieces, pieces)
def test_what_may_be_kept_begins_both_prompts_and_ends_between_pieces(
    one: list[list[int]], other: list[list[int]]
) -> None:
    left, right = list(chain(*one)), list(chain(*other))
    kept = whole_chunks(right, shared_prefix(left, right))
    ends = {sum(map(len, other[:count])) for count in range(len(other) + 1)}

    assert left[:kept] == right[:kept]
    assert kept in ends


LAYOUT = Layout(spans=(Span(begin=2, positions=5, cells=40), Span(begin=7, positions=5, cells=5)))


def test_a_layout_knows_which_chunk_begins_where() -> None:
    assert [LAYOUT.at(position) for position in (1, 2, 3, 7, 12)] == [
        None,
        *LAYOUT.spans[:1],
        None,
        LAYOUT.spans[1],
        None,
    ]


@pytest.mark.parametrize(("position", "text"), [(0, 2), (1, 1), (2, 0), (7, 0), (12, 100)])
def test_a_layout_knows_how_much_text_comes_before_the_next_chunk(position: int, text: int) -> None:
    assert LAYOUT.text_at(position, 100) == text


def test_a_step_of_text_is_as_long_as_it_may_be() -> None:
    assert LAYOUT.text_at(0, 1) == 1
    assert Layout().text_at(0, 8) == 8


@pytest.mark.parametrize(("tokens", "cells"), [(0, 0), (2, 2), (7, 42), (12, 47), (20, 55)])
def test_a_chunk_may_fill_more_cells_than_it_takes_positions(tokens: int, cells: int) -> None:
    assert LAYOUT.cells(tokens) == cells
