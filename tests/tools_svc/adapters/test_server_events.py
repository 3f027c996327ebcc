import pytest

from tools_svc.adapters.framing import Oversized
from tools_svc.adapters.server_events import EventFramer, ServerEvent

STREAM = (
    b": hello\r\nevent: endpoint\r\ndata: /messages?session_id=1\r\n\r\n"
    b"data:{}\nid: 7\n\nevent: ping\n\ndata: a\ndata: b\n\n"
)


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_events_come_out_as_they_were_meant_however_the_bytes_are_cut(size: int) -> None:
    framer = EventFramer(100)

    chunks = [STREAM[at : at + size] for at in range(0, len(STREAM), size)]
    events = [event for chunk in chunks for event in framer.feed(chunk)]

    assert events == [
        ServerEvent(kind="endpoint", data=b"/messages?session_id=1"),
        ServerEvent(kind="message", data=b"{}"),
        ServerEvent(kind="message", data=b"a\nb"),
    ]


@pytest.mark.parametrize("lines", [b"data: begin" + b"x" * 200 + b"end\n", b"data: begin\n" + b"data: xxxxend\n" * 50])
def test_of_data_that_is_too_long_only_the_ends_are_kept_and_the_next_event_is_whole(lines: bytes) -> None:
    framer = EventFramer(100)

    long, short = framer.feed(lines + b"\ndata: short\n\n")

    assert isinstance(long.data, Oversized)
    assert long.data.head.startswith(b"begin")
    assert long.data.tail.endswith(b"end")
    assert short == ServerEvent(kind="message", data=b"short")


@pytest.mark.parametrize("line", [b"data: xxxx\n", b"data:\n", b"data: " + b"x" * 200 + b"\n"])
def test_an_event_without_end_is_known_by_its_length_and_by_how_it_began(line: bytes) -> None:
    framer = EventFramer(100)
    lines = 1_000
    events = list(framer.feed(b"data: begin\n" + line * lines + b"data: en"))

    assert events == []
    assert framer.pending >= (len(line) - 1) * lines
    assert framer.abandoned().head.startswith(b"begin")


def test_comments_and_whole_events_are_not_pending() -> None:
    framer = EventFramer(100)
    events = list(framer.feed(b"data: a\n\n" + b": wait\n" * 100))

    assert (len(events), framer.pending) == (1, 0)
