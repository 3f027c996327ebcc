"""The file of pins over restarts, and when something is wrong with it."""

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.contracts.test_pin_store import PIN
from threadmesh.errors import StoreUnavailable
from threadmesh.settings import ConfigurationError
from tools_svc.adapters.json_pins import JsonPins


def test_pins_outlive_the_process(tmp_path: Path) -> None:
    asyncio.run(JsonPins(tmp_path / "pins.json").keep([PIN]))

    assert list(JsonPins(tmp_path / "pins.json").pins()) == [PIN]
    assert [each.name for each in tmp_path.iterdir()] == ["pins.json"]


def _stored(**changes: object) -> str:
    pin = {"server": "s", "tool": "t", "definition_hash": "h", "definition_json": "{}"}
    return json.dumps({"version": 1, "pins": [pin | {"pinned_at": "2026-01-02T03:04:05Z"} | changes]})


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"pins": []}', _stored()[:-3], _stored(pinned_at="today"), _stored(hash="h"), _stored(tool=None)],
)
def test_a_damaged_file_is_refused_in_one_line_and_left_as_it_is(tmp_path: Path, content: str) -> None:
    file = tmp_path / "pins.json"
    file.write_text(content)

    with pytest.raises(ConfigurationError) as refused:
        JsonPins(file)

    assert refused.value.message.startswith(f"{file}: it is damaged; ")
    assert len(refused.value.message.splitlines()) == 1
    assert file.read_text() == content


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "pins.json"
    file.write_text('{"version": 3, "tools": {}}')

    with pytest.raises(ConfigurationError, match="a newer threadmesh wrote it"):
        JsonPins(file)


def test_a_damaged_file_ends_the_start_with_status_78_and_one_line(tmp_path: Path) -> None:
    file = tmp_path / "tools" / "pins.json"
    file.parent.mkdir()
    file.write_text("{")
    environment = {"THREADMESH_DATA_DIR": str(tmp_path), "TOOLS_PORT": "0", "TOOLS_METRICS_PORT": "0"}

    ended = subprocess.run(
        [sys.executable, "-m", "tools_svc"], env=environment, capture_output=True, text=True, timeout=60, check=False
    )

    assert ended.returncode == 78
    assert f"tools_svc: configuration: {file}: it is damaged" in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


async def test_what_cannot_be_written_leaves_the_file_and_the_pins_as_they_were(tmp_path: Path) -> None:
    file = tmp_path / "pins.json"
    store = JsonPins(file)
    await store.keep([PIN])
    file.with_name("pins.json.part").mkdir()

    with pytest.raises(StoreUnavailable, match="cannot be written"):
        await store.keep([replace(PIN, definition_hash="i")])

    assert list(store.pins()) == list(JsonPins(file).pins()) == [PIN]


async def test_a_disk_that_does_not_answer_holds_up_nobody_but_who_changes_pins(tmp_path: Path) -> None:
    part = tmp_path / "pins.json.part"
    os.mkfifo(part)
    store = JsonPins(tmp_path / "pins.json")
    keeping = asyncio.create_task(store.keep([PIN]))
    await asyncio.to_thread(part.stat)  # comes back if the loop goes on

    assert not keeping.done()
    assert "definition_hash" in await asyncio.to_thread(part.read_text)
    with pytest.raises(StoreUnavailable, match="cannot be written"):
        await keeping
