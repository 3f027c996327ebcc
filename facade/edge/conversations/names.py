"""The ids of conversations: those of their threads, in OpenAI's form."""

import re
from typing import Any

from facade.domain.threads import Thread, Threads
from threadmesh.errors import NotFound, ThreadNotFound

_ID = re.compile(r"conv_([0-9A-Za-z]{1,64})")


class ConversationNotFound(NotFound):
    """There is no such conversation, or it is somebody else's."""

    reason = "CONVERSATION_NOT_FOUND"


def conversation_id(thread_id: str) -> str:
    """Give the id of a thread's conversation."""
    return f"conv_{thread_id.removeprefix('thread_')}"


def thread_id_of(conversation: str) -> str:
    """Give the id of a conversation's thread. Raises `ConversationNotFound` for what is no id of a conversation."""
    found = _ID.fullmatch(conversation)
    if found is None:
        raise ConversationNotFound
    return f"thread_{found[1]}"


async def find(threads: Threads, conversation: str, *, tenant: str) -> Thread:
    """Give the thread of a conversation; one that goes with a request's log is none. Raises `ConversationNotFound`."""
    try:
        thread = await threads.thread(thread_id_of(conversation), tenant=tenant)
    except ThreadNotFound as error:
        raise ConversationNotFound from error
    if thread.ephemeral:
        raise ConversationNotFound
    return thread


def conversation_body(thread: Thread) -> dict[str, Any]:
    """Give a conversation in OpenAI's words."""
    return {
        "id": conversation_id(thread.id),
        "object": "conversation",
        "created_at": int(thread.create_time.timestamp()),
        "metadata": dict(thread.metadata),
    }
