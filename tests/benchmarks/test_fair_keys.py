"""What is told of two keys, and how their requests are written."""

import pytest

from benchmarks.fair_keys import ALONE, BESIDE, Crowd, report, status_of
from benchmarks.load.http import request
from tests.benchmarks.given import chunk, chunked, received, stream


@pytest.mark.parametrize(("slower", "verdict"), [(1.9, "meets"), (2.1, "misses")])
def test_the_target_is_for_the_tail(slower: float, verdict: str) -> None:
    alone = [float(number) for number in range(1, 101)]
    lines = report({ALONE: alone, BESIDE: [slower * each for each in alone]}, Crowd(answered=3, tokens=50, seconds=5))

    assert lines[0].startswith(f"{ALONE} ")
    assert "p50     50.5   p95     95.0 ms   (100 requests, 1.0 to 100.0)" in lines[0]
    assert lines[2] == f"p95 {slower:.2f} x alone, p50 {slower:.2f} x; {verdict} the target of 2 x for the p95"
    assert lines[3] == "the crowd: 3 answers, 0 refused, 10.0 tokens/s"


def test_a_refusal_is_told_from_an_answer() -> None:
    answer = chunked(stream(chunk("a"), chunk(finish="stop")))
    refusal = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 2\r\n\r\n{}"

    assert [status_of(received(each)) for each in (answer, refusal)] == [200, 429]


def test_a_request_says_whose_it_is() -> None:
    plain, keyed = request("POST", "/x", b"{}"), request("POST", "/x", b"{}", {"Authorization": "Bearer a"})

    assert keyed == plain.replace(b"\r\n\r\n", b"\r\nAuthorization: Bearer a\r\n\r\n")
