"""What retention does to every store: whole turns go, the oldest first, and nothing of an open run."""

from dataclasses import replace
from datetime import timedelta

import pytest

from context_svc.domain.append_items import append_items
from context_svc.domain.change import Scope
from context_svc.domain.forget_logs import forget_ended_logs
from context_svc.domain.item import Item, ItemKind, NewItem, new_item
from context_svc.domain.ports import Store
from context_svc.domain.read_window import read_window
from context_svc.domain.resolve import resolve
from context_svc.domain.retain import Removal, sweep
from context_svc.domain.retention import Rule, parse_rules
from context_svc.domain.run import Run
from context_svc.domain.thread import Thread
from tests.context_svc.given import (
    appended,
    asking,
    claimed,
    finished,
    queued,
    result,
    running,
    said,
    whole_log,
)
from threadmesh.conversation import Message, Role, Text
from threadmesh.errors import EventLogExpired, ThreadNotFound
from threadmesh.testing.clock import FakeClock

SUMMARY = new_item(Message(role=Role.ASSISTANT, parts=(Text(text="so far"),)), kind=ItemKind.SUMMARY)


async def turns(store: Store, count: int, *, key: str = "k", tokens: int = 10) -> Thread:
    """A thread that begins with instructions and has so many turns of two items."""
    thread = (await resolve(key, metadata={}, store=store)).thread
    items = [said("be kind", Role.SYSTEM)] if not thread.item_count else []
    for number in range(count):
        items += [said(f"q{number}", tokens=tokens), said(f"a{number}", Role.ASSISTANT, tokens=tokens)]
    await added(store, thread, *items)
    return await store.thread(thread.id)


async def added(store: Store, thread: Thread, *items: NewItem) -> tuple[Item, ...]:
    return (await append_items(thread.id, items, request_id="", fingerprint="", store=store)).items


async def swept(store: Store, clock: FakeClock, rules: str, *, dry_run: bool = False) -> list[Removal]:
    removals: list[Removal] = []
    after = None
    while True:
        page = await sweep(parse_rules(rules), now=clock.now(), after=after, store=store, dry_run=dry_run)
        removals += page.removals
        if page.next is None:
            return removals
        after = page.next


async def kept(store: Store, thread: Thread | Run) -> list[str]:
    thread_id = thread.thread_id if isinstance(thread, Run) else thread.id
    return [item.message.text for item in await store.items(thread_id, after=None, limit=10_000, descending=False)]


# Size


async def test_the_oldest_turns_beyond_the_number_of_items_go(store: Store, clock: FakeClock) -> None:
    thread = await turns(store, 10)

    (removal,) = await swept(store, clock, "k max_items=5")

    assert (removal.items, removal.whole, removal.thread.key) == (16, False, "k")
    assert await kept(store, thread) == ["be kind", "q8", "a8", "q9", "a9"]
    assert await swept(store, clock, "k max_items=5") == []


async def test_the_oldest_turns_beyond_the_number_of_tokens_go(store: Store, clock: FakeClock) -> None:
    thread = await turns(store, 10, tokens=10)

    await swept(store, clock, "k max_tokens=60")

    assert await kept(store, thread) == ["be kind", "q7", "a7", "q8", "a8", "q9", "a9"]


async def test_the_newest_turn_stays_however_large_it_is(store: Store, clock: FakeClock) -> None:
    thread = await turns(store, 3)
    await added(store, thread, said("now"), *(said(str(each), Role.ASSISTANT, tokens=99) for each in range(250)))

    await swept(store, clock, "k max_items=2 max_tokens=50")

    words = await kept(store, thread)
    assert (words[:3], len(words)) == (["be kind", "now", "0"], 252)


async def test_a_tool_call_goes_with_its_result(store: Store, clock: FakeClock) -> None:
    thread = await turns(store, 1)
    await added(store, thread, said("time?"), asking("c1"), result("c1"), said("noon", Role.ASSISTANT))
    await added(store, thread, said("thanks"))

    await swept(store, clock, "k max_items=3")

    assert await kept(store, thread) == ["be kind", "thanks"]


async def test_instructions_and_summaries_stay_wherever_they_are(store: Store, clock: FakeClock) -> None:
    thread = await turns(store, 2)
    await added(store, thread, SUMMARY, said("be brief", Role.DEVELOPER))
    await turns(store, 2)

    await swept(store, clock, "k max_items=2")

    assert await kept(store, thread) == ["be kind", "so far", "be brief", "q1", "a1"]


async def test_a_long_thread_is_pruned_to_the_same_end_in_many_steps(store: Store, clock: FakeClock) -> None:
    thread = await turns(store, 900)

    (removal,) = await swept(store, clock, "k max_items=20")

    after = await store.thread(thread.id)
    assert removal.items == 1780
    assert await kept(store, thread) == ["be kind", *(f"{side}{n}" for n in range(890, 900) for side in "qa")]
    assert (after.first_item, after.item_count) == (1781, 1801)


async def test_items_keep_their_numbers_and_windows_can_be_read(store: Store, clock: FakeClock) -> None:
    thread = await turns(store, 300)
    await swept(store, clock, "k max_items=100")
    (new,) = await added(store, thread, said("new"))

    window = await read_window(thread.id, budget=0, run_id="", threads=store, runs=store)
    small = await read_window(thread.id, budget=30, run_id="", threads=store, runs=store)

    assert new.sequence == 601
    assert [each.text for each in window.messages[:2]] == ["be kind", "q250"]
    assert (len(window.messages), window.omitted_items) == (102, 500)
    assert [each.text for each in small.messages] == ["be kind", "new"]


# Age


async def test_turns_go_when_their_last_item_is_too_old(store: Store, clock: FakeClock) -> None:
    thread = await turns(store, 2)
    await added(store, thread, said("old question"))
    clock.advance(3600)
    await added(store, thread, said("late answer", Role.ASSISTANT))
    clock.advance(1)

    await swept(store, clock, "k max_age=1h")

    assert await kept(store, thread) == ["be kind", "old question", "late answer"]


async def test_even_the_newest_turn_can_be_too_old(store: Store, clock: FakeClock) -> None:
    thread = await turns(store, 2)
    clock.advance(3601)

    (removal,) = await swept(store, clock, "k max_age=1h")

    assert removal.items == 4
    assert await kept(store, thread) == ["be kind"]
    assert (await store.thread(thread.id)).update_time == thread.update_time


async def test_an_idle_thread_goes_whole(store: Store, clock: FakeClock) -> None:
    idle, used = await turns(store, 2), await turns(store, 2, key="used")
    clock.advance(3600)
    await added(store, used, said("still here"))
    clock.advance(1)

    (removal,) = await swept(store, clock, "* max_idle=1h")

    assert (removal.thread.id, removal.whole) == (idle.id, True)
    with pytest.raises(ThreadNotFound):
        await store.thread(idle.id)
    assert len(await kept(store, used)) == 6


# Rules


async def test_the_first_rule_that_matches_decides(store: Store, clock: FakeClock) -> None:
    dear, other = await turns(store, 5, key="discord:1:2"), await turns(store, 5, key="discord:1:3")
    free = await turns(store, 5, key="me")

    await swept(store, clock, "discord:*:2, discord:* max_items=2")

    assert [len(await kept(store, each)) for each in (dear, other, free)] == [11, 3, 11]


async def test_a_dry_run_says_the_same_and_removes_nothing(store: Store, clock: FakeClock) -> None:
    for number in range(3):
        await turns(store, 5, key=f"k{number}")
    clock.advance(60)
    await turns(store, 5, key="young")
    rules = "k1 max_idle=30s, * max_items=4"

    promised = await swept(store, clock, rules, dry_run=True)
    threads = await store.threads(key_prefix="", after=None, limit=10)

    assert [len(await kept(store, each)) for each in threads] == [11, 11, 11, 11]
    assert await swept(store, clock, rules) == promised
    assert [(each.thread.key, each.whole) for each in promised if each.whole] == [("k1", True)]


async def test_only_threads_that_were_used_since_are_looked_at(store: Store, clock: FakeClock) -> None:
    old = await turns(store, 5, key="old")
    clock.advance(10)
    new = await turns(store, 5, key="new")

    rules = (Rule(pattern="*", max_items=2),)
    await sweep(rules, now=clock.now(), after=None, since=clock.now() - timedelta(seconds=5), store=store)

    assert [len(await kept(store, each)) for each in (old, new)] == [11, 3]


async def test_more_threads_than_a_page_are_all_looked_at(store: Store, clock: FakeClock) -> None:
    for number in range(230):
        await turns(store, 2, key=f"k{number}")

    assert len(await swept(store, clock, "* max_items=2")) == 230


# Runs


async def test_an_open_run_keeps_its_items_and_older_turns_go(store: Store, clock: FakeClock) -> None:
    thread = await turns(store, 5)
    run = await running(store, clock, "k")
    clock.advance(4)

    await swept(store, clock, "k max_age=1s")

    assert await kept(store, thread) == ["be kind", "hello"]
    run = await finished(store, run, items=(said("answer", Role.ASSISTANT),))
    await swept(store, clock, "k max_age=1h")
    assert await kept(store, thread) == ["be kind", "hello", "answer"]


async def test_a_turn_that_an_open_run_continues_stays(store: Store, clock: FakeClock) -> None:
    thread = await turns(store, 2)
    waiting = await queued(store, "k")
    clock.advance(4)

    await swept(store, clock, "k max_age=1s")

    assert (await kept(store, thread))[-2:] == ["q1", "a1"]
    run = await claimed(store, clock, waiting)
    clock.advance(4)
    await swept(store, clock, "k max_age=1s max_idle=1s")
    assert await kept(store, run) == ["be kind", "hello"]


async def test_a_pruned_turn_takes_the_log_of_its_run_with_it(store: Store, clock: FakeClock) -> None:
    old = await finished(store, await running(store, clock, "k"), b"secret", items=(said("a", Role.ASSISTANT),))
    new = await finished(store, await running(store, clock, "k"), b"public", items=(said("b", Role.ASSISTANT),))

    await swept(store, clock, "k max_items=2")

    assert await kept(store, old) == ["hello", "b"]
    assert (await store.log(old.id, after=-1)).events == ()
    assert len(await whole_log(store, new.id)) == 2
    assert (await store.run(old.id)).finished == old.finished


async def test_events_expire_and_the_end_of_the_run_stays(store: Store, clock: FakeClock) -> None:
    old = await finished(store, await appended(store, await running(store, clock, "k"), b"a", b"b"), b"c")
    clock.advance(3600)
    new = await finished(store, await running(store, clock, "k"), b"x")
    waiting = await appended(store, await running(store, clock, "other"), b"y")

    assert await forget_ended_logs(before=clock.now() - timedelta(minutes=1), store=store) == 1

    for after in (-1, 0, 1):
        with pytest.raises(EventLogExpired) as caught:
            await whole_log(store, old.id, after=after)
        assert caught.value.facts == {"run_id": old.id, "first_sequence": "3"}
    (terminal,) = await whole_log(store, old.id, after=2)
    assert terminal.body == old.finished
    assert await whole_log(store, old.id, after=3) == []
    assert len(await whole_log(store, new.id)) == 2
    assert len((await store.log(waiting.id, after=-1)).events) == 1
    assert await kept(store, old) == ["hello", "hello"]


async def test_a_replayed_append_gives_what_is_left_of_it(store: Store, clock: FakeClock) -> None:
    thread = (await resolve("k", metadata={}, store=store)).thread
    items = (said("be kind", Role.SYSTEM), said("one"))
    first = await append_items(thread.id, items, request_id="r", fingerprint="f", store=store)
    await added(store, thread, said("two"))
    await swept(store, clock, "k max_items=1")

    again = await append_items(thread.id, items, request_id="r", fingerprint="f", store=store)

    assert (again.items, again.replayed) == (first.items[:1], True)
    assert await kept(store, thread) == ["be kind", "two"]


async def test_a_thread_that_goes_on_meanwhile_is_not_cut_in_the_middle_of_a_turn(
    store: Store, clock: FakeClock
) -> None:
    """The items were read before somebody answered; the turn is young again."""
    thread = await turns(store, 2)
    clock.advance(3601)

    class Interrupted:
        """Adds an answer between the reading and the removal."""

        def __getattr__(self, name: str) -> object:
            return getattr(store, name)

        async def change(self, scope: Scope, decide: object) -> object:
            await added(store, thread, said("late answer", Role.ASSISTANT))
            return await store.change(scope, decide)  # type: ignore[arg-type]  # it passes on what it got

    rule = (Rule(pattern="*", max_age=timedelta(hours=1)),)
    await sweep(rule, now=clock.now(), after=None, store=Interrupted())  # type: ignore[arg-type]  # it is one

    assert (await kept(store, thread))[-3:] == ["q1", "a1", "late answer"]
    assert replace(await store.thread(thread.id), item_count=5, update_time=thread.update_time) == thread
