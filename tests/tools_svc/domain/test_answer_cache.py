from threadmesh.conversation import Text
from threadmesh.testing.clock import FakeClock
from tools_svc.domain.answer_cache import MOST_ANSWERS, MOST_BYTES, AnswerCache
from tools_svc.domain.call import ToolOutput


def _answer(size: int) -> ToolOutput:
    return ToolOutput(parts=(Text(text="x" * size),))


def test_the_oldest_answers_go_beyond_the_number_that_is_kept() -> None:
    cache = AnswerCache(FakeClock())
    for number in range(MOST_ANSWERS + 1):
        cache.keep(str(number).encode(), _answer(1), seconds=1)

    assert cache.get(b"0") is None
    assert cache.get(b"1") == _answer(1)


def test_the_oldest_answers_go_beyond_the_bytes_that_are_kept() -> None:
    cache = AnswerCache(FakeClock())
    for key in (b"a", b"b", b"c"):
        cache.keep(key, _answer(MOST_BYTES // 2), seconds=1)

    assert [cache.get(key) is not None for key in (b"a", b"b", b"c")] == [False, True, True]


def test_an_answer_larger_than_everything_may_be_is_not_kept_and_drives_nothing_out() -> None:
    cache = AnswerCache(FakeClock())
    cache.keep(b"small", _answer(1), seconds=1)
    cache.keep(b"large", _answer(MOST_BYTES + 1), seconds=1)

    assert cache.get(b"small") is not None
    assert cache.get(b"large") is None


def test_a_newer_answer_replaces_the_older_one_and_its_bytes() -> None:
    cache = AnswerCache(FakeClock())
    cache.keep(b"other", _answer(1), seconds=1)
    for _ in range(10):
        cache.keep(b"a", _answer(MOST_BYTES // 2), seconds=1)

    assert cache.get(b"other") is not None
