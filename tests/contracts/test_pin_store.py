"""What every store of pins promises."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tools_svc.adapters.json_pins import JsonPins
from tools_svc.adapters.memory_pins import MemoryPins
from tools_svc.domain.pin import Pin
from tools_svc.domain.ports import PinStore

STORES: dict[str, Callable[[Path], PinStore]] = {
    "memory": lambda _: MemoryPins(),
    "json": lambda directory: JsonPins(directory / "tools" / "pins.json"),
}
PIN = Pin(
    server="s",
    tool="an odd name/with signs",
    definition_hash="h",
    definition_json='{"description":"\\ud800 \\u200b"}',
    pinned_at=datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
)


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> PinStore:
    """Every store of pins in turn, empty."""
    return STORES[request.param](tmp_path)


def test_a_new_store_keeps_nothing(store: PinStore) -> None:
    assert list(store.pins()) == []


async def test_what_is_kept_is_given_back_as_it_was(store: PinStore) -> None:
    others = [replace(PIN, tool="other"), replace(PIN, server="r")]

    await store.keep([PIN])
    await store.keep(others)

    assert sorted(store.pins(), key=repr) == sorted([PIN, *others], key=repr)


async def test_a_later_pin_of_a_tool_replaces_the_earlier_one(store: PinStore) -> None:
    later = replace(PIN, definition_hash="i")
    await store.keep([PIN])

    await store.keep([later])

    assert list(store.pins()) == [later]
