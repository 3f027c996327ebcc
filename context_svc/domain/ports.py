"""What the domain asks of a store."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from context_svc.domain.call import Call
from context_svc.domain.change import Change, Scope, State
from context_svc.domain.item import Item
from context_svc.domain.run import Log, Run, RunState
from context_svc.domain.thread import Thread
from threadmesh.errors import MeshError

Outcome = TypeVar("Outcome")

HANDED_OVER = "handed-over"
"""The topic of runs that somebody has given up to others."""
DIFFERENT_INSTRUCTIONS = 64
"""How many instructions of a thread are told apart; of more nobody says them all again with every turn."""
Decide = Callable[[State], tuple[Change, Outcome]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """A place in a list that is ordered by time and then by id, the latest first."""

    time: datetime
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """What a store holds: `threads`, the open runs by state, and how many seconds the oldest run waits for a writer."""

    threads: int
    open_runs: dict[RunState, int]
    oldest_queued_seconds: float


class Changes(Protocol):
    """Tells of changes since it was made. A hint: it may miss one, so whoever waits looks again by himself."""

    async def wait(self, seconds: float) -> None:
        """Return once something has changed since the last wait, or after `seconds`."""
        ...


class Writer(Protocol):
    """The one way to write."""

    async def change(self, scope: Scope, decide: Decide[Outcome]) -> Outcome:
        """Read what is within `scope`, let `decide` say what to store, store it, and give the outcome.

        All of it is one transaction: changes that touch the same thread, thread key or receipt key happen one after
        the other, each on what the one before left. When it returns, everything survives the death of the process;
        when it raises, nothing was stored. `decide` is pure and may be called again; what it raises is raised here.
        A call that has FINISHED is never replaced. Raises `StoreUnavailable`.
        """
        ...

    async def change_each(self, wanted: Sequence[tuple[Scope, Decide[Outcome]]]) -> list[Outcome | MeshError]:
        """Make several changes, one after the other, at the price of one; gives the outcome of each.

        In place of an outcome stands the `MeshError` that `decide` raised: of that change nothing was stored, and the
        others are not harmed. Otherwise as `change`.
        """
        ...


class ThreadStore(Writer, Protocol):
    """Keeps threads and their items. Every read sees one moment; every method raises `StoreUnavailable`."""

    async def thread(self, thread_id: str) -> Thread:
        """Give a thread, or raise `ThreadNotFound`."""
        ...

    async def threads(
        self,
        *,
        key_prefix: str,
        after: Cursor | None,
        limit: int,
        tenant: str | None = None,
        ascending: bool = False,
    ) -> tuple[Thread, ...]:
        """List a tenant's threads whose key begins with `key_prefix`, the latest used first; never ephemeral ones.

        None lists those of all tenants. With `ascending`, the earliest used stand first.
        """
        ...

    async def items(self, thread_id: str, *, after: int | None, limit: int, descending: bool) -> tuple[Item, ...]:
        """Give the items of a thread beyond `after` in the asked direction; none for an unknown thread.

        Items that were pruned are passed over.
        """
        ...

    async def instructions(self, thread_id: str) -> tuple[Item, ...]:
        """Give the instructions of a thread's operator or application, oldest first.

        One that was repeated word for word is given once, where it was said first. Where there are more than
        `DIFFERENT_INSTRUCTIONS`, only the first of all is given.
        """
        ...

    async def idle_threads(self, *, before: datetime, limit: int) -> tuple[str, ...]:
        """Name ephemeral threads without an open run that were last written to before a date."""
        ...

    async def forget_receipts(self, *, before: datetime) -> int:
        """Forget the receipts that expired before a date; gives their number.

        Afterwards nothing is left in the store's files of what was deleted or pruned until then.
        """
        ...


class RunStore(Writer, Protocol):
    """Keeps runs and their logs. Every read sees one moment; every method raises `StoreUnavailable`."""

    async def run(self, run_id: str) -> Run:
        """Give a run, or raise `RunNotFound`."""
        ...

    async def runs(
        self,
        *,
        thread_id: str,
        states: tuple[RunState, ...],
        after: Cursor | None,
        limit: int,
        tenant: str | None = None,
    ) -> tuple[Run, ...]:
        """List runs by their creation, the latest first; an empty `thread_id`, no `states` or no `tenant` keep all."""
        ...

    async def log(self, run_id: str, *, after: int) -> Log:
        """Give events with numbers above `after` in order: at least one if there is any, at most about a megabyte.

        Raises `RunNotFound`.
        """
        ...

    async def input(self, run_id: str) -> tuple[Item, ...]:
        """Give the input that waits with a run, numbered from 0; none once it is in the thread, or is forgotten."""
        ...

    async def calls(self, run_id: str) -> tuple[Call, ...]:
        """Give the calls of a run by their ordinal."""
        ...

    def changes(self, topic: str) -> AbstractContextManager[Changes]:
        """Follow a run's log and state by the run's id, the coming and going of a thread's runs by the thread's, or
        runs that are `HANDED_OVER`.
        """
        ...

    async def overdue(self, *, abandoned_after: float, limit: int) -> tuple[str, ...]:
        """Name the open runs whose deadline has passed, or whose lease ended `abandoned_after` seconds ago."""
        ...

    async def ended_logs(self, *, before: datetime, limit: int) -> tuple[str, ...]:
        """Name the runs that ended before a date and still have events, the earliest first."""
        ...

    async def ended_inputs(self, *, before: datetime, limit: int) -> tuple[str, ...]:
        """Name the runs that ended before a date and still have input that never entered their thread, the earliest
        first.
        """
        ...

    async def compact(self, *, limit: int) -> int:
        """Keep the logs of at most `limit` ended runs in fewer pieces; gives their number, 0 when none is left.

        Reading gives the same events at every moment, and a crash leaves every log whole. No writer waits for it for
        longer than for another writer. A store that gains nothing by it gives 0.
        """
        ...


class Store(ThreadStore, RunStore, Protocol):
    """Keeps everything."""

    async def stored(self, tenant: str) -> int:
        """Give the bytes that a tenant has stored, exactly as of one moment, without reading what they are.

        Counted are, each with 100 bytes for itself: threads by their keys and metadata; items, and input that is in no
        thread, by their messages as JSON; runs by their parameters, their ends and what persons said of their calls;
        calls by their arguments and results. Events count with 4 bytes each. What is forgotten counts no more.
        """
        ...

    async def census(self) -> Census:
        """Count what is kept."""
        ...

    async def ping(self) -> None:
        """Return when the store can be written to, else raise `StoreUnavailable`."""
        ...
