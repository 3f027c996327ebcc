"""What models read of a thread, and how much of it is kept."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from facade.domain.records import Said, Window
from facade.domain.threads import Thread


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """What is removed of the threads whose key matches a `pattern`; what is None limits nothing.

    Turns go whose last entry is older than `max_age`, and the oldest while there are more than `max_items` entries or
    `max_tokens`; the whole thread goes when nobody has written to it for `max_idle`. With `only_summarized`, turns go
    only if the newest summary stands for them.
    """

    pattern: str = ""
    max_age: timedelta | None = None
    max_idle: timedelta | None = None
    max_items: int | None = None
    max_tokens: int | None = None
    only_summarized: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSummary:
    """A model's words for the entries from `first` to `last`, and for the summary before, of that number, if any."""

    first: int
    last: int
    previous: int | None
    text: str
    tokens: int
    request_id: str


class Curation(Protocol):
    """Where that is decided. All methods raise `ThreadNotFound`, also for the threads of other tenants."""

    async def pin(self, thread_id: str, sequence: int, *, tenant: str) -> Thread:
        """Make an entry part of every window, with the results of the calls in it.

        Raises `NotFound`, and `PreconditionFailed` for what cannot be pinned.
        """
        ...

    async def unpin(self, thread_id: str, sequence: int, *, tenant: str) -> Thread:
        """Take an entry out of every window again. Raises `NotFound`."""
        ...

    async def window(self, thread_id: str, *, token_budget: int, tenant: str) -> Window:
        """Give the newest part of a thread that fits. Raises `ContextLengthExceeded` for what must be in it."""
        ...

    async def summarize(self, thread_id: str, new: NewSummary, *, tenant: str) -> Said:
        """Add a summary; the same `request_id` adds it only once.

        Raises `ThreadBusy` while there is an open run, and `ThreadChanged` if the thread is not as it was read.
        """
        ...

    async def retention(self, thread_id: str, *, tenant: str) -> Retention | None:
        """Give the rule that the thread is kept by; None if it is kept for ever."""
        ...

    async def prune(self, thread_id: str, limits: Retention, *, dry_run: bool, tenant: str) -> int:
        """Remove a thread's oldest turns beyond some limits, or only count: gives the number of entries.

        Raises `InvalidArgument` without a limit of age or size.
        """
        ...
