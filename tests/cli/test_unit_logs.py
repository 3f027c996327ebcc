from pathlib import Path

import pytest

from threadmesh.cli.unit_logs import last_event, last_words, rotate


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "tools.log"


def test_the_last_event_is_told_with_its_error(log: Path) -> None:
    log.write_text('{"event": "a"}\n{"event": "server.failed", "error": "no such\\ncommand"}\nnot json\n')

    assert last_event(log) == "server.failed: no such command"


def test_what_stands_after_the_last_log_line_are_the_last_words(log: Path) -> None:
    log.write_text('{"event": "unit.starting"}\ntools: configuration: TOOLS_A: bad\nTOOLS_B: worse\n')

    assert last_words(log) == "tools: configuration: TOOLS_A: bad\nTOOLS_B: worse"


def test_of_a_traceback_only_the_error_is_told(log: Path) -> None:
    log.write_text("Traceback (most recent call last):\n  File \"x.py\", line 1, in <module>\nKeyError: 'x'\n")

    assert last_words(log) == "KeyError: 'x'"


def test_a_unit_that_only_logged_is_quoted_by_its_last_line(log: Path) -> None:
    log.write_text('{"event": "engine.broken"}\n')

    assert last_words(log) == "engine.broken"


@pytest.mark.parametrize("content", ["", "[1, 2]\n", "\n\n"])
def test_a_log_without_events_has_none(log: Path, content: str) -> None:
    log.write_text(content)

    assert last_event(log) == ""


def test_only_the_end_of_a_long_log_is_read(log: Path) -> None:
    log.write_text('{"event": "old"}\n' + "x" * 20_000 + "\n")

    assert last_event(log) == ""


def test_an_absent_log_is_silent(log: Path) -> None:
    rotate(log)

    assert last_event(log) == last_words(log) == ""
