"""Conversations that go: by rule and by hand."""

import asyncio
import json

import pytest

from tests.cli.conftest import CommandLine, Ran
from tests.cli.context import Context, context
from tests.context_svc.given import queued, said


async def ran(threadmesh: CommandLine, here: Context, *words: str) -> Ran:
    return await asyncio.to_thread(threadmesh, "threads", *words, "--target", here.target)


async def test_a_dry_run_shows_what_pruning_then_removes(threadmesh: CommandLine) -> None:
    async with context(rules="idle:* max_idle=1h, * max_items=2") as here:
        await here.say("idle:1", said("gone"))
        here.clock.advance(3700)
        await here.say("k", *(said(str(number)) for number in range(5)))

        promised = await ran(threadmesh, here, "prune", "--dry-run")
        as_json = await ran(threadmesh, here, "prune", "--dry-run", "--json")
        assert len(await here.items("k")) == 5
        done = await ran(threadmesh, here, "prune")

        assert "would go" in promised.out
        assert promised.out.replace("would go", "went").split() == done.out.split()
        assert [(each["key"], each["items"], each["whole"]) for each in json.loads(as_json.out)] == [
            ("k", 3, False), ("idle:1", 1, True),
        ]  # fmt: skip
        assert [item.message.text for item in await here.items("k")] == ["3", "4"]
        assert await here.keys() == ["k"]
        again = await ran(threadmesh, here, "prune")
        assert again.out == "The rules keep everything that is there.\n"


async def test_all_pages_are_pruned(threadmesh: CommandLine) -> None:
    async with context(rules="* max_items=1") as here:
        for number in range(210):
            await here.say(f"k{number}", said("a"), said("b"))

        done = await ran(threadmesh, here, "prune", "--json")

    assert len(json.loads(done.out)) == 210


async def test_pruning_without_rules_ends_with_1(threadmesh: CommandLine) -> None:
    async with context() as here:
        done = await ran(threadmesh, here, "prune")

    assert done.status == 1
    assert "CONTEXT_RETENTION" in done.err


async def test_a_thread_is_deleted_by_key_or_id(threadmesh: CommandLine) -> None:
    async with context() as here:
        for key in ("a", "b", "c"):
            await here.say(key, said("x"))
        (named,) = await here.store.threads(key_prefix="b", after=None, limit=1)

        by_key = await ran(threadmesh, here, "delete", "a", "--yes")
        by_id = await ran(threadmesh, here, "delete", named.id, "--yes")
        gone = await ran(threadmesh, here, "delete", "a", "--yes")

        assert (by_key.status, by_key.out) == (0, "Deleted a.\n")
        assert (by_id.status, by_id.out) == (0, "Deleted b.\n")
        assert gone.status == 1
        assert await here.keys() == ["c"]


async def test_a_busy_thread_is_not_deleted(threadmesh: CommandLine) -> None:
    async with context() as here:
        await queued(here.store, "k")

        done = await ran(threadmesh, here, "delete", "k", "--yes")

    assert done.status == 1
    assert "active run" in done.err


async def test_nothing_is_deleted_without_a_yes(threadmesh: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    async with context() as here:
        await here.say("k", said("x"))
        unasked = await ran(threadmesh, here, "delete", "k")
        asked: list[str] = []

        def answer(question: str, **_: object) -> bool:
            asked.append(question)
            raise SystemExit(1)

        monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
        monkeypatch.setattr("typer.confirm", answer)
        refused = await ran(threadmesh, here, "delete", "k")

        assert (unasked.status, refused.status) == (2, 1)
        assert asked == ["Delete k with its 1 items?"]
        assert await here.keys() == ["k"]
