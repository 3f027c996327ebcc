from hypothesis import given
from hypothesis import strategies as st

from tools_svc.adapters.framing import Framer, Oversized


@given(st.lists(st.binary(max_size=20).map(lambda line: line.replace(b"\n", b"")), max_size=10), st.integers(1, 7))
def test_lines_come_out_whole_however_they_are_cut(lines: list[bytes], size: int) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    framer = Framer(20)

    given_back = [line for at in range(0, len(stream), size) for line in framer.feed(stream[at : at + size])]

    assert given_back == lines
    assert framer.pending == 0


@given(st.integers(1, 5_000))
def test_of_a_line_that_is_too_long_only_the_ends_are_kept(size: int) -> None:
    line = b'{"id":7,' + b"x" * 20_000 + b',"end":8}'
    stream = line + b"\nnext\n"
    framer = Framer(1_000)

    long, following = [each for at in range(0, len(stream), size) for each in framer.feed(stream[at : at + size])]

    assert isinstance(long, Oversized)
    assert long.length == len(line)
    assert long.head.startswith(b'{"id":7,')
    assert long.tail.endswith(b',"end":8}')
    assert len(long.head) + len(long.tail) <= 1_024
    assert following == b"next"
