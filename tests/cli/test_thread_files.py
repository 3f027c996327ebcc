"""Conversations out of one mesh and into another."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from context_svc.domain.item import Item, ItemKind, ItemStatus, Provenance, Span, new_item
from context_svc.domain.pin import pin
from context_svc.domain.retain import sweep
from context_svc.domain.retention import parse_rules
from tests.cli.conftest import CommandLine, Ran
from tests.cli.context import Context, context, edited
from tests.context_svc.given import asking, queued, result, said
from threadmesh.conversation import Approval, Media, Message, Reasoning, Role, Text

SEEN = (Media(mime_type="image/png", data=bytes(range(256))), Text(text="😀\n\0"))
RICH = (
    said("be kind", Role.SYSTEM),
    new_item(Message(role=Role.USER, parts=SEEN)),
    asking("c1"),
    replace(result("c1"), approval=Approval(approved=True, reason="go on")),
    new_item(
        Message(role=Role.ASSISTANT, parts=(Reasoning(text="hm"), Text(text="noon")), name="bot"),
        tokens=7,
        status=ItemStatus.INCOMPLETE,
    ),
    new_item(
        Message(role=Role.ASSISTANT, parts=(Text(text="so far"),)), kind=ItemKind.SUMMARY, covers=Span(first=1, last=4)
    ),
)


async def ran(threadmesh: CommandLine, here: Context, *words: str) -> Ran:
    return await asyncio.to_thread(threadmesh, "threads", *words, "--target", here.target)


async def filled(here: Context) -> None:
    await here.say("me:notes", *RICH)
    (notes,) = await here.store.threads(key_prefix="me:notes", after=None, limit=1)
    await pin(notes.id, 2, store=here.store)
    await here.say("discord:1", *(said(f"line {number}") for number in range(700)))
    await here.say("discord:2", said("hello"))


def names(directory: Path) -> list[str]:
    return sorted(each.name for each in directory.glob("*.jsonl*"))


def as_imported(items: tuple[Item, ...], there: tuple[Item, ...]) -> list[Item]:
    """What items must have become: all is kept but their names, and where their words come from."""
    return [
        replace(item, id=other.id, thread_id=other.thread_id, provenance=Provenance.IMPORTED)
        for item, other in zip(items, there, strict=True)
    ]


async def test_what_was_exported_is_the_same_once_it_is_imported(threadmesh: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "threads.jsonl"
    async with context() as here, context() as there:
        await filled(here)
        exported = await ran(threadmesh, here, "export", "--output", str(file))
        there.clock.advance(5000)
        imported = await ran(threadmesh, there, "import", str(file))

        assert (exported.status, imported.status) == (0, 0), (exported, imported)
        assert "3 threads with 707 items" in exported.err
        assert imported.out == "Imported 3 threads: 707 items added, 0 were there already.\n"
        for key in ("me:notes", "discord:1", "discord:2"):
            items = await there.items(key)
            assert list(items) == as_imported(await here.items(key), items)
        assert await there.keys() == await here.keys()
        old, new = [(await each.store.threads(key_prefix="me:", after=None, limit=1))[0] for each in (here, there)]
        assert new == replace(old, id=new.id, summary=5)
        assert new.pinned == (2, 3)
    assert file.stat().st_mode & 0o077 == 0
    assert names(tmp_path) == ["threads.jsonl"]


async def test_a_second_import_changes_nothing_anywhere(threadmesh: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "threads.jsonl"
    async with context() as here, context() as there:
        await filled(here)
        await ran(threadmesh, here, "export", "--output", str(file))
        await ran(threadmesh, there, "import", str(file))
        for mesh in (here, there):
            before = [(key, await mesh.items(key)) for key in await mesh.keys()]
            again = await ran(threadmesh, mesh, "import", str(file))

            assert again.out == "Imported 3 threads: 0 items added, 707 were there already.\n"
            assert [(key, await mesh.items(key)) for key in await mesh.keys()] == before


async def test_an_import_goes_on_where_another_stopped(threadmesh: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "threads.jsonl"
    async with context() as here, context() as there:
        await filled(here)
        await ran(threadmesh, here, "export", "--output", str(file))
        lines = file.read_bytes().splitlines(keepends=True)
        for end in (2, 3, 200, 500, len(lines) - 1):
            half = tmp_path / "half.jsonl"
            half.write_bytes(b"".join(lines[:end]))
            stopped = await ran(threadmesh, there, "import", str(half))
            assert stopped.status == 1
            assert f"line {end + 1}: the file breaks off here" in stopped.err
        whole = await ran(threadmesh, there, "import", str(file))

        assert whole.status == 0
        assert len(await there.items("discord:1")) == 700


async def test_a_thread_that_went_on_keeps_what_came_later(threadmesh: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "threads.jsonl"
    async with context() as here:
        await filled(here)
        await ran(threadmesh, here, "export", "discord:2", "--output", str(file))
        await here.say("discord:2", said("later"))

        again = await ran(threadmesh, here, "import", str(file))

        assert again.status == 0
        assert [item.message.text for item in await here.items("discord:2")] == ["hello", "later"]


async def test_pruned_items_stay_away_and_numbers_stay_the_same(threadmesh: CommandLine, tmp_path: Path) -> None:
    whole, rest = tmp_path / "whole.jsonl", tmp_path / "rest.jsonl"
    async with context() as here, context() as there:
        await filled(here)
        await ran(threadmesh, here, "export", "discord:1", "--output", str(whole))
        rules = parse_rules("* max_items=10")
        await sweep(rules, now=here.clock.now(), after=None, store=here.store)
        await ran(threadmesh, here, "export", "discord:1", "--output", str(rest))
        await ran(threadmesh, here, "import", str(whole))
        await ran(threadmesh, there, "import", str(rest))

        for mesh in (here, there):
            assert [item.sequence for item in await mesh.items("discord:1")] == list(range(690, 700))


async def test_a_prefix_or_a_key_chooses_what_is_exported(threadmesh: CommandLine) -> None:
    async with context() as here:
        await filled(here)
        some = await ran(threadmesh, here, "export", "--prefix", "discord:")
        one = await ran(threadmesh, here, "export", "me:notes")

    def keys(out: str) -> list[str]:
        return [line["thread"]["key"] for line in map(json.loads, out.splitlines()) if "thread" in line]

    assert keys(some.out) == ["discord:2", "discord:1"]
    assert keys(one.out) == ["me:notes"]
    lines = one.out.splitlines()
    assert json.loads(lines[0]) == {"format": "threadmesh.threads", "version": 3}
    assert json.loads(lines[-1]) == {"end": {"threads": 1, "items": 6}}


async def test_a_thread_with_other_items_is_left_alone_and_the_others_go_on(
    threadmesh: CommandLine, tmp_path: Path
) -> None:
    file = tmp_path / "threads.jsonl"
    async with context() as here, context() as there:
        await filled(here)
        await there.say("discord:1", said("something else"))
        await queued(there.store, "me:notes")
        await ran(threadmesh, here, "export", "--output", str(file))

        imported = await ran(threadmesh, there, "import", str(file))

        assert imported.status == 1
        assert "thread discord:1" in imported.err
        assert "(item 0)" in imported.err
        assert "thread me:notes" in imported.err
        assert "2 threads were left as they are" in imported.err
        assert [item.message.text for item in await there.items("discord:1")] == ["something else"]
        assert len(await there.items("discord:2")) == 1


@pytest.mark.parametrize(
    ("number", "line", "why"),
    [
        (1, '{"format":"threadmesh.threads","version":4}', "line 1: the file has version 4"),
        (1, '{"format":"other","version":1}', "line 1: a file of threads begins with"),
        (1, '{"format":"threadmesh.threads","version":true}', "line 1: the version is no number"),
        (3, "{", "line 3: it is no JSON"),
        (3, "[]", "line 3: it is no JSON object"),
        (3, '{"item":{"smell":"rose"}}', "line 3: "),
        (3, '{"item":{},"more":1}', "line 3: it is neither"),
        (3, '{"item":{"sequence":"1"}}', "line 3: the item has no message"),
        (2, '{"thread":{"id":"x"}}', "line 2: the thread has no key"),
        (2, "", "line 2: there is an item before the first thread"),
        (4, "", "line 8: the file should hold 1 threads and 6 items"),
        (9, '{"end":{"threads":1,"items":6}}\n{}', "line 10: the file goes on after its end"),
    ],
)
async def test_a_bad_line_is_named(threadmesh: CommandLine, tmp_path: Path, number: int, line: str, why: str) -> None:
    file = tmp_path / "threads.jsonl"
    async with context() as here, context() as there:
        await filled(here)
        await ran(threadmesh, here, "export", "me:notes", "--output", str(file))

        imported = await ran(threadmesh, there, "import", str(edited(file, number, line)))

    assert imported.status == 1
    assert why in imported.err
    assert len(imported.err.splitlines()) == 1


async def test_what_cannot_be_read_or_written_is_said(threadmesh: CommandLine, tmp_path: Path) -> None:
    async with context() as here:
        missing = await ran(threadmesh, here, "import", str(tmp_path / "none.jsonl"))
        nowhere = await ran(threadmesh, here, "export", "--output", str(tmp_path / "none" / "x.jsonl"))
        unknown = await ran(threadmesh, here, "export", "nobody", "--output", str(tmp_path / "x.jsonl"))

    assert (missing.status, nowhere.status, unknown.status) == (1, 1, 1)
    assert "No such file" in missing.err
    assert "cannot be written" in nowhere.err
    assert "no thread with the id or key" in unknown.err
    assert names(tmp_path) == []


def test_a_mesh_that_does_not_run_ends_with_3(threadmesh: CommandLine, tmp_path: Path) -> None:
    ended = threadmesh("threads", "export", "--output", str(tmp_path / "x.jsonl"), "--target", "127.0.0.1:1")

    assert ended.status == 3


async def test_the_documented_file_can_be_imported(threadmesh: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "example.jsonl"
    file.write_text(example())
    async with context() as here:
        imported = await ran(threadmesh, here, "import", str(file))

        assert imported.out == "Imported 1 threads: 2 items added, 0 were there already.\n"
        assert [item.message.text for item in await here.items("discord:1:2")] == ["hello", "hi"]


def example() -> str:
    page = Path(__file__).parents[2] / "docs" / "thread-files.md"
    return page.read_text("utf-8").partition("```jsonl\n")[2].partition("```")[0]
