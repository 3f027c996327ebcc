"""The other units as a turn sees them."""

from collections.abc import AsyncGenerator, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from facade.domain.events import ModelEvent, Run, RunEvent, RunFinished, RunState, ToolEvent
from facade.domain.offer import Offer
from facade.domain.parameters import TurnParameters
from facade.domain.records import Answered, Batch, CallRecord, NewRun, Said, Verdict, Window
from threadmesh.conversation import CallFinished, Message, ToolCall, ToolChoice, ToolDefinition
from threadmesh.questions import Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model that can be asked for; `context_tokens` is what prompt and answer may fill together.

    `temperature` and `top_p` are those of requests that name none, if that is known.
    """

    name: str
    backend: str
    context_tokens: int
    ready: bool
    create_seconds: int = 0
    temperature: float | None = None
    top_p: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One question to a model; the tokens `emitted` are the beginning of an answer that is to be gone on with.

    A `raw` prompt, a text or tokens, is gone on with as it stands; there are no messages then.
    """

    messages: Sequence[Message]
    tools: Sequence[ToolDefinition]
    tool_choice: ToolChoice | None
    parameters: TurnParameters
    emitted: Sequence[int] = ()
    raw: str | Sequence[int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """What a model reads before it answers."""

    messages: Sequence[Message]
    tools: Sequence[ToolDefinition] = ()


Tokenizable = str | Conversation


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """The vectors of texts, in their order, the model that made them, and how many tokens the texts have together."""

    vectors: Sequence[Sequence[float]]
    tokens: int
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmed:
    """How many tokens a conversation has, and of how many the model had been keeping what it computed."""

    tokens: int
    cached_tokens: int


class Inference(Protocol):
    """Where answers come from."""

    async def models(self) -> Sequence[Model]:
        """List the models; the first is the default one."""
        ...

    async def model(self, name: str) -> Model:
        """Give the model of a name, the default one for none, as it was not long ago. Raises `ModelNotFound`."""
        ...

    async def count(self, texts: Sequence[str], *, model: str) -> Sequence[int]:
        """Count the tokens of texts as a model reads them; 0 for those that cannot be counted now."""
        ...

    async def count_all(self, read: Conversation, *, model: str) -> int:
        """Count the tokens of a conversation as a model reads it, images and sounds included.

        Raises `ModelNotFound`, and `InvalidArgument` for what the model cannot read.
        """
        ...

    async def tokenize(self, text: Tokenizable, *, model: str, special: bool = True, ask: bool = True) -> Sequence[int]:
        """Give the tokens of a text or a conversation.

        A `special` text is read with the token for its beginning and with control tokens; a conversation ends where the
        model begins to answer if `ask`. Raises `ModelNotFound`.
        """
        ...

    async def detokenize(self, tokens: Sequence[int], *, model: str) -> Sequence[bytes]:
        """Give the bytes of each token. Raises `ModelNotFound`, and `InvalidArgument` for what is no token."""
        ...

    async def warm(self, read: Conversation, *, model: str, cache_scope: str) -> Warmed:
        """Let a model read a conversation and keep what it computes, so that an answer to more of it begins sooner.

        That is for requests of the same `cache_scope`. Raises `ModelNotFound`, `ContextLengthExceeded`, and
        `InvalidArgument` for what the model cannot read.
        """
        ...

    async def embed(self, texts: Sequence[str], *, model: str, dimensions: int | None) -> Embedded:
        """Turn texts into vectors, of so many dimensions where a number is given.

        Raises `ModelNotFound`, `Unsupported` by a model that makes none, and `InvalidArgument` for texts that are too
        long.
        """
        ...

    def generate(self, generation: Generation) -> AsyncGenerator[ModelEvent, None]:
        """Stream an answer, from `ModelStarted` to `ModelFinished`; its beginning, if it is gone on with, once more.

        Closing the stream stops the model. Raises `ModelNotFound`, `ContextLengthExceeded` and other refusals before
        the first event; `Unavailable` at any time.
        """
        ...


NO_APPROVALS: Mapping[str, str] = MappingProxyType({})
NO_ANSWERS: Mapping[str, Answered] = MappingProxyType({})


class Tools(Protocol):
    """Where the mesh's own tools run."""

    async def offer(self, names: Collection[str] = ()) -> Offer:
        """Tell what the servers of tools offer now: the tools of these names, or all of them."""
        ...

    def execute(
        self,
        calls: Sequence[ToolCall],
        *,
        run: Run,
        resumed: bool = False,
        approvals: Mapping[str, str] = NO_APPROVALS,
        answered: Mapping[str, Answered] = NO_ANSWERS,
        trusted_context: bool = False,
    ) -> AsyncGenerator[tuple[str, ToolEvent], None]:
        """Run calls in parallel and stream what happens, each event with its call's id.

        Calls that are `resumed` may have been sent before: those that are known are followed from their beginning, of
        the others only those are sent that may be repeated. `approvals` are the hashes of definitions that persons have
        approved, by the calls' ids, `answered` what their servers have asked before. The model that makes the calls had
        read untrusted results unless it had a `trusted_context`: then some need approval, and are denied without. Every
        call ends with one `CallFinished`, or with one `InputRequired` and goes on when it comes back `answered`; unless
        the stream raises; `Unreachable` if the calls cannot have gone out.
        """
        ...

    async def forsake(self, run: Run, calls: Iterable[str], *, stop: bool = False) -> None:
        """Say that nobody answers what these calls of a run ask: those that wait for that, or will, are stopped.

        The others go on, unless all are to `stop`, as well as their tools allow. A service that cannot be reached in a
        moment is left as it is.
        """
        ...

    def ends(self, run_id: str) -> AsyncGenerator[tuple[str, CallFinished], None]:
        """Give how the calls of a run have ended, and wait for those that are under way; of what is known of them."""
        ...

    async def runs_of_tasks(self) -> Collection[str]:
        """Name the runs whose calls have become tasks that are kept, the latest of them where they are many."""
        ...


class Writer(Protocol):
    """Writes to one run. A short outage of the store is waited out; what the store refuses is raised."""

    async def append(self, batch: Batch) -> bool:
        """Write durably; gives whether somebody asked to stop the run. Raises `StaleEpoch`."""
        ...

    async def require_action(self, batch: Batch, asked: Sequence[CallRecord], *, seconds: float) -> None:
        """Write the last batch before persons are asked about calls, and give the run up for so long at most.

        Raises `StaleEpoch`.
        """
        ...

    async def finish(self, batch: Batch, finished: RunFinished) -> None:
        """Write the last batch and the terminal event. Raises `StaleEpoch`."""
        ...


class Context(Protocol):
    """Where threads and runs are kept."""

    async def start(self, new: NewRun, *, claim: bool = False) -> tuple[Run, bool]:
        """Make a run, or find the one that an earlier request with the same key made (then True).

        One that has ended is not found by a request for a run `instead_of` it: of several such, one makes a run, which
        the others find.
        With `claim`, this becomes the writer of a new run at once if nothing in its thread is ahead of it; its epoch
        is then 1 instead of 0.
        """
        ...

    async def run(self, run_id: str, *, tenant: str | None = None) -> Run:
        """Give a run of a tenant, or of anybody. Raises `RunNotFound`."""
        ...

    async def runs(
        self, state: RunState | None, *, thread_id: str = "", after: str, limit: int, tenant: str | None = None
    ) -> tuple[Sequence[Run], str]:
        """Give a page of a tenant's runs in a state, the latest first, and what asks for the next page.

        They are those of all threads, unless one is named. What asks for more is empty on the last page; `after` is
        what the page before gave, and anything else raises `InvalidArgument`.
        """
        ...

    async def calls(self, run_id: str) -> Sequence[CallRecord]:
        """Give the tool calls of a run in their order."""
        ...

    async def decide(self, run_id: str, call_id: str, verdict: Verdict) -> CallRecord:
        """Give the call as it is with a person's word; the run goes on once all its calls have one.

        Raises `RunNotFound`, `CallNotFound`, `CallNotWaiting`, `CallAlreadyDecided` and `DefinitionDiffers`.
        """
        ...

    async def answer(
        self, run_id: str, call_id: str, answers: Sequence[Answer], *, in_round: int, request_id: str = ""
    ) -> CallRecord:
        """Give the call as it is with a person's answers to its server; the run goes on once all its calls have them.

        They count for this round of questions, and for no other. Raises as `decide`, and `InvalidArgument` for answers
        that do not fit what is asked.
        """
        ...

    async def claim(self, run_id: str) -> Run:
        """Become the run's only writer, waiting for earlier runs of its thread."""
        ...

    async def renew(self, run: Run) -> bool:
        """Stay the writer; gives whether somebody asked to stop the run. Raises `StaleEpoch`."""
        ...

    async def take_over(self, *, patience: float) -> Run | None:
        """Become the writer of a run whose own writer is gone; None if `patience` seconds bring none."""
        ...

    async def hand_over(self, run: Run) -> None:
        """Give a run up to whoever takes it over next. Raises `StaleEpoch`."""
        ...

    async def record(self, run: Run) -> tuple[Sequence[RunEvent], Sequence[CallRecord]]:
        """Give what was written to a run before this process became its writer: its log, and its calls."""
        ...

    def writer(self) -> AbstractAsyncContextManager["Writer"]:
        """Open the way to write to a run."""
        ...

    def watch(self, run_id: str, *, after: int | None = None) -> AsyncGenerator[Sequence[RunEvent], None]:
        """Tail the run's log to its terminal event; an empty batch is a sign of life."""
        ...

    async def cancel(self, run_id: str) -> None:
        """Ask the run's writer to stop."""
        ...

    async def delete(self, run: Run) -> None:
        """Forget a run that has ended, and what it said where no other run was told that.

        Raises `RunNotFound`, and `ThreadBusy` while it is open.
        """
        ...

    async def earliest(self, thread_id: str) -> Run | None:
        """Give the run of a thread that was made first; None for a thread without one."""
        ...

    async def said_until(self, run: Run) -> Sequence[Said]:
        """Give what was said in a run's thread up to its end, so far.

        Of a run that waits for its turn, that is what stands there now, what those ahead are asked, and its own input;
        of one that ended before, what had been said when it was made, and its input, for as long as that is kept.
        Raises `ThreadNotFound`, and `RunNotFound`.
        """
        ...

    async def window(self, run: Run, *, token_budget: int, shorten_input: bool = False) -> Window:
        """Give the newest part of the run's thread that fits.

        What the run itself said is in it whether it fits or not; with `shorten_input`, of the run's input only the
        instructions and what its last message of a person begins. Raises `ContextLengthExceeded` when the thread's
        first instruction and pinned items do not fit.
        """
        ...
