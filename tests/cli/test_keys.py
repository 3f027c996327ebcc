"""`threadmesh keys`, as an operator types it."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.cli.conftest import CommandLine
from threadmesh.cli.keys import read_expiry
from threadmesh.errors import InvalidArgument
from threadmesh.keys.file import read_keys
from threadmesh.keys.key import digest
from threadmesh.keys.uses import note_uses

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "data" / "keys.toml"


def test_a_key_is_shown_once_and_alone_on_stdout(threadmesh: CommandLine, file: Path) -> None:
    made = threadmesh("keys", "create", "--name", "bot", "--tenant", "home", "--scope", "chat", "--expires", "90d")
    listed = threadmesh("keys", "list")
    token = made.out.strip()
    (key,) = read_keys(file).values()

    assert made.status == 0
    assert key.sha256 == digest(token)
    assert (key.name, key.tenant, list(key.scopes)) == ("bot", "home", ["chat"])
    assert key.expires is not None
    assert key.expires - key.created == timedelta(days=90)
    assert key.id in listed.out
    assert token.rpartition("_")[2] not in listed.out + made.err


def test_limits_are_kept_with_the_key(threadmesh: CommandLine) -> None:
    options = (
        "--requests-per-minute",
        "60",
        "--tokens-per-minute",
        "0",
        "--concurrent-streams",
        "4",
        "--stored-bytes",
        "5000",
    )
    made = json.loads(threadmesh("keys", "create", "--json", *options).out)
    (listed,) = json.loads(threadmesh("keys", "list", "--json").out)

    assert listed["limits"] == {
        "requests_per_minute": 60,
        "tokens_per_minute": 0,
        "concurrent_streams": 4,
        "stored_bytes": 5000,
    }
    assert "5000 bytes stored" in threadmesh("keys", "list").out
    assert made.pop("key").startswith(f"tm_{listed['id']}_")
    assert listed.pop("last_used") is None
    assert made | {"created": ""} == listed | {"created": ""}


def test_when_a_key_was_last_used_is_listed(threadmesh: CommandLine, file: Path) -> None:
    made, other = [json.loads(threadmesh("keys", "create", "--json").out) for _ in range(2)]
    note_uses(file, {made["id"]: NOW})
    listed = {key["id"]: key["last_used"] for key in json.loads(threadmesh("keys", "list", "--json").out)}

    assert listed == {made["id"]: NOW.isoformat(), other["id"]: None}
    assert "2026-01-0" in threadmesh("keys", "list").out


@pytest.mark.parametrize("by_itself", [False, True])
def test_a_revoked_key_is_listed_as_revoked(threadmesh: CommandLine, by_itself: bool) -> None:
    made = json.loads(threadmesh("keys", "create", "--json").out)
    named = made["key"] if by_itself else made["id"]
    first, again = threadmesh("keys", "revoke", named), threadmesh("keys", "revoke", named)

    assert (first.out, again.out) == (f"Revoked {made['id']}.\n", f"{made['id']} had been revoked before.\n")
    assert json.loads(threadmesh("keys", "list", "--json").out)[0]["state"] == "revoked"


def test_another_file_can_be_named_by_option_and_by_variable(
    threadmesh: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threadmesh("keys", "create", "--file", str(tmp_path / "a.toml"))
    monkeypatch.setenv("FACADE_KEYS_FILE", str(tmp_path / "b.toml"))
    threadmesh("keys", "create")

    assert len(read_keys(tmp_path / "a.toml")) == len(read_keys(tmp_path / "b.toml")) == 1


@pytest.mark.parametrize(
    ("words", "status", "why"),
    [
        (("revoke", "ffffffffffff"), 78, "cannot be read"),
        (("create", "--expires", "soon"), 1, "write 90d"),
        (("create", "--expires", "2001-01-01"), 1, "has passed"),
        (("create", "--tenant", "a/b"), 1, "A tenant is named"),
        (("create", "--name", "a\x1b[2J"), 1, "printable"),
        (("create", "--scope", "fly"), 2, "fly"),
        (("create", "--tokens-per-minute", "-1"), 2, "tokens-per-minute"),
    ],
)
def test_what_is_wrong_is_said_in_a_line_and_nothing_is_written(
    threadmesh: CommandLine, file: Path, words: tuple[str, ...], status: int, why: str
) -> None:
    ran = threadmesh("keys", *words)

    assert ran.status == status
    assert why in ran.err
    assert status == 2 or len(ran.err.splitlines()) == 1
    assert not file.exists()


def test_a_broken_file_is_told_with_its_line(threadmesh: CommandLine, file: Path) -> None:
    file.parent.mkdir()
    file.write_text("\nx = 1\n")

    for words in (("list",), ("create",), ("revoke", "0")):
        ran = threadmesh("keys", *words)
        assert ran.status == 78
        assert f"{file}:2: x: no such key" in ran.err


def test_times_are_durations_or_dates() -> None:
    assert read_expiry("", now=NOW) is None
    assert read_expiry("12h", now=NOW) == NOW + timedelta(hours=12)
    assert read_expiry("2026-02-01T00:00:00+01:00", now=NOW) == datetime(2026, 1, 31, 23, tzinfo=UTC)
    with pytest.raises(InvalidArgument):
        read_expiry("0d", now=NOW)
