"""A task: the record of a call of a queued tool. It outlives streams and processes, and its changes are these."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from threadmesh.conversation import CallFinished, CallProgress, ToolCall
from tools_svc.domain.tool import Effect

KEPT = timedelta(hours=24)
"""For how long the result of a task is kept."""

MOST_CLAIMS = 3
"""So many processes may lose a task before it is given up: it may be what ends them."""


class TaskState(StrEnum):
    """How far a task has come. A CLAIMED one counts as sent."""

    QUEUED = "queued"
    CLAIMED = "claimed"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class TaskKey:
    """Which call a task is."""

    run_id: str
    call_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFilter:
    """Which tasks are wanted: empty fields want all."""

    states: frozenset[TaskState] = frozenset()
    run_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskCursor:
    """Where a page of tasks ended."""

    created_at: datetime
    key: TaskKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """What a queue carries of a task: the record says the rest."""

    key: TaskKey
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task at one moment.

    Somebody must look at it at `due_at`: to announce it while it is QUEUED, to take it from a process that is gone
    while it is CLAIMED, to remove it when it is FINISHED. `sent` says that the call may have gone out before the
    present claim, `attempt` how often it is known to have. What came of one that is `verifiable`, or that its server
    keeps under a `handle`, can be found out. Stores number its changes by `version`.
    """

    call: ToolCall
    run_id: str
    epoch: int
    thread_id: str
    request_id: str
    server: str
    definition_hash: str
    idempotency_key: str
    effect: Effect
    created_at: datetime
    deadline: datetime
    due_at: datetime
    verifiable: bool = False
    version: int = 1
    state: TaskState = TaskState.QUEUED
    owner: str = ""
    claims: int = 0
    sent: bool = False
    attempt: int = 0
    cancelled: bool = False
    progress: CallProgress | None = None
    finished: CallFinished | None = None
    claimed_at: datetime | None = None
    finished_at: datetime | None = None
    handle: str = ""
    key: TaskKey = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", TaskKey(run_id=self.run_id, call_id=self.call.id))

    @property
    def ticket(self) -> Ticket:
        """What a queue carries of it."""
        return Ticket(key=self.key, epoch=self.epoch)

    @property
    def repeatable(self) -> bool:
        """Whether it may be carried on after whoever has claimed it is gone."""
        untouched = not self.sent and self.state is TaskState.QUEUED
        return (
            untouched
            or self.verifiable
            or bool(self.handle)
            or self.effect.repeatable_by(keyed=bool(self.idempotency_key))
        )

    def same_claim(self, claim: "Task") -> bool:
        """Whether the process that made this claim still has it."""
        mine = (self.owner, self.claims) == (claim.owner, claim.claims)
        return mine and self.state is TaskState.CLAIMED

    def claimed(self, owner: str, now: datetime, *, until: datetime) -> "Task":
        """Give it to a process, whose claim lasts `until` it is renewed."""
        claims = self.claims + 1
        return replace(self, state=TaskState.CLAIMED, owner=owner, claims=claims, claimed_at=now, due_at=until)

    def queued_again(self, now: datetime, *, sent: bool) -> "Task":
        """Put it back; `sent` as the process knows it that carried it."""
        return replace(self, state=TaskState.QUEUED, sent=sent, due_at=now)

    def stopped(self) -> "Task":
        """Ask that it be stopped."""
        return replace(self, cancelled=True)

    def due_again(self, at: datetime) -> "Task":
        """Let nobody look at it before then."""
        return replace(self, due_at=at)

    def ended(self, finished: CallFinished, now: datetime) -> "Task":
        """End it."""
        return replace(self, state=TaskState.FINISHED, finished=finished, finished_at=now, due_at=now + KEPT)
