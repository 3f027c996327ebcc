"""What every store promises about threads without keys, what describes a thread, and single items that go."""

from dataclasses import replace

import pytest

from context_svc.domain.append_items import append_items
from context_svc.domain.create_thread import NewThread, create_thread
from context_svc.domain.delete_item import delete_item, item_of
from context_svc.domain.item import NewItem, new_item
from context_svc.domain.pin import pin
from context_svc.domain.ports import Store
from context_svc.domain.read_window import read_window
from context_svc.domain.resolve import resolve
from context_svc.domain.start import StartRequest, start
from context_svc.domain.update_thread import update_thread
from tests.context_svc.given import asking, result, said
from threadmesh.conversation import Approval, Message, Reasoning, Role, Text, ToolCall
from threadmesh.errors import (
    IdempotencyKeyReused,
    InvalidArgument,
    NotFound,
    ThreadBusy,
    ThreadNotFound,
)

RULE = said("be brief", Role.SYSTEM)


async def made(store: Store, *items: NewItem) -> str:
    return (await create_thread(NewThread(metadata={}, items=items), store=store)).thread.id


async def words(store: Store, thread_id: str) -> list[str]:
    window = await read_window(thread_id, budget=0, run_id="", threads=store, runs=store)
    return [each.text for each in window.messages]


async def test_a_thread_without_a_key_is_listed_and_has_its_first_items(store: Store) -> None:
    new = NewThread(metadata={"topic": "tea"}, items=(RULE, said("hello")), tenant="a")

    thread = (await create_thread(new, store=store)).thread

    assert await store.thread(thread.id) == thread
    assert (thread.key, thread.ephemeral, thread.item_count, thread.tenant) == ("", False, 2, "a")
    assert await words(store, thread.id) == ["be brief", "hello"]
    other = (await create_thread(NewThread(metadata={}), store=store)).thread
    assert {each.id for each in await store.threads(key_prefix="", after=None, limit=9)} == {thread.id, other.id}
    assert [each.id for each in await store.threads(key_prefix="", after=None, limit=9, tenant="a")] == [thread.id]


@pytest.mark.parametrize("approval", [Approval(approved=True, reason="go on"), Approval(approved=False), Approval()])
async def test_a_result_keeps_what_was_asked_about_its_call(store: Store, approval: Approval) -> None:
    thread = await made(store, asking("c1"), replace(result("c1"), approval=approval))

    call, kept = await store.items(thread, after=None, limit=9, descending=False)

    assert (call.approval, kept.approval) == (None, approval)


async def test_creating_twice_with_one_request_id_creates_once_for_each_tenant(store: Store) -> None:
    new = NewThread(metadata={}, items=(said("hello"),), request_id="r", fingerprint="f")

    first = await create_thread(new, store=store)
    await append_items(first.thread.id, (said("more"),), request_id="", fingerprint="", store=store)
    again = await create_thread(new, store=store)

    assert (again.thread.id, first.replayed, again.replayed) == (first.thread.id, False, True)
    assert await words(store, first.thread.id) == ["hello", "more"]
    with pytest.raises(IdempotencyKeyReused):
        await create_thread(NewThread(metadata={}, request_id="r", fingerprint="g"), store=store)
    others = NewThread(metadata={}, request_id="r", fingerprint="f", tenant="b")
    assert (await create_thread(others, store=store)).thread.id != first.thread.id


async def test_what_describes_a_thread_is_replaced(store: Store) -> None:
    thread = (await resolve("k", metadata={"a": "1", "b": "2"}, store=store)).thread

    await update_thread(thread.id, metadata={"b": "3"}, store=store)

    assert (await store.thread(thread.id)).metadata == {"b": "3"}
    assert (await store.thread(thread.id)).key == "k"
    with pytest.raises(ThreadNotFound):
        await update_thread("thread_0", metadata={}, store=store)


async def test_a_run_describes_the_thread_that_it_makes_and_no_other(store: Store) -> None:
    for text in ("first", "second"):
        request = StartRequest(input=(said(text),), timeout=60, thread_key="k", metadata={"said": text})
        run = (await start(request, store=store)).run

    assert (await store.thread(run.thread_id)).metadata == {"said": "first"}


async def test_an_item_that_was_deleted_leaves_its_number_and_no_window_has_it(store: Store) -> None:
    thread_id = await made(store, said("one"), said("two"), said("three"))

    await delete_item(thread_id, 1, store=store)
    await append_items(thread_id, (said("four"),), request_id="", fingerprint="", store=store)

    items = await store.items(thread_id, after=None, limit=9, descending=False)
    assert [item.sequence for item in items] == [0, 2, 3]
    assert await words(store, thread_id) == ["one", "three", "four"]
    assert (await item_of(thread_id, 2, store=store)).message.text == "three"
    for gone in (1, 7):
        with pytest.raises(NotFound):
            await item_of(thread_id, gone, store=store)
        with pytest.raises(NotFound):
            await delete_item(thread_id, gone, store=store)


async def test_an_instruction_that_was_repeated_holds_until_its_last_is_deleted(store: Store) -> None:
    thread_id = await made(store, RULE, said("one"), RULE, said("two"))

    await delete_item(thread_id, 0, store=store)

    assert [item.sequence for item in await store.instructions(thread_id)] == [2]
    await delete_item(thread_id, 2, store=store)
    assert await store.instructions(thread_id) == ()
    assert await words(store, thread_id) == ["one", "two"]


async def test_a_call_whose_result_was_deleted_stays_paired(store: Store) -> None:
    thread_id = await made(store, said("time?"), asking("c"), result("c"), said("noon", Role.ASSISTANT))
    await pin(thread_id, 1, store=store)

    thread = await delete_item(thread_id, 2, store=store)

    assert thread.pinned == (1,)
    window = await read_window(thread_id, budget=0, run_id="", threads=store, runs=store)
    assert [each.role for each in window.messages] == [Role.USER, Role.ASSISTANT, Role.TOOL, Role.ASSISTANT]
    assert "outcome is unknown" in window.messages[2].text.lower()
    await delete_item(thread_id, 1, store=store)
    assert (await store.thread(thread_id)).pinned == ()
    assert await words(store, thread_id) == ["time?", "noon"]


async def test_a_part_of_an_item_can_go_and_the_rest_stays(store: Store) -> None:
    call = ToolCall(id="c", name="clock", arguments_json="{}")
    whole = Message(role=Role.ASSISTANT, parts=(Reasoning(text="hm"), Text(text="let me see")), tool_calls=(call,))
    thread_id = await made(store, said("time?"), new_item(whole), result("c"))
    silent = Message(role=Role.ASSISTANT, tool_calls=(call,))
    plain = Message(role=Role.ASSISTANT, parts=(Text(text="let me see"),))

    await delete_item(thread_id, 1, remaining=silent, store=store)

    assert (await item_of(thread_id, 1, store=store)).message == silent
    for other in (plain, Message(role=Role.USER), whole):
        with pytest.raises(InvalidArgument):
            await delete_item(thread_id, 1, remaining=other, store=store)
    with pytest.raises(NotFound):
        await delete_item(thread_id, 8, remaining=silent, store=store)


async def test_nothing_is_deleted_of_a_thread_that_is_busy(store: Store) -> None:
    thread_id = await made(store, said("one"), said("two"))
    await start(StartRequest(input=(said("three"),), timeout=60, thread_id=thread_id), store=store)

    with pytest.raises(ThreadBusy):
        await delete_item(thread_id, 0, store=store)

    assert len(await store.items(thread_id, after=None, limit=9, descending=False)) == 2
