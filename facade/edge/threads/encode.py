"""Threads and what belongs to them in JSON."""

from datetime import timedelta
from typing import Any

from facade.domain.curation import Retention
from facade.domain.records import Said, Window
from facade.domain.threads import Thread
from facade.domain.warm import ReadAhead
from facade.edge.chat.encode import usage_body
from facade.edge.chat.messages import message_body
from facade.edge.conversations.names import conversation_id
from threadmesh.conversation import Usage


def thread_body(thread: Thread) -> dict[str, Any]:
    """Give a thread."""
    return {
        "id": thread.id,
        "object": "threadmesh.thread",
        "key": thread.key or None,
        "conversation": conversation_id(thread.id),
        "created_at": int(thread.create_time.timestamp()),
        "updated_at": int(thread.update_time.timestamp()),
        "metadata": dict(thread.metadata),
        "item_count": thread.item_count,
        "active_run": thread.active_run_id or None,
        "pinned": list(thread.pinned),
        "summary": thread.summary,
    }


def window_body(thread: Thread, window: Window, *, model: str, budget: int) -> dict[str, Any]:
    """Give a window."""
    return {
        "object": "threadmesh.window",
        "thread_id": thread.id,
        "model": model or None,
        "token_budget": budget,
        "tokens": window.tokens,
        "least_tokens": window.least_tokens,
        "omitted_items": window.omitted_items,
        "summary": window.summary,
        "messages": [message_body(message) for message in window.messages],
    }


def warmed_body(thread: Thread, read: ReadAhead) -> dict[str, Any]:
    """Give what was read ahead."""
    return {
        "object": "threadmesh.warmed",
        "thread_id": thread.id,
        "model": read.model,
        "tokens": read.tokens,
        "cached_tokens": read.cached_tokens,
        "omitted_items": read.omitted_items,
    }


def summary_body(thread: Thread, summary: Said, usage: Usage) -> dict[str, Any]:
    """Give a summary, with the numbers of the items that it stands for."""
    first, last = summary.covers or (summary.sequence, summary.sequence)
    return {
        "object": "threadmesh.summary",
        "thread_id": thread.id,
        "number": summary.sequence,
        "covers": {"first": first, "last": last},
        "text": summary.message.text,
        "usage": usage_body(usage),
    }


def retention_body(thread: Thread, rule: Retention | None) -> dict[str, Any]:
    """Give the rule of a thread; one without limits, and none, keep it for ever."""
    kept = rule or Retention()
    return {
        "object": "threadmesh.retention",
        "thread_id": thread.id,
        "pattern": kept.pattern or None,
        "max_age_seconds": _seconds(kept.max_age),
        "max_idle_seconds": _seconds(kept.max_idle),
        "max_items": kept.max_items,
        "max_tokens": kept.max_tokens,
        "only_summarized": kept.only_summarized,
    }


def pruned_body(thread: Thread, items: int, *, dry_run: bool) -> dict[str, Any]:
    """Say how many items went, or would."""
    return {"object": "threadmesh.pruned", "thread_id": thread.id, "items": items, "dry_run": dry_run}


def _seconds(length: timedelta | None) -> int | None:
    return None if length is None else round(length.total_seconds())
