import pytest

from tools_svc.adapters.backoff import Backoff


@pytest.mark.parametrize(("failures", "longest"), [(1, 2), (2, 4), (4, 16), (5, 30), (1000, 30)])
def test_waits_grow_to_their_limit_and_are_never_shorter_than_the_first(failures: int, longest: float) -> None:
    drawn = [Backoff().seconds(failures) for _ in range(200)]

    assert min(drawn) >= 1
    assert max(drawn) <= longest
    assert len(set(drawn)) > 100
