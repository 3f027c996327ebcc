"""The keys file while it changes."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from facade.adapters.followed_keys import FollowedKeys
from tests.turn.mesh import until
from threadmesh.keys.file import add_key, revoke_key
from threadmesh.keys.key import Key, digest, id_of, new_token
from threadmesh.settings import ConfigurationError

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def added(path: Path) -> str:
    token = new_token()
    add_key(path, Key(id=id_of(token), sha256=digest(token), created=NOW))
    return id_of(token)


@asynccontextmanager
async def followed(path: Path, *, required: bool = True) -> AsyncIterator[tuple[FollowedKeys, list[Sequence[str]]]]:
    keys, told = FollowedKeys(path, required=required), list[Sequence[str]]()
    following = asyncio.create_task(keys.follow(told.append, every=0.005))
    try:
        yield keys, told
    finally:
        following.cancel()


async def holds(keys: FollowedKeys, *ids: str) -> None:
    async def so() -> bool:
        return keys.keys is not None and set(keys.keys) == set(ids)

    await until(so)


async def heard(told: list[Sequence[str]], count: int) -> None:
    async def so() -> bool:
        return len(told) >= count

    await until(so)


async def test_a_change_is_taken_over(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    first = added(file)
    async with followed(file) as (keys, told):
        second = added(file)
        await holds(keys, first, second)
        revoke_key(file, first, now=NOW)

        async def revoked() -> bool:
            return keys.keys is not None and keys.keys[first].revoked == NOW

        await until(revoked)
        assert told == []


async def test_a_wrong_change_is_told_once_and_the_earlier_keys_hold(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    first = added(file)
    good = file.read_text()
    async with followed(file) as (keys, told):
        file.write_text("\nkeys = 1\n")
        await heard(told, 1)
        assert told == [(f"{file}:2: keys: it must hold tables [keys.<id>]",)]
        assert keys.keys is not None
        assert set(keys.keys) == {first}

        file.write_text(good)
        await heard(told, 2)
        assert told[1:] == [()]


async def test_a_file_that_vanishes_lets_nobody_in_and_nobody_out(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    first = added(file)
    async with followed(file) as (keys, told):
        file.unlink()
        await heard(told, 1)

        assert keys.keys is not None
        assert set(keys.keys) == {first}


async def test_a_mounted_secret_changes_by_its_link(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    first, second = added(old / "keys.toml"), added(new / "keys.toml")
    (tmp_path / "..data").symlink_to(old)
    (tmp_path / "keys.toml").symlink_to("..data/keys.toml")
    async with followed(tmp_path / "keys.toml") as (keys, _):
        await holds(keys, first)
        (tmp_path / "..next").symlink_to(new)
        (tmp_path / "..next").rename(tmp_path / "..data")

        await holds(keys, second)


async def test_a_file_that_need_not_be_there_counts_from_when_it_is(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    async with followed(file, required=False) as (keys, told):
        assert keys.keys is None
        await holds(keys, added(file))
        assert told == []


def test_a_file_that_must_be_there_or_is_wrong_stops_the_start(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    with pytest.raises(ConfigurationError, match="cannot be read"):
        FollowedKeys(file, required=True)
    file.write_text("keys = 1")
    with pytest.raises(ConfigurationError, match=r"keys\.toml:1: keys"):
        FollowedKeys(file, required=False)
