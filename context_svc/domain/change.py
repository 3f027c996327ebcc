"""What one transaction sees, and what it leaves behind."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from context_svc.domain.call import Call
from context_svc.domain.item import Item
from context_svc.domain.run import Batch, Run, RunState
from context_svc.domain.thread import Thread
from threadmesh.errors import RunNotFound, ThreadNotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """The store's time: `time` for records, `steady` in seconds that never jump, for leases and deadlines."""

    time: datetime
    steady: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Remembers what a request with a key did, so that its repetition does nothing but learn it."""

    key: str
    fingerprint: str
    thread_id: str
    expire_time: datetime
    run_id: str = ""
    first_item: int = 0
    item_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Says what a change is about: a run and its thread, or a thread by id or key; and under which request key.

    `only_run` leaves the run's thread out, for changes that are about the run alone. A thread key is the `tenant`'s.
    With `measured`, it is also about how much the tenant has stored.
    """

    run_id: str = ""
    only_run: bool = False
    thread_id: str = ""
    thread_key: str = ""
    receipt_key: str = ""
    tenant: str = ""
    measured: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What there is within a scope. Nothing else changes it between the reading and the writing.

    `thread` is the scope's, `open_runs` its runs that have not ended in the order of their start. `run` is the scope's
    run, else the receipt's, ended or not. `stored` is what the scope's tenant has stored, in bytes; 0 where that is not
    asked. It alone may be changed meanwhile, by changes of other threads.
    """

    now: Moment
    thread: Thread | None = None
    open_runs: tuple[Run, ...] = ()
    run: Run | None = None
    receipt: Receipt | None = None
    stored: int = 0

    def existing_thread(self) -> Thread:
        """Give the thread, or raise `ThreadNotFound`."""
        if self.thread is None:
            raise ThreadNotFound
        return self.thread

    def existing_run(self) -> Run:
        """Give the run, or raise `RunNotFound`."""
        if self.run is None:
            raise RunNotFound
        return self.run

    def active_run_id(self, changed: Iterable[Run] = ()) -> str:
        """Name the run that is writing to the thread once `changed` are stored; empty when none is."""
        runs = {run.id: run for run in self.open_runs} | {run.id: run for run in changed}
        writing = (run.id for run in runs.values() if run.state in {RunState.RUNNING, RunState.REQUIRES_ACTION})
        return next(writing, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is stored together or not at all; everything in it belongs to one thread.

    `thread`, `runs`, `calls` and `receipt` replace what has the same name; `items` and `events` are added. `waiting` is
    the input of a new run, kept with it. `admitted` names a run whose waiting input becomes items of the thread from
    the run's `first_item` on, `dropped` a run of `thread` that has ended before that and whose input is forgotten. A
    run with a `first_sequence` loses the events numbered below it and its calls. `pruned` numbers items of `thread`
    that are forgotten unless they are instructions or summaries, `removed` those that are forgotten whatever they are.
    `amended` items say something else than they did, where they are still there; instructions never are. `deleted`
    names the thread that is forgotten with everything that belongs to it.
    """

    thread: Thread | None = None
    runs: tuple[Run, ...] = ()
    waiting: tuple[Item, ...] = ()
    admitted: str = ""
    dropped: str = ""
    items: tuple[Item, ...] = ()
    amended: tuple[Item, ...] = ()
    events: Batch | None = None
    calls: tuple[Call, ...] = ()
    receipt: Receipt | None = None
    pruned: tuple[range, ...] = ()
    removed: tuple[int, ...] = ()
    deleted: str = ""


NOTHING = Change()
