"""Guesses at coming tokens, and whether computing them pays."""

from hypothesis import given
from hypothesis import strategies as st

from inference_svc.domain.lookup import Prediction, PromptLookup
from inference_svc.domain.speculation import Confidence, StepCost, worthwhile


def lookup_of(tokens: list[int]) -> PromptLookup:
    lookup = PromptLookup()
    lookup.read(tokens)
    return lookup


def cost_of(**seconds: float) -> StepCost:
    cost = StepCost()
    for size, each in seconds.items():
        cost.learn(tokens=int(size.removeprefix("of")), seconds=each)
    return cost


def test_what_followed_the_same_tokens_before_is_proposed() -> None:
    assert lookup_of([5, 1, 2, 3, 7, 8, 9, 4, 1, 2, 3]).propose(3) == [7, 8, 9]


def test_the_latest_place_counts() -> None:
    assert lookup_of([1, 2, 3, 7, 1, 2, 3, 8, 1, 2, 3]).propose(1) == [8]


def test_nothing_is_proposed_where_nothing_is_alike() -> None:
    assert lookup_of([1, 2, 3, 4, 5]).propose(4) == []
    assert lookup_of([1, 2]).propose(4) == []
    assert lookup_of([]).propose(4) == []


@given(tokens=st.lists(st.integers(0, 2), max_size=40), cut=st.integers(0, 40), most=st.integers(0, 6))
def test_it_does_not_matter_in_which_pieces_the_tokens_came(tokens: list[int], cut: int, most: int) -> None:
    pieces = lookup_of(tokens[:cut])
    pieces.read(tokens[cut:])
    proposed = pieces.propose(most)

    assert proposed == lookup_of(tokens).propose(most)
    assert len(proposed) <= most


def test_the_cost_of_a_step_lies_between_its_neighbours() -> None:
    cost = cost_of(of1=0.010, of5=0.030)

    assert cost.of(1) == 0.010
    assert abs(cost.of(3) - 0.020) < 1e-9
    assert cost.of(10) == 0.060


def test_where_a_second_token_costs_as_much_again_guesses_must_be_nearly_certain() -> None:
    busy = cost_of(of1=0.010, of2=0.020, of4=0.040, of8=0.080)

    assert worthwhile(8, 0.8, beside=1, cost=busy) == 0


def test_where_more_tokens_are_nearly_free_guesses_pay() -> None:
    waiting = cost_of(of1=0.100, of2=0.101, of4=0.103, of8=0.107)

    assert worthwhile(8, 0.8, beside=1, cost=waiting) >= 4
    assert worthwhile(2, 0.8, beside=1, cost=waiting) == 2
    assert worthwhile(0, 0.8, beside=1, cost=waiting) == 0


def test_guesses_that_never_come_true_are_given_up() -> None:
    waiting = cost_of(of1=0.100, of2=0.103, of4=0.109, of8=0.121)
    confidence = Confidence()
    assert worthwhile(8, confidence.rate, beside=1, cost=waiting) > 0
    for _ in range(20):
        confidence.learn(proposed=8, accepted=0)

    assert worthwhile(8, confidence.rate, beside=1, cost=waiting) == 0


def test_guesses_that_come_true_are_trusted_more() -> None:
    confidence = Confidence()
    before = confidence.rate
    for _ in range(5):
        confidence.learn(proposed=4, accepted=4)

    assert confidence.rate > before
    assert 0 < confidence.rate <= 1


def test_experience_from_elsewhere_counts_for_as_long_as_it_weighs() -> None:
    light, heavy = Confidence(rate=0.9, weight=2.0), Confidence(rate=0.9, weight=20.0)
    assert light.rate == heavy.rate == 0.9
    for confidence in (light, heavy):
        confidence.learn(proposed=4, accepted=0)

    assert light.rate < 0.7
    assert 0.8 < heavy.rate < 0.9


def test_without_experience_nothing_is_guessed() -> None:
    assert worthwhile(8, 0.9, beside=1, cost=StepCost()) == 0


def test_images_are_never_guessed() -> None:
    assert lookup_of([1, 2, 3, 7, -5, -6, 1, 2, 3]).propose(4) == [7]


def test_a_predicted_answer_is_proposed_from_its_beginning() -> None:
    prediction = Prediction([1, 2, 3, 4, 5])
    assert prediction.propose(2) == [1, 2]
    prediction.read([1, 2])

    assert prediction.propose(9) == [3, 4, 5]
    assert (prediction.accepted, prediction.rejected) == (2, 3)


def test_a_predicted_answer_is_found_again_behind_a_change() -> None:
    prediction = Prediction([1, 2, 3, 4, 5, 6, 7, 8])
    prediction.read([1, 2, 99])
    assert prediction.propose(3) == []
    prediction.read([4, 5, 6])

    assert prediction.propose(3) == [7, 8]
    assert (prediction.accepted, prediction.rejected) == (5, 3)


def test_an_answer_is_found_at_the_next_place_that_is_alike() -> None:
    prediction = Prediction([1, 2, 3, 4, 1, 2, 3, 5])
    prediction.read([1, 2, 3, 4, 9, 1, 2, 3])

    assert prediction.propose(1) == [5]


@given(tokens=st.lists(st.integers(0, 3), max_size=30), said=st.lists(st.integers(0, 3), max_size=30))
def test_what_was_predicted_came_true_or_did_not(tokens: list[int], said: list[int]) -> None:
    prediction = Prediction(tokens)
    prediction.read(said)

    assert prediction.accepted + prediction.rejected == len(tokens)
    assert prediction.accepted >= 0 <= prediction.rejected
    assert set(prediction.propose(4)) <= set(tokens)
