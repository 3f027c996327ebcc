"""What the facade may rely on where windows, pins, summaries and retention are decided, over the real unit."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from context_svc.app import app as context_app
from context_svc.settings import ContextSettings
from facade.adapters.curation_client import CurationClient
from facade.adapters.threads_client import ThreadsClient
from facade.domain.curation import Curation, NewSummary, Retention
from facade.domain.threads import Thread, Threads
from tests.turn.mesh import served
from threadmesh.conversation import Message, Role, ToolCall, message
from threadmesh.errors import (
    ContextLengthExceeded,
    InvalidArgument,
    NotFound,
    PreconditionFailed,
    ThreadChanged,
    ThreadNotFound,
)
from threadmesh.rpc.channel import connect

RULES = "k* max_age=2h max_idle=3d max_items=100 max_tokens=9000 only=summarized"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A thread of tenant `a` with three turns, and the ports to it."""

    threads: Threads
    curation: Curation
    thread: Thread

    async def texts(self, budget: int = 10_000) -> list[str]:
        window = await self.curation.window(self.thread.id, token_budget=budget, tenant="a")
        return [each.text for each in window.messages]


def turns(count: int) -> list[Message]:
    both = (Role.USER, "question"), (Role.ASSISTANT, "answer")
    return [message(role, f"{what} {number}") for number in range(count) for role, what in both]


@pytest.fixture(params=["sqlite", "memory"])
async def kept(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Kept]:
    store = f"sqlite:{tmp_path / 'context.db'}" if request.param == "sqlite" else "memory:"
    async with AsyncExitStack() as stack:
        port = await served(stack, context_app, ContextSettings(store=store, retention=RULES))
        channel = await stack.enter_async_context(connect(f"127.0.0.1:{port}"))
        threads, curation = ThreadsClient(channel), CurationClient(channel)
        thread = await threads.resolve("k", {}, tenant="a")
        await threads.append(thread.id, turns(3), request_id="", tenant="a")
        yield Kept(threads=threads, curation=curation, thread=thread)


def summary(**changed: Any) -> NewSummary:
    given: dict[str, Any] = {"first": 0, "last": 3, "previous": None, "text": "in short", "tokens": 3}
    return NewSummary(**{**given, "request_id": "r", **changed})


async def test_a_pinned_entry_is_in_every_window_until_it_is_unpinned(kept: Kept) -> None:
    newest = await kept.texts(1)
    pinned = await kept.curation.pin(kept.thread.id, 0, tenant="a")

    assert pinned.pinned == (0,)
    with pytest.raises(ContextLengthExceeded):
        await kept.texts(1)
    assert (await kept.curation.unpin(kept.thread.id, 0, tenant="a")).pinned == ()
    assert await kept.texts(1) == newest
    with pytest.raises(NotFound):
        await kept.curation.pin(kept.thread.id, 99, tenant="a")


async def test_a_window_holds_what_fits_and_says_what_does_not(kept: Kept) -> None:
    whole = await kept.curation.window(kept.thread.id, token_budget=10_000, tenant="a")
    part = await kept.curation.window(kept.thread.id, token_budget=whole.tokens - 1, tenant="a")

    assert (whole.messages, whole.omitted_items, whole.summary) == (tuple(turns(3)), 0, None)
    assert (part.messages, part.omitted_items) == (tuple(turns(3)[2:]), 2)


async def test_a_summary_is_added_once_and_stands_for_what_it_covers(kept: Kept) -> None:
    added = await kept.curation.summarize(kept.thread.id, summary(), tenant="a")
    again = await kept.curation.summarize(kept.thread.id, summary(), tenant="a")

    assert (added.summary, added.covers, added.message.text, again) == (True, (0, 3), "in short", added)
    assert (await kept.threads.thread(kept.thread.id, tenant="a")).summary == added.sequence
    with pytest.raises(ThreadChanged):
        await kept.curation.summarize(kept.thread.id, summary(request_id="another"), tenant="a")
    with pytest.raises(PreconditionFailed):
        await kept.curation.pin(kept.thread.id, added.sequence, tenant="a")


@pytest.mark.parametrize(("name", "retells"), [(None, False), ("web__read", True), ("", True)])
async def test_a_window_says_whether_its_summary_retells_tools(kept: Kept, name: str | None, retells: bool) -> None:
    call = ToolCall(id="c", name=name or "mine", arguments_json="{}")
    result = replace(message(Role.TOOL, "noon"), tool_call_id="c", name=name or "")
    called = [] if name is None else [Message(role=Role.ASSISTANT, tool_calls=(call,)), result]
    said = [*called, message(Role.ASSISTANT, "word " * 500)]
    await kept.threads.append(kept.thread.id, [*said, message(Role.USER, "go on")], request_id="", tenant="a")
    whole = await kept.curation.window(kept.thread.id, token_budget=10_000, tenant="a")
    added = await kept.curation.summarize(kept.thread.id, summary(last=5 + len(said)), tenant="a")
    part = await kept.curation.window(kept.thread.id, token_budget=whole.tokens - 1, tenant="a")

    assert (whole.summary, whole.retells_others) == (None, False)
    assert (part.summary, part.retells_others) == (added.sequence, retells)


async def test_the_rule_of_a_thread_is_given_where_one_matches(kept: Kept) -> None:
    other = await kept.threads.resolve("other", {}, tenant="a")

    assert await kept.curation.retention(other.id, tenant="a") is None
    assert await kept.curation.retention(kept.thread.id, tenant="a") == Retention(
        pattern="k*",
        max_age=timedelta(hours=2),
        max_idle=timedelta(days=3),
        max_items=100,
        max_tokens=9000,
        only_summarized=True,
    )


@pytest.mark.parametrize(
    ("limits", "gone"),
    [(Retention(max_items=2), 4), (Retention(max_items=6), 0), (Retention(max_tokens=1), 4),
     (Retention(max_age=timedelta(days=1)), 0), (Retention(max_items=2, only_summarized=True), 0)],
)  # fmt: skip
async def test_the_beginning_goes_in_whole_turns(kept: Kept, limits: Retention, gone: int) -> None:
    foreseen = await kept.curation.prune(kept.thread.id, limits, dry_run=True, tenant="a")

    assert len(await kept.texts()) == 6
    assert foreseen == gone
    assert await kept.curation.prune(kept.thread.id, limits, dry_run=False, tenant="a") == gone
    assert len(await kept.texts()) == 6 - gone


async def test_limits_that_limit_nothing_are_refused(kept: Kept) -> None:
    for limits in (Retention(), Retention(max_idle=timedelta(days=1)), Retention(only_summarized=True)):
        with pytest.raises(InvalidArgument):
            await kept.curation.prune(kept.thread.id, limits, dry_run=False, tenant="a")


ASKED: list[Callable[[Curation, str], Awaitable[object]]] = [
    lambda curation, thread: curation.pin(thread, 0, tenant="b"),
    lambda curation, thread: curation.unpin(thread, 0, tenant="b"),
    lambda curation, thread: curation.window(thread, token_budget=10_000, tenant="b"),
    lambda curation, thread: curation.summarize(thread, summary(), tenant="b"),
    lambda curation, thread: curation.retention(thread, tenant="b"),
    lambda curation, thread: curation.prune(thread, Retention(max_items=1), dry_run=False, tenant="b"),
]


async def test_another_tenant_finds_nothing(kept: Kept) -> None:
    for asked in ASKED:
        with pytest.raises(ThreadNotFound):
            await asked(kept.curation, kept.thread.id)
    assert await kept.texts() == [each.text for each in turns(3)]
