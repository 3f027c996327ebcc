"""Whoever holds a prompt's beginning is found, whatever came and went before."""

from hypothesis import given
from hypothesis import strategies as st

from inference_svc.domain.prefix import PrefixTree, shared_prefix

TOKENS = st.lists(st.integers(0, 2), max_size=12)
HELD = st.dictionaries(st.integers(0, 5), st.tuples(st.sampled_from(["", "ann"]), TOKENS), max_size=6)


def tree_of(held: dict[int, tuple[str, list[int]]]) -> PrefixTree[int]:
    tree: PrefixTree[int] = PrefixTree()
    for holder, (scope, tokens) in held.items():
        tree.insert(holder, tokens, scope=scope)
    return tree


def expected(held: dict[int, tuple[str, list[int]]], prompt: list[int], scope: str) -> dict[int, int]:
    shares = {holder: shared_prefix(tokens, prompt) for holder, (its, tokens) in held.items() if its == scope}
    return {holder: shared for holder, shared in shares.items() if shared}


@given(left=TOKENS, right=TOKENS)
def test_the_shared_prefix_is_the_longest_one(left: list[int], right: list[int]) -> None:
    shared = shared_prefix(left, tuple(right))

    assert left[:shared] == right[:shared]
    assert shared == min(len(left), len(right)) or left[shared] != right[shared]


@given(held=HELD, prompt=TOKENS, scope=st.sampled_from(["", "ann"]))
def test_all_who_share_a_beginning_are_found_those_who_share_most_first(
    held: dict[int, tuple[str, list[int]]], prompt: list[int], scope: str
) -> None:
    found = list(tree_of(held).matches(prompt, scope=scope))

    assert {holder: shared for shared, holder in found} == expected(held, prompt, scope)
    assert [shared for shared, _ in found] == sorted((shared for shared, _ in found), reverse=True)


@given(before=HELD, after=HELD, prompt=TOKENS)
def test_what_a_holder_had_before_is_forgotten(
    before: dict[int, tuple[str, list[int]]], after: dict[int, tuple[str, list[int]]], prompt: list[int]
) -> None:
    tree = tree_of(before)
    for holder in before:
        if holder not in after:
            tree.remove(holder)
    for holder, (scope, tokens) in after.items():
        tree.insert(holder, tokens, scope=scope)

    found = {holder: shared for shared, holder in tree.matches(prompt, scope="ann")}
    assert found == expected(after, prompt, "ann")
    assert tree.tokens == tree_of(after).tokens
    assert len(tree) == len(after)


@given(held=HELD)
def test_shared_tokens_are_counted_once(held: dict[int, tuple[str, list[int]]]) -> None:
    beginnings = {(scope, tuple(tokens[:n])) for scope, tokens in held.values() for n in range(1, len(tokens) + 1)}

    assert tree_of(held).tokens == len(beginnings)


@given(held=HELD, prompt=TOKENS)
def test_those_whose_tokens_are_all_a_beginning_are_covered(
    held: dict[int, tuple[str, list[int]]], prompt: list[int]
) -> None:
    covered = tree_of(held).covered(prompt, scope="ann")

    wanted = [h for h, (scope, tokens) in held.items() if scope == "ann" and tokens and prompt[: len(tokens)] == tokens]
    assert sorted(covered) == sorted(wanted)
    assert [len(held[holder][1]) for holder in covered] == sorted((len(held[h][1]) for h in covered), reverse=True)


def test_scopes_never_see_each_other() -> None:
    tree = tree_of({1: ("ann", [1, 2, 3])})

    assert list(tree.matches([1, 2, 3], scope="bob")) == []
    assert list(tree.matches([1, 2, 3], scope="")) == []


def test_forgetting_somebody_unknown_is_no_error() -> None:
    tree = tree_of({1: ("", [1])})
    tree.remove(7)

    assert 1 in tree
    assert 7 not in tree
