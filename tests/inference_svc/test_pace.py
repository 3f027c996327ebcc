"""The engine learns how fast its machine is, and with how many threads."""

from collections.abc import Callable

from inference_svc.domain.pace import Pace, ThreadChoice, thread_numbers


def test_the_pace_follows_what_was_measured() -> None:
    pace = Pace(seconds_per_token=0.01)
    for _ in range(50):
        pace = pace.after(tokens=100, seconds=0.1)

    assert 45 <= pace.tokens_within(0.05, most=512) <= 55
    assert pace.tokens_within(60, most=512) == 512


def test_even_the_slowest_machine_reads_a_few_tokens_a_step() -> None:
    assert Pace(seconds_per_token=10).tokens_within(0.05, most=512) > 0


def test_a_step_of_a_few_tokens_teaches_nothing() -> None:
    pace = Pace(seconds_per_token=0.01)

    assert pace.after(tokens=2, seconds=9) == pace


def test_the_numbers_worth_trying_are_all_one_less_and_half() -> None:
    assert thread_numbers(1) == (1,)
    assert thread_numbers(2) == (2, 1)
    assert thread_numbers(16) == (16, 15, 8)


def steps(choice: ThreadChoice, number: int, seconds: Callable[[int], float], *, tokens: int = 1) -> set[int]:
    """Compute steps that take as long as `seconds` says; gives the numbers of threads that were used."""
    used = set()
    for _ in range(number):
        threads = choice.threads(tokens)
        used.add(threads)
        choice.after(tokens=tokens, seconds=seconds(threads))
    return used


def alone(threads: int) -> float:
    return 0.02 / threads


def disturbed(threads: int) -> float:
    return 0.1 if threads == 2 else 0.025


def test_all_cores_compute_while_nobody_disturbs() -> None:
    choice = ThreadChoice((2, 1))
    steps(choice, 1_000, alone)

    assert choice.threads(1) == 2


def test_a_choice_that_holds_is_tried_more_and_more_rarely() -> None:
    choice = ThreadChoice((2, 1))
    tried = [steps(choice, 1, alone) == {1} for _ in range(1_000)]

    assert sum(tried[:100]) >= sum(tried[500:]) > 0


def test_fewer_threads_are_taken_soon_after_a_neighbour_came() -> None:
    choice = ThreadChoice((2, 1))
    steps(choice, 300, alone)
    steps(choice, 20, disturbed)

    assert choice.threads(1) == 1


def test_all_cores_are_taken_again_once_the_neighbour_has_gone() -> None:
    choice = ThreadChoice((2, 1))
    steps(choice, 300, alone)
    steps(choice, 20, disturbed)
    steps(choice, 40, alone)

    assert choice.threads(1) == 2


def test_a_single_slow_step_changes_nothing() -> None:
    choice = ThreadChoice((2, 1))
    steps(choice, 40, alone)
    steps(choice, 1, lambda _: 1.0)
    steps(choice, 20, alone)

    assert choice.threads(1) == 2


def test_steps_of_different_sizes_are_apart() -> None:
    choice = ThreadChoice((2, 1))
    for _ in range(60):
        steps(choice, 1, disturbed)
        steps(choice, 1, alone, tokens=64)

    assert choice.threads(1) == 1
    assert choice.threads(64) == 2


def test_with_one_number_there_is_nothing_to_choose() -> None:
    choice = ThreadChoice((3,))

    assert steps(choice, 600, alone) == {3}
