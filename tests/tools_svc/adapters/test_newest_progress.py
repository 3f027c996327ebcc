import json

import pytest

from tools_svc.adapters.framing import Oversized
from tools_svc.adapters.newest_progress import newest_progress

HUGE = Oversized(head=b'{"id": 1', tail=b"}", length=5_000_000)


def progress(token: int | str, step: int) -> bytes:
    params = {"progressToken": token, "progress": step}
    return json.dumps({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}).encode()


def answer(number: int, text: str = "done") -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": number, "result": {"text": text}}).encode()


def test_of_each_calls_progress_only_the_newest_is_kept_and_all_else_in_its_order() -> None:
    said: list[bytes | Oversized] = [
        progress(1, 0),
        progress(2, 0),
        progress(1, 1),
        answer(1),
        progress(2, 1),
        HUGE,
        progress(2, 2),
        answer(2),
    ]

    assert newest_progress(said) == [progress(1, 1), answer(1), HUGE, progress(2, 2), answer(2)]


def test_the_number_1_and_the_word_1_are_different_calls() -> None:
    said = [progress(1, 0), progress("1", 0)]

    assert newest_progress(said) == said


def test_a_call_whose_number_begins_as_anothers_is_another() -> None:
    said = [progress(1, 0), progress(12, 0), progress("a", 0), progress("ab", 0)]

    assert newest_progress(said * 2) == said


def test_progress_is_known_in_whatever_order_a_server_writes_it() -> None:
    orders = [
        b'{"method":"notifications/progress","params":{"progressToken":7,"progress":1},"jsonrpc":"2.0"}',
        b'{"params": {"progress": 2, "progressToken": 7}, "method": "notifications/progress"}',
        progress(7, 3),
    ]

    assert newest_progress(orders) == orders[-1:]
    assert newest_progress(orders[::-1]) == orders[:1]


@pytest.mark.parametrize(
    "line",
    [
        b'{"method": "notifications/progress", "params": {"progressToken": [], "progress": 1}}',
        b'{"method": "notifications/progress"}',
        b'{"method": "notifications/message", "params": {"data": "notifications/progress"}}',
        b"notifications/progress is no JSON",
        b"[" * 100_000 + b"notifications/progress",
        answer(7, "notifications/progress"),
    ],
    ids=lambda line: line[:60].decode(),
)
def test_what_only_looks_like_progress_is_not_touched(line: bytes) -> None:
    assert newest_progress([line, line]) == [line, line]
