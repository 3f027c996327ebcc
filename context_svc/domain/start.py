"""Makes a run and stores its input, once for every idempotency key."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial

from context_svc.domain.cancel import stopped
from context_svc.domain.change import NOTHING, Change, Receipt, Scope, State
from context_svc.domain.ids import new_id
from context_svc.domain.item import Item, NewItem, input_items
from context_svc.domain.lease import LEASE_SECONDS
from context_svc.domain.ports import RunStore
from context_svc.domain.quota import require_room
from context_svc.domain.receipt import RECEIPT_LIFETIME, valid_receipt
from context_svc.domain.release import released
from context_svc.domain.run import Multitask, Run, RunState
from context_svc.domain.thread import Thread, new_thread
from threadmesh.errors import InvalidArgument, Overloaded, ThreadBusy, ThreadChanged, ThreadNotFound

QUEUE_DEPTH = 8
"""How many runs of one thread may wait behind the one that is being answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRequest:
    """Asks for a run in the thread of an id or a key; neither makes a thread for this run alone.

    `timeout` is in seconds. An empty `idempotency_key` never matches. Where there is none, a `repetition` finds the
    latest run with the same `attempt_key`. Where a key finds the run `instead_of` which another is wanted, and that has
    ended, a new run takes its place; input of one that said nothing leaves the thread. An `owner` becomes the run's
    writer at once if nothing is ahead of it. A thread that is made is described by `metadata`. A `tenant` has keys of
    his own, and finds no threads but his; None finds all threads by their ids. A run in a thread that stays is refused
    if the tenant has stored `limit` bytes; 0 is no limit. With a `number`, it is refused if the run would have another.
    """

    input: tuple[NewItem, ...]
    timeout: float
    thread_id: str = ""
    thread_key: str = ""
    parameters_json: str = ""
    idempotency_key: str = ""
    fingerprint: str = ""
    multitask: Multitask = Multitask.ENQUEUE
    attempt_key: str = ""
    repetition: bool = False
    instead_of: str = ""
    owner: str = ""
    tenant: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    limit: int = 0
    number: int | None = None

    @property
    def stays(self) -> bool:
        """Whether the run's thread outlives it."""
        return bool(self.thread_id or self.thread_key)

    @property
    def receipt_key(self) -> str:
        """What the run can be found by later; empty if it cannot."""
        whose = f"@{self.tenant}" if self.tenant else ""
        if self.idempotency_key:
            return f"run{whose}:{self.idempotency_key}"
        return f"attempt{whose}:{self.attempt_key}" if self.attempt_key else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The run, and whether it was found by its idempotency key.

    Of one that was claimed at once, `thread` is its thread with the run's input in it, and `items` are that input.
    """

    run: Run
    replayed: bool
    thread: Thread | None = None
    items: tuple[Item, ...] = ()


async def start(request: StartRequest, *, store: RunStore) -> Started:
    """Give the run of the request, QUEUED unless it was replayed or claimed; its input is as durable as the run itself.

    Raises `ThreadNotFound`, `ThreadBusy` (on REJECT), `ThreadChanged` (the run would have another number), `Overloaded`
    (the thread's queue is full), `IdempotencyKeyReused`, `InsufficientQuota`, and `InvalidArgument` without input where
    nothing else was said.
    """
    scope = Scope(
        thread_id=request.thread_id,
        thread_key=request.thread_key,
        receipt_key=request.receipt_key,
        tenant=request.tenant or "",
        measured=bool(request.limit) and request.stays,
    )
    return await store.change(scope, partial(_start, request))


def _start(request: StartRequest, state: State) -> tuple[Change, Started]:
    found = _found(request, state)
    if found and not (found.finished and found.id == request.instead_of):
        return NOTHING, Started(run=found, replayed=True)
    thread = _thread(request, state)
    if request.number not in {None, thread.run_count}:
        raise ThreadChanged
    if not (request.input or thread.item_count or state.open_runs):
        raise InvalidArgument("Nothing was said that could be answered.", field="input")
    unanswered = _unanswered(found, thread, state) if found else ()
    if request.stays:
        require_room(state, request.limit)
    out_of_the_way = _make_room(request.multitask, state)
    claimed = bool(request.owner) and not state.open_runs
    run = _new_run(request, thread, state)
    run = _claimed(run, request.owner, thread) if claimed else run
    entered = released(replace(state, thread=thread), *out_of_the_way, run)
    items = input_items(request.input, thread_id=thread.id, first=run.first_item, now=state.now.time, run_id=run.id)
    after = replace(
        entered,
        run_count=thread.run_count + 1,
        pinned=tuple(number for number in thread.pinned if number not in unanswered),
        item_count=thread.item_count + (len(items) if claimed else 0),
    )
    change = Change(
        thread=after,
        runs=(*out_of_the_way, run),
        items=items if claimed else (),
        waiting=() if claimed else items,
        receipt=_receipt(request, run, state) if request.receipt_key else None,
        removed=unanswered,
    )
    if not claimed:
        return change, Started(run=run, replayed=False)
    return change, Started(run=run, replayed=False, thread=after, items=items)


def _found(request: StartRequest, state: State) -> Run | None:
    """Give the run that an earlier sending of the request has made."""
    looks = request.idempotency_key or request.repetition
    known = looks and valid_receipt(state, fingerprint=request.fingerprint)
    return state.existing_run() if known and state.existing_run().state is not RunState.DELETED else None


def _unanswered(run: Run, thread: Thread, state: State) -> tuple[int, ...]:
    """Number the items of a run that came to nothing: they are said again by the run that takes its place."""
    stays = run.thread_id != thread.id or run.said_something or not run.epoch
    if stays or state.open_runs:  # somebody may be reading them
        return ()
    return tuple(range(run.first_item, run.first_item + run.input_count))


def _thread(request: StartRequest, state: State) -> Thread:
    if request.thread_id:
        thread = state.existing_thread()
        if request.tenant not in {None, thread.tenant}:
            raise ThreadNotFound
        return thread
    return state.thread or new_thread(
        state.now.time, key=request.thread_key, metadata=request.metadata, tenant=request.tenant or ""
    )


def _make_room(multitask: Multitask, state: State) -> Sequence[Run]:
    """Give the runs that must stop for the new one."""
    waiting = [run for run in state.open_runs if run.state is RunState.QUEUED]
    match multitask:
        case Multitask.REJECT if state.open_runs:
            raise ThreadBusy
        case Multitask.ENQUEUE if len(waiting) >= QUEUE_DEPTH:
            raise Overloaded("Too many requests wait for this thread; try again in a moment.", limit=QUEUE_DEPTH)
        case Multitask.INTERRUPT:
            return [stopped(run, state.now) for run in state.open_runs]
    return ()


def _new_run(request: StartRequest, thread: Thread, state: State) -> Run:
    now = state.now
    return Run(
        id=new_id("run"),
        tenant=thread.tenant,
        thread_id=thread.id,
        number=thread.run_count,
        state=RunState.QUEUED,
        create_time=now.time,
        deadline=now.time + timedelta(seconds=request.timeout),
        expires=now.steady + request.timeout,
        # Whoever made the run is expected to claim it; until then this lease says that somebody still cares.
        lease_until=now.steady + LEASE_SECONDS,
        parameters_json=request.parameters_json,
        input_count=len(request.input),
    )


def _claimed(run: Run, owner: str, thread: Thread) -> Run:
    """Give a new run with its first writer, its input entering the thread with it."""
    return replace(run, state=RunState.RUNNING, epoch=1, owner=owner, first_item=thread.item_count)


def _receipt(request: StartRequest, run: Run, state: State) -> Receipt:
    return Receipt(
        key=request.receipt_key,
        fingerprint=request.fingerprint,
        thread_id=run.thread_id,
        run_id=run.id,
        expire_time=state.now.time + RECEIPT_LIFETIME,
    )
