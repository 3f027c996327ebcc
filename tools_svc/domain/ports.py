"""What the domain needs from outside."""

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from threadmesh.breaker import BreakerState
from threadmesh.conversation import CallFinished, ToolCall
from threadmesh.errors import MeshError
from tools_svc.domain.call import CallEvent, Invocation, Update
from tools_svc.domain.library import FilledPrompt, ResourceContent
from tools_svc.domain.notification import Notification
from tools_svc.domain.pin import Pin
from tools_svc.domain.task import Task, TaskCursor, TaskFilter, TaskKey, TaskState, Ticket
from tools_svc.domain.tool import ServerStatus


class ToolSource(Protocol):
    """A server of tools.

    `changes` gives the present status first and then each later one; a slow reader misses what was replaced.

    `call` gives `Waiting` if the call has to wait for its turn, `Sent` when it goes out, then snapshots of progress (a
    later one may replace an earlier one that nobody has read; the last before the answer is never lost), then exactly
    one `ToolOutput`. Calls run side by side. It raises `ToolServerUnavailable` only if nothing has reached the server,
    `ToolRateLimited` if the call's turn would come too late, `ToolDefinitionChanged` if the tool is another one by then
    than the call was planned for, `ToolConnectionLost` if nobody can tell, and no error that
    is not a `MeshError`. Closing it stops the call as well as the server allows, at once. A source that is just
    connecting is waited for.

    Only for a call that `may_ask`, it may give `Asked`: before the answer, or in its place. Questions to anybody but a
    person with a form, or a model, are refused to the server; so are all others of any other call, which then raises
    `ToolInputRequired` where it cannot go on without.

    A server that keeps a call gives `Accepted` behind `Sent`; when the connection breaks, the call goes on over the
    next one. A call that has a `handle` is not sent, so it begins with `Accepted`; `ToolConnectionLost` says that the
    server does not know it. Closing a `durable` call stops it only if it is `given_up`.
    """

    name: str

    @property
    def status(self) -> ServerStatus:
        """The present status."""
        ...

    def changes(self) -> AsyncGenerator[ServerStatus, None]:
        """Follow the status."""
        ...

    def call(self, invocation: Invocation) -> AsyncGenerator[Update, None]:
        """Run one call."""
        ...

    async def read(self, uri: str) -> tuple[ResourceContent, ...]:
        """Read a resource; raises `ResourceNotFound`, and the errors of a call. Cancelling it stops it at once."""
        ...

    def watch(self, uri: str) -> AsyncGenerator[str, None]:
        """Give the URI once the server tells of changes of this resource, then at each; some may be told together.

        After a lost connection it goes on with the next one, and gives the URI, as it may have changed meanwhile.
        Raises `Unsupported` for a server that tells of no changes, `ToolServerUnavailable` when it is gone for good.
        """
        ...

    async def prompt(self, name: str, arguments: Mapping[str, str]) -> FilledPrompt:
        """Fill in a prompt by its server's own name; raises `PromptNotFound` or `ToolFailed`, and a call's errors."""
        ...


class Schema(Protocol):
    """A JSON Schema ready for use."""

    def complaint(self, value: object) -> str:
        """Say where and why a value does not fit, in words a model can act on; empty when it fits."""
        ...


class SchemaCompiler(Protocol):
    """Makes schemas usable.

    It never fetches anything, and a compiled schema's check takes time bounded by the size of schema and value.
    """

    def compile(self, schema_json: str) -> Schema:
        """Compile a schema; raises `UnsupportedSchema` when it is broken, refers elsewhere or is too complex."""
        ...


class CallListener(Protocol):
    """Hears of every call that ended and of every attempt after the first; must not fail."""

    def ended(self, tool: str, finished: CallFinished) -> None:
        """Take note of a call's end."""
        ...

    def retried(self, tool: str, error: MeshError) -> None:
        """Take note that the call is tried again after this error."""
        ...


class PolicyListener(Protocol):
    """Hears what the policies make of a server's calls; must not fail. A tool goes by its server's own name."""

    def waiting(self, server: str, calls: int) -> None:
        """Take note that so many calls wait for their turn now."""
        ...

    def cached(self, server: str, tool: str) -> None:
        """Take note that a call was answered without its server."""
        ...

    def breaker(self, server: str, state: BreakerState, seconds: float) -> None:
        """Take note of the state that the server's breaker has now, and in how many seconds a call may pass."""
        ...


class PinStore(Protocol):
    """Keeps the trusted definitions of tools, one for each tool of a server."""

    def pins(self) -> Collection[Pin]:
        """Give every pin that was kept."""
        ...

    async def keep(self, pins: Collection[Pin]) -> None:
        """Keep these pins, each instead of an earlier one of its tool: all of them or none.

        They outlive the process when this returns, if the store is one that does. Raises `StoreUnavailable`.
        """
        ...


class PinListener(Protocol):
    """Hears what becomes of definitions; must not fail."""

    def pinned(self, pins: Sequence[Pin], *, server_known: bool) -> None:
        """Tools of a server were seen for the first time; `server_known` if it had tools before."""
        ...

    def accepted(self, pins: Sequence[Pin]) -> None:
        """Changes of a server were trusted without a person's word."""
        ...

    def approved(self, pin: Pin) -> None:
        """A person approved a change."""
        ...

    def not_kept(self, error: MeshError) -> None:
        """Pins hold only until the process ends."""
        ...


class NotificationListener(Protocol):
    """Hears what servers announce outside of the protocol, while their messages are read."""

    def heard(self, notification: Notification) -> None:
        """Take note; must neither fail nor wait."""
        ...


class Substitutes(Protocol):
    """Knows the calls of tools that another tool does in their place, by its queue."""

    @property
    def names(self) -> Collection[str]:
        """The tools whose calls may become those of a queued one."""
        ...

    def queued(self, call: ToolCall, arguments: Mapping[str, Any]) -> ToolCall | None:
        """Give the call of the queued tool that does it best now, of the same id; None if it is called at once."""
        ...

    def verified(self, tool: str) -> bool:
        """Whether another tool does calls of this one, and what came of those may be asked."""
        ...

    def same(self, kept: ToolCall, call: ToolCall) -> bool:
        """Whether the call that is kept is this one, or what it has become."""
        ...


class CallLog(Protocol):
    """Is told what happens to a call, in order; must not fail."""

    def append(self, call_id: str, event: CallEvent) -> None:
        """Take note of an event."""
        ...


class TaskStore(Protocol):
    """Keeps tasks. Whoever changes one says which version of it was read, so that nobody overwrites what was not seen.

    Every change outlives the process when its method returns, if the store is one that does. Each method raises
    `StoreUnavailable`; a change may then have been made nevertheless.
    """

    async def add(self, task: Task) -> Task:
        """Keep a new task, and give it; or give the one that is kept under its key, unchanged."""
        ...

    async def get(self, key: TaskKey, *, after: int = 0) -> Task | None:
        """Give a task; None if there is none or its version is not above `after`."""
        ...

    async def put(self, task: Task) -> Task | None:
        """Replace the task of this key and version, and give it with its new version; None if there is no such one.

        What it was called for never changes.
        """
        ...

    async def due(self, now: datetime, *, limit: int) -> Sequence[Task]:
        """Give tasks that are due, the longest due first."""
        ...

    async def page(self, wanted: TaskFilter, *, after: TaskCursor | None, limit: int) -> Sequence[Task]:
        """Give tasks, the newest first; those of one moment by their keys, descending."""
        ...

    async def remove(self, task: Task) -> None:
        """Forget the task of this key and version, if it is still so."""
        ...

    async def counts(self) -> Mapping[TaskState, int]:
        """Count the tasks in each state; states without any may be missing."""
        ...


class TaskRunner(Protocol):
    """Has tasks carried, by this process or by others."""

    announce_seconds: float
    """A task that nobody has claimed by then is announced again: its ticket may be lost."""

    async def announce(self, ticket: Ticket) -> None:
        """See to it that the task is carried, some time; once more is harmless. Raises `Unavailable`."""
        ...

    def stop(self, key: TaskKey) -> None:
        """Stop carrying a task whose record says so, at once if that is possible."""
        ...


class TaskListener(Protocol):
    """Hears of tasks; must not fail."""

    def began(self, task: Task) -> None:
        """Take note that a task was claimed."""
        ...

    def ended(self, task: Task) -> None:
        """Take note that a task has ended."""
        ...

    def counted(self, counts: Mapping[TaskState, int]) -> None:
        """Take note of how many tasks there are."""
        ...

    def troubled(self, error: MeshError) -> None:
        """Take note that tasks cannot be looked after now; it is tried again."""
        ...
