from hypothesis import given
from hypothesis import strategies as st

from threadmesh.cli.sse import Event, EventReader


def read(*chunks: bytes) -> list[Event]:
    reader = EventReader()
    return [event for chunk in chunks for event in reader.feed(chunk)]


def test_an_event_ends_with_an_empty_line() -> None:
    assert read(b"data: one\n\ndata: two\n") == [Event(data="one")]


def test_data_lines_are_joined_and_one_space_is_dropped() -> None:
    assert read(b"data:  a\ndata:b\ndata\n\n") == [Event(data=" a\nb\n")]


def test_names_and_ids_are_kept_as_the_standard_says() -> None:
    events = read(b"event: tool\nid: 7\ndata: x\n\ndata: y\n\n")

    assert events == [Event(data="x", name="tool", id="7"), Event(data="y", id="7")]


def test_comments_retry_times_and_unknown_fields_are_no_events() -> None:
    assert read(b": heartbeat\n\nretry: 10\n\ncolour: red\n\n") == []


def test_every_kind_of_line_end_is_understood() -> None:
    assert read(b"data: a\r\n\r\ndata: b\r\rdata: c\n\n") == [Event(data="a"), Event(data="b"), Event(data="c")]


def test_line_separators_inside_json_do_not_cut_an_event() -> None:
    assert read('data: {"text": "a\u2028b\x0bc"}\n\n'.encode()) == [Event(data='{"text": "a\u2028b\x0bc"}')]


@given(st.lists(st.integers(min_value=1, max_value=5)))
def test_where_the_network_cuts_makes_no_difference(cuts: list[int]) -> None:
    body = "event: e\r\ndata: grüße 🎉\r\n\r\n: beat\ndata: [DONE]\n\n".encode()
    chunks, start = [], 0
    for cut in cuts:
        chunks.append(body[start : start + cut])
        start += cut
    chunks.append(body[start:])

    assert read(*chunks) == [Event(data="grüße 🎉", name="e"), Event(data="[DONE]")]
