import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.contracts.test_task_store import task
from threadmesh.errors import StoreUnavailable
from threadmesh.settings import ConfigurationError
from tools_svc.adapters.sql_tasks import sql_tasks
from tools_svc.settings import ToolsSettings


async def test_tasks_outlive_their_process(tmp_path: Path) -> None:
    place = f"sqlite:{tmp_path / 'tasks.db'}"
    async with sql_tasks(place) as store:
        await store.add(task())

    async with sql_tasks(place) as store:
        assert await store.get(task().key) == task()
    assert (tmp_path / "tasks.db").stat().st_mode & 0o077 == 0


async def test_the_tasks_of_an_older_version_are_still_there(tmp_path: Path) -> None:
    place = f"sqlite:{tmp_path / 'tasks.db'}"
    async with sql_tasks(place) as store:
        await store.add(task())
    with closing(sqlite3.connect(tmp_path / "tasks.db")) as database:
        database.execute("ALTER TABLE tool_tasks DROP COLUMN verifiable")

    async with sql_tasks(place) as store:
        assert await store.get(task().key) == replace(task(), verifiable=False)
        assert await store.add(task("new")) == task("new")


@pytest.mark.parametrize("place", ["mysql://me:hunter2@host/db", "postgresql://me:hunter2@host:port/db", "nowhere"])
async def test_what_is_no_place_is_refused_without_its_password(place: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        async with sql_tasks(place):
            pass

    assert "TOOLS_TASK_STORE" in refused.value.message
    assert "hunter2" not in refused.value.message


async def test_a_database_that_is_away_may_come_up_later(tmp_path: Path) -> None:
    blocked = tmp_path / "state"
    blocked.write_text("a file where the directory should be")
    async with sql_tasks(f"sqlite:{blocked / 'tasks.db'}") as store:
        with pytest.raises(StoreUnavailable):
            await store.add(task())
        blocked.unlink()
        assert await store.add(task()) == task()


async def test_a_server_that_does_not_answer_is_a_store_that_is_away() -> None:
    async with sql_tasks("postgresql:///db?host=/no/such/directory&user=me") as store:
        with pytest.raises(StoreUnavailable):
            await store.counts()


def test_settings_never_show_a_password() -> None:
    settings = ToolsSettings(task_store="postgresql://me:hunter2@host/db", task_broker="redis://:hunter2@host:6379/0")

    assert "hunter2" not in str(settings.effective())
