"""Describes a thread anew."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from context_svc.domain.change import Change, Scope, State
from context_svc.domain.ports import ThreadStore
from context_svc.domain.thread import Thread


async def update_thread(thread_id: str, *, metadata: Mapping[str, str], store: ThreadStore) -> Thread:
    """Give the thread with `metadata` in place of what it had, whether or not it is busy. Raises `ThreadNotFound`.

    It is not written to by this, so its place in lists stays.
    """
    return await store.change(Scope(thread_id=thread_id), partial(_update, metadata))


def _update(metadata: Mapping[str, str], state: State) -> tuple[Change, Thread]:
    thread = replace(state.existing_thread(), metadata=dict(metadata))
    return Change(thread=thread), thread
