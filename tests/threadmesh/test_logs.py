"""What a line of the logs shows, and what none may show."""

import io
import json
import logging

import pytest
import structlog
from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from threadmesh.settings import ProcessSettings
from threadmesh.telemetry import logs

log = structlog.get_logger()


@pytest.fixture
def written() -> io.StringIO:
    stream = io.StringIO()
    logs.configure(unit="test", level="debug", stream=stream)
    return stream


def test_a_hidden_secret_is_shown_by_nobody(written: io.StringIO) -> None:
    secret = 'correct "horse" battery'
    logs.hide(secret)
    log.info("said", line=f"my secret is {secret}", nested={"a": [secret]})
    logging.getLogger("library").warning("Bearer %s", secret)
    try:
        raise ValueError(secret)
    except ValueError as error:
        log.error("defect", exc_info=error)

    lines = written.getvalue().splitlines()
    assert len(lines) == 3
    assert all("***" in line and "horse" not in line for line in lines)
    assert all(json.loads(line)["unit"] == "test" for line in lines)


def test_what_is_too_short_to_be_a_secret_hides_nothing(written: io.StringIO) -> None:
    logs.hide("", "abc")
    log.info("abc", said="abc")

    assert json.loads(written.getvalue())["said"] == "abc"


def test_the_secrets_of_the_settings_are_hidden_each_by_itself(
    written: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Settings(ProcessSettings):
        """Settings with secrets."""

        model_config = SettingsConfigDict(env_prefix="HIDING_")
        keys: SecretStr = Field(default=SecretStr(""))

    monkeypatch.setenv("HIDING_KEYS", "first-of-the-keys, second-of-the-keys")
    Settings.load({})
    log.info("tried", key="second-of-the-keys")

    assert json.loads(written.getvalue())["key"] == "***"


def test_a_line_says_who_wrote_it_when_and_for_whom(written: io.StringIO) -> None:
    with logs.bound_ids(run_id="run_1"):
        log.warning("seen", number=1)
        logging.getLogger("library").warning("seen")

    ours, theirs = map(json.loads, written.getvalue().splitlines())
    assert (ours["logger"], theirs["logger"]) == (__name__, "library")
    assert ours.keys() - {"number"} == theirs.keys() == {"event", "level", "logger", "run_id", "timestamp", "unit"}
    assert (ours["level"], ours["run_id"], ours["number"]) == ("warning", "run_1", 1)


def test_what_is_below_the_level_is_not_written() -> None:
    stream = io.StringIO()
    logs.configure(unit="test", level="warning", stream=stream)
    log.info("said")
    logging.getLogger("library").info("said")
    log.error("wrong")

    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["wrong"]


def test_a_log_that_cannot_be_written_stops_nobody(written: io.StringIO) -> None:
    log.info("said")
    written.close()
    log.info("lost")
    assert written.closed
