"""One request being answered, and the log of what happened meanwhile."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from context_svc.domain.action import Action
from threadmesh.conversation import Failure, FinishReason, Usage


class RunState(StrEnum):
    """How far a run is. One that is DELETED has ended, and nobody is told of it."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REQUIRES_ACTION = "requires_action"
    DELETED = "deleted"


class Multitask(StrEnum):
    """What happens to a request for a thread that is busy: it waits, it stops what is active, or it is refused."""

    ENQUEUE = "enqueue"
    INTERRUPT = "interrupt"
    REJECT = "reject"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished:
    """How a run ended: SUCCEEDED with a reason and a usage, or FAILED or CANCELLED with a failure."""

    state: RunState
    reason: FinishReason | None = None
    usage: Usage | None = None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One request being answered: model, tools, model, answer.

    `number` orders the runs of a thread. `epoch` counts the writers so far; every write carries it. `lease_until` and
    `expires` are in steady seconds of the store; `deadline` is `expires` as a date, for people. `first_item` numbers
    the first of the run's items in its thread, once it is RUNNING. `last_write` identifies the last accepted write.
    `finished` is also the log's last event, which has the number `next_sequence - 1`. The events numbered below
    `first_sequence` were forgotten.

    `actions` are what persons are asked about the run's calls or have said of them. While the run REQUIRES_ACTION, its
    lease ends at `wait_until`; then it goes on without an answer. `waits` counts how often that was so. The deadline
    moves by as long as the run waits.

    `tenant` is its thread's.
    """

    id: str
    tenant: str = ""
    thread_id: str
    number: int
    state: RunState
    create_time: datetime
    deadline: datetime
    expires: float
    lease_until: float
    parameters_json: str = ""
    epoch: int = 0
    owner: str = ""
    first_sequence: int = 0
    next_sequence: int = 0
    input_count: int = 0
    first_item: int = 0
    cancel_requested: bool = False
    last_write: str = ""
    finished: RunFinished | None = None
    finish_time: datetime | None = None
    actions: tuple[Action, ...] = ()
    wait_until: datetime | None = None
    waits: int = 0

    @property
    def said_something(self) -> bool:
        """Whether its log holds anything but its end."""
        return self.next_sequence > (1 if self.finished else 0)

    @property
    def has_asked(self) -> bool:
        """Whether persons were asked something: calls wait for that, and servers of tools may."""
        return bool(self.actions)

    def prolonged(self, seconds: float) -> "Run":
        """Give the run with its deadline so many seconds later; earlier, if they are negative."""
        return replace(self, expires=self.expires + seconds, deadline=self.deadline + timedelta(seconds=seconds))

    def ended(self, finished: RunFinished, now: datetime) -> "Run":
        """Give the run in its final state, its terminal event numbered and nobody writing."""
        return replace(
            self,
            state=finished.state,
            finished=finished,
            finish_time=now,
            owner="",
            lease_until=0.0,
            wait_until=None,
            next_sequence=self.next_sequence + 1,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One entry of a run's log, numbered from 0 and without gaps; the last one's body says how the run ended."""

    sequence: int
    create_time: datetime
    body: "bytes | RunFinished"


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The events that one write added to a run's log, as opaque bodies; never empty."""

    run_id: str
    epoch: int
    first_sequence: int
    create_time: datetime
    bodies: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """A piece of a run's log and the run, both as of one moment. The terminal event is not among `events`."""

    run: Run
    events: tuple[Event, ...]
