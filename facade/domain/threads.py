"""Threads as those see them who look after what was said."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from facade.domain.records import Said
from threadmesh.conversation import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Thread:
    """A tenant's thread; an `ephemeral` one serves a single request and its followers, and goes with their logs.

    `item_count` numbers its next entry, `active_run_id` the run that writes to it. Entries that are `pinned` are part
    of every window, and `summary` is the newest entry that stands for older ones; both are numbers of entries.
    """

    id: str
    tenant: str
    create_time: datetime
    update_time: datetime
    key: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    ephemeral: bool = False
    item_count: int = 0
    active_run_id: str = ""
    pinned: tuple[int, ...] = ()
    summary: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewThread:
    """A thread about to be made, which only its id finds; the same `request_id` makes one only once.

    It is refused if its tenant has stored `stored_limit` bytes; 0 is no limit.
    """

    metadata: Mapping[str, str]
    messages: Sequence[Message] = ()
    request_id: str = ""
    stored_limit: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Says which threads are wanted: those whose key begins so and that have this among their metadata.

    The latest used stand first, or the earliest if `ascending`; those up to the thread `after` are passed over.
    """

    key_prefix: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    ascending: bool = False
    after: str = ""


class Threads(Protocol):
    """Where threads are kept. All of it is a tenant's: threads of others are not found."""

    async def create(self, new: NewThread, *, tenant: str) -> tuple[Thread, bool]:
        """Make a thread; gives it, and whether an earlier request with its `request_id` made it.

        Raises `InsufficientQuota`.
        """
        ...

    async def thread(self, thread_id: str, *, tenant: str) -> Thread:
        """Give a thread. Raises `ThreadNotFound`, as do all methods about one thread."""
        ...

    async def resolve(self, key: str, metadata: Mapping[str, str], *, tenant: str, stored_limit: int = 0) -> Thread:
        """Give the thread of a key; one that is not there is made, described by `metadata`.

        Raises `InsufficientQuota` instead of making one if the tenant has stored `stored_limit` bytes.
        """
        ...

    async def of_key(self, key: str, *, tenant: str) -> Thread | None:
        """Give the thread of a key; None if there is none."""
        ...

    async def page(self, wanted: Wanted, *, token: str, limit: int, tenant: str) -> tuple[Sequence[Thread], str]:
        """Give a page of the threads that are wanted, and the token that asks for the next page.

        That is empty on the last page. The `token` is what the page before gave; anything else raises
        `InvalidArgument`.
        """
        ...

    def threads(self, wanted: Wanted, *, tenant: str) -> AsyncGenerator[Thread, None]:
        """Yield the threads that are wanted, read as far as they are taken. Raises `ThreadNotFound`."""
        ...

    async def update(self, thread_id: str, metadata: Mapping[str, str], *, tenant: str) -> Thread:
        """Let the thread be described by other metadata."""
        ...

    async def delete(self, thread_id: str, *, tenant: str) -> None:
        """Delete a thread with everything in it. Raises `ThreadBusy` while it has an open run."""
        ...

    async def append(
        self, thread_id: str, messages: Sequence[Message], *, request_id: str, tenant: str, stored_limit: int = 0
    ) -> tuple[Sequence[Said], bool]:
        """Add messages; gives them as entries, and whether an earlier request with the same `request_id` added them.

        Raises `ThreadBusy` while there is an open run, and `InsufficientQuota` if the tenant has stored `stored_limit`
        bytes.
        """
        ...

    async def said(
        self, thread_id: str, *, after: int | None, limit: int, descending: bool, tenant: str
    ) -> tuple[Sequence[Said], bool]:
        """Give a page of what was said, beyond the entry `after` in the asked direction, and whether there is more.

        A page may hold less than `limit`.
        """
        ...

    async def entry(self, thread_id: str, sequence: int, *, tenant: str) -> Said:
        """Give an entry. Raises `NotFound`."""
        ...

    async def delete_entry(self, thread_id: str, sequence: int, *, remaining: Message | None, tenant: str) -> None:
        """Delete an entry, or what of it is not `remaining`.

        Raises `NotFound`, and `ThreadBusy` while there is an open run.
        """
        ...

    async def stored(self, *, tenant: str) -> int:
        """Give how many bytes a tenant has stored."""
        ...
