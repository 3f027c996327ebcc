import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.failures import RequestFailed
from benchmarks.load.answer import Answer, read_answer
from tests.benchmarks.given import HEAD, chunk, chunked, received, stream

CHUNKS = (
    chunk(None, usage=None),
    chunk("Grüße"),
    chunk(""),
    chunk(" an alle"),
    chunk(None, finish="length"),
    {"choices": [], "usage": {"completion_tokens": 5}},
)


def test_only_chunks_with_content_arrive_and_the_servers_count_is_taken() -> None:
    head, *blocks = HEAD + b"\r\n", *stream(*CHUNKS)

    answer = read_answer(received(head, *blocks))

    assert answer == Answer(arrivals=(3, 5), seconds=8, tokens=5, text="Grüße an alle", finish_reason="length")
    assert answer.first_token == 3


def test_chunks_are_counted_where_the_server_counts_nothing() -> None:
    body = chunked(stream(chunk("a"), chunk("b"), chunk("c"), chunk(finish="stop")))

    assert read_answer(received(body)).tokens == 3


@given(st.lists(st.integers(min_value=1, max_value=40)))
def test_where_the_network_cuts_makes_no_difference_to_the_answer(cuts: list[int]) -> None:
    body = chunked(stream(*CHUNKS))
    pieces, start = [], 0
    for cut in cuts:
        pieces.append(body[start : start + cut])
        start += cut

    answer = read_answer(received(*pieces, body[start:]))

    assert (answer.text, answer.tokens, len(answer.arrivals)) == ("Grüße an alle", 5, 2)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"HTTP/1.1 429 Too Many Requests\r\n\r\n{}", "429"),
        (chunked(stream(chunk("half"), done=False)), "no whole stream"),
        (chunked(stream(chunk(None))), "no whole stream"),
        (chunked(stream(chunk("half"), {"error": {"message": "out of breath"}})), "out of breath"),
        (b"", "nothing"),
    ],
)
def test_what_is_no_whole_answer_is_a_failure_that_shows_it(body: bytes, said: str) -> None:
    with pytest.raises(RequestFailed, match=said):
        read_answer(received(body))
