"""When keys were last used, as it stands beside their file."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from threadmesh.keys.uses import note_uses, read_uses, uses_file

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "keys.toml"


def test_of_what_several_processes_know_the_latest_stands(keys: Path) -> None:
    note_uses(keys, {"a": NOW, "b": LATER})
    note_uses(keys, {"a": LATER, "b": NOW, "c": NOW})

    assert read_uses(keys) == {"a": LATER, "b": LATER, "c": NOW}


def test_it_is_its_owners_alone_and_not_the_keys_file(keys: Path) -> None:
    note_uses(keys, {"a": NOW})

    assert uses_file(keys).stat().st_mode & 0o777 == 0o600
    assert not keys.exists()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 5}', '{"a": "yesterday"}', "\x00"])
def test_a_damaged_file_knows_nothing_and_is_replaced(keys: Path, text: str) -> None:
    uses_file(keys).write_text(text)
    before = read_uses(keys)
    note_uses(keys, {"a": NOW})

    assert (before, read_uses(keys)) == ({}, {"a": NOW})
