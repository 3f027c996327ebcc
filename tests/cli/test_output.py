import pytest

from threadmesh.cli.output import one_line, print_table, printable


def test_what_would_steer_the_terminal_is_left_out() -> None:
    assert printable("a\x1b[2Jb\x07\x9b\u202ec\r\x7f") == "a[2Jbc"


def test_ordinary_writing_stays_as_it_is() -> None:
    text = "Grüße 👩\u200d🔬\n\tנמל"

    assert printable(text) == text


def test_a_line_is_cut_to_its_limit() -> None:
    assert one_line(" a\n b  c ") == "a b c"
    assert one_line("abcdef", limit=4) == "abc…"
    assert one_line("abcd", limit=4) == "abcd"


def test_a_pipe_gets_each_row_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["key", "words"], [["me:notes", "x" * 300], ["[b]", "\x1by"]])

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[1].split() == ["me:notes", "x" * 300]
    assert lines[2].split() == ["[b]", "y"]
