"""Uses of keys are written down now and then, and never in the way of a request."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
from structlog.testing import capture_logs

from facade.adapters.noted_uses import NotedUses
from facade.app import app
from facade.settings import FacadeSettings
from tests.turn.mesh import http_server, until
from tests.turn.test_keys import made
from threadmesh.keys.key import id_of
from threadmesh.keys.uses import read_uses, uses_file
from threadmesh.telemetry.metrics import new_registry

NOW = datetime(2026, 1, 2, tzinfo=UTC)


async def test_what_was_noted_is_written_once(tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    uses = NotedUses(keys)
    uses.note("a", NOW)
    keeping = asyncio.create_task(uses.keep(every=0.001))

    async def written() -> bool:
        return uses_file(keys).exists()

    await until(written)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    uses_file(keys).unlink()
    uses.write()

    assert not uses_file(keys).exists()


def test_where_nothing_can_be_written_that_is_said_once(tmp_path: Path) -> None:
    uses = NotedUses(tmp_path / "nowhere" / "keys.toml")
    with capture_logs() as logged:
        for _ in range(2):
            uses.note("a", NOW)
            uses.write()

    (tmp_path / "nowhere").mkdir()
    uses.write()

    assert [line["event"] for line in logged] == ["key_uses.not_written"]
    assert read_uses(tmp_path / "nowhere" / "keys.toml") == {"a": NOW}


async def test_a_key_that_is_let_in_was_used_and_one_that_is_not_was_not(tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    used, refused = made(keys), made(keys, revoked=NOW)
    nobody: Any = dict.fromkeys(("inference_target", "tools_target", "context_target"), "127.0.0.1:1")
    settings = FacadeSettings(**nobody, keys_file=keys)
    began = datetime.now(UTC).replace(microsecond=0)
    async with app(settings, new_registry()) as built, http_server(built) as url, httpx2.AsyncClient() as http:
        for key in (used, refused):
            await http.get(f"{url}/v1/models", headers=key)
        page = (await http.get(f"{url}/metrics")).text
        during = read_uses(keys)
    after = read_uses(keys)

    known = id_of(used["authorization"].split()[1])
    assert during == {}
    assert after.keys() == {known}
    assert after[known] >= began
    assert f'threadmesh_facade_key_last_used_timestamp_seconds{{key="{known}"}}' in page
    assert id_of(refused["authorization"].split()[1]) not in page
