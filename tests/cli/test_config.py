from pathlib import Path

import pytest

from threadmesh.cli.config import Configuration, parse_configuration, read_configuration
from threadmesh.settings import ConfigurationError

PATH = Path("/etc/threadmesh.toml")


def parse(text: str) -> Configuration:
    return parse_configuration(text, path=PATH)


def test_sections_become_the_variables_of_their_units() -> None:
    found = parse('[inference]\nmodel = "/m.gguf"\nthreads = 3\n[context]\nstore = "sqlite:/x"\n').environment

    assert found == {"INFERENCE_MODEL": "/m.gguf", "INFERENCE_THREADS": "3", "CONTEXT_STORE": "sqlite:/x"}


def test_tables_inside_a_section_are_joined_by_two_underscores() -> None:
    assert parse("[tools.retry]\nattempts = 3\n[facade]\nlimits.body_bytes = 9\n").environment == {
        "TOOLS_RETRY__ATTEMPTS": "3",
        "FACADE_LIMITS__BODY_BYTES": "9",
    }


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("true", "true"),
        ("0.5", "0.5"),
        ('["a", "b"]', "a,b"),
        ("[1, 2]", "[1, 2]"),
        ('["a,b"]', '["a,b"]'),
        ('[{name = "x"}]', '[{"name": "x"}]'),
    ],
)
def test_values_are_written_as_the_environment_writes_them(written: str, value: str) -> None:
    assert parse(f"[facade]\nthing = {written}\n").environment == {"FACADE_THING": value}


def test_the_mesh_section_sets_the_log_level_of_every_unit_unless_a_unit_has_its_own() -> None:
    found = parse('[mesh]\nlog_level = "debug"\n[tools]\nlog_level = "error"\n').environment

    assert found["INFERENCE_LOG_LEVEL"] == "debug"
    assert found["TOOLS_LOG_LEVEL"] == "error"


def test_a_relative_data_directory_begins_at_the_file() -> None:
    found = parse('[mesh]\ndata_dir = "state"\nstop_seconds = 3\n')

    assert found.data_directory == Path("/etc/state")
    assert found.stop_seconds == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[mesh]\n\ncolour = 1\n", r"/etc/threadmesh\.toml:3: mesh\.colour: no such key"),
        ("[mesh]\ndata_dir = 1\n", r":2: mesh\.data_dir: it must be a text"),
        ("[mesh]\nstop_seconds = true\n", r":2: mesh\.stop_seconds: it must be a number"),
        ("[mesh]\nmtls = 1\n", r":2: mesh\.mtls: it must be true or false"),
        ("[infrence]\nmodel = 1\n", r":1: infrence: no such section; there are context"),
        ("# hello\ntools = 3\n", r":2: tools: it must be a section"),
        ("[tools]\nsince = 2026-01-01\n", r":2: tools\.since: a date or time is no setting"),
    ],
)
def test_what_is_wrong_is_told_with_its_line_and_key(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        parse(text)


def test_broken_toml_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "threadmesh.toml"
    path.write_text("[mesh]\nlog_level = \n")

    with pytest.raises(ConfigurationError, match=rf"^{path}:2: "):
        read_configuration(path)


def test_a_missing_file_is_a_wrong_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"No such file.*--config"):
        read_configuration(tmp_path / "absent.toml")


def test_a_units_complaint_is_led_back_to_the_line_that_caused_it() -> None:
    found = parse("[tools]\n\ncolour = 1\n")

    explained = found.explain("tools: configuration: TOOLS_COLOUR: no such setting\nTOOLS_OTHER: no such setting")

    assert explained == (
        "/etc/threadmesh.toml:3: tools.colour: tools: configuration: TOOLS_COLOUR: no such setting; "
        "TOOLS_OTHER: no such setting"
    )
