"""The answering of one run: model, tools, model, answer."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace

from facade.domain.answer import answer
from facade.domain.approval import approvals, ask, awaiting, heed, planned
from facade.domain.call import Patience, run_calls
from facade.domain.call_log import CallLog, ResultShape
from facade.domain.events import ModelEvent, RunFinished, RunState
from facade.domain.journal import Journal
from facade.domain.parameters import TurnParameters
from facade.domain.ports import CallState, Catalogue, Context, Generation, Inference, Model, NewItem, Tools, Window
from facade.domain.progress import Progress
from facade.domain.question import Place, bounded, budget_of, chosen, instructions_of, question
from facade.domain.tokens import TokenCount
from threadmesh.conversation import Failure, FinishReason, ToolCall, ToolChoice, ToolChoiceMode
from threadmesh.errors import (
    Cancelled,
    ContextLengthExceeded,
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    MeshError,
    ModelNotFound,
)
from threadmesh.retry import persist
from threadmesh.streams import begun

_MOST_BREAKS = 3
"""How often an answer is gone on with; a request that breaks more models than that is not given to another."""
END_SECONDS = 10.0
"""What a run may take beyond its turn, so that a turn that took too long can still write its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How far a turn may go.

    `answer_tokens` bounds an answer whose request does not (0: the context does), `result_characters` what a model
    reads of one tool's result, `seconds` the whole turn. A model that cannot be reached is waited for for
    `patience_seconds`, and for `return_seconds` where it has begun its answer. A person who is asked has
    `approval_seconds`, which are not the turn's.
    """

    answer_tokens: int = 0
    tool_rounds: int = 16
    result_characters: int = 16_000
    seconds: float = 600.0
    patience_seconds: float = 2.0
    return_seconds: float = 15.0
    approval_seconds: float = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    """The other units."""

    inference: Inference
    tools: Tools
    context: Context


class Turn:
    """The answering of one claimed run."""

    def __init__(self, mesh: Mesh, journal: Journal, limits: Limits, progress: Progress | None = None) -> None:
        """Begin, or go on where another process has left off."""
        self._mesh = mesh
        self._journal = journal
        self._limits = limits
        self._parameters = bounded(
            TurnParameters.from_json(journal.run.parameters_json), answer_tokens=limits.answer_tokens
        )
        self._at = progress or Progress()
        self.leaving = False
        """Whether a cancellation means to leave the run to others, without an end."""

    async def run(self) -> RunState:
        """Answer, and finish the run whatever happens, also when this is cancelled; gives how it ended.

        A run that waits for a person's decision REQUIRES_ACTION, and others go on with it. An error becomes the run's
        failure; what was said until then stays in the thread, marked incomplete. Raises what keeps the run from being
        finished, such as `StaleEpoch` or a store that is gone, and defects.
        """
        try:
            async with asyncio.timeout(self._limits.seconds):
                reason = await self._rounds()
        except MeshError as error:
            return await self._give_up(RunState.FAILED, error)
        except TimeoutError:
            return await self._give_up(RunState.FAILED, DeadlineExceeded(seconds=self._limits.seconds))
        except asyncio.CancelledError:
            await asyncio.shield(self._leave() if self.leaving else self._give_up(RunState.CANCELLED, Cancelled()))
            raise
        except Exception:
            await self._give_up(RunState.FAILED, Internal())
            raise
        else:
            if reason is None:
                return RunState.REQUIRES_ACTION
            finished = RunFinished(state=RunState.SUCCEEDED, reason=reason, usage=self._at.usage)
            await self._journal.finish(finished, items=self._last_items())
            return finished.state

    async def _rounds(self) -> FinishReason | None:
        """Give why the last model stopped; None if a person decides how the run goes on."""
        model = await self._model()
        catalogue = await self._catalogue()
        while True:
            if self._at.answer.reason is None:
                await self._ask(model, catalogue)
            reason = self._at.answer.reason or FinishReason.STOP
            if reason is FinishReason.LENGTH:
                self._at.answer.drop_broken_call()
            own = [call for call in self._at.answer.calls if self._is_own(call.name)]
            theirs = len(self._at.answer.calls) - len(own)
            if own and not await self._run_calls(own, catalogue):
                return None
            if theirs or not own or self._at.round == self._limits.tool_rounds:
                return reason
            self._at.next_round()

    def _is_own(self, tool: str) -> bool:
        """Say whether the mesh answers for this tool: in a request that lets it, for all that are not the client's.

        So a tool that the model made up, or whose server is gone, fails here and is not handed to the client.
        """
        return bool(self._parameters.server_tools) and all(tool != each.name for each in self._parameters.tools)

    async def _ask(self, model: Model, catalogue: Catalogue) -> None:
        """Get one answer, from as much of the thread as the model can read.

        One that was broken off is gone on with where it ended, by the same model elsewhere or once it is back.
        """
        budget = budget_of(model, self._parameters) - await self._instruction_tokens()
        window = await self._window(budget)
        if self._parameters.whole_thread and window.omitted_items:
            raise ContextLengthExceeded("The conversation is longer than the model can read.")
        breaks = 0
        while True:
            try:
                await self._hear(self._question(model, window, catalogue))
            except ContextLengthExceeded as error:
                budget, window = await self._shorter(budget, window, error)
            except MeshError as error:
                breaks += 1
                if not error.retryable or self._at.answer.started is None or breaks > _MOST_BREAKS:
                    raise
            else:
                self._at.usage += self._at.answer.usage
                return

    async def _instruction_tokens(self) -> int:
        if not (said := instructions_of(self._parameters)):
            return 0
        return sum(await TokenCount(self._mesh.inference, self._parameters.model).of(said))

    async def _hear(self, generation: Generation) -> None:
        """Read an answer to its end. Until it has begun nothing was shown, so it may be asked for again."""

        async def ask() -> AsyncGenerator[ModelEvent, None]:
            return await begun(self._mesh.inference.generate(generation))

        begun_before = self._at.answer.started is not None
        seconds = self._limits.return_seconds if begun_before else self._limits.patience_seconds
        events = await persist(ask, seconds=seconds)
        await answer(events, self._journal, into=self._at.answer, in_round=self._at.round, hidden=self._is_own)

    async def _shorter(self, budget: int, window: Window, error: MeshError) -> tuple[int, Window]:
        """Leave more of the thread out: stored token counts are estimates. Raises `error` when nothing more can go."""
        while budget > window.least_tokens:
            budget = max(budget * 2 // 3, window.least_tokens)
            shorter = await self._window(budget)
            if shorter.tokens < window.tokens:
                return budget, shorter
        raise error

    async def _window(self, budget: int) -> Window:
        return await self._mesh.context.window(self._journal.run, token_budget=budget)

    def _question(self, model: Model, window: Window, catalogue: Catalogue) -> Generation:
        left = None
        if self._parameters.max_tool_calls is not None:
            left = self._parameters.max_tool_calls - self._at.calls
        at = Place(round=self._at.round, last=self._at.round == self._limits.tool_rounds, calls_left=left)
        return question(self._parameters, model, window, catalogue, answer=self._at.answer, at=at)

    async def _run_calls(self, own: Sequence[ToolCall], catalogue: Catalogue) -> bool:
        """Run the calls of this round, or go on with those that another process has begun; False if they must wait."""
        resumed = any(record.state is CallState.INTENT for record in self._at.begun)
        if not self._at.begun:
            asked = self._last_items()
            self._at.begun = planned(own, catalogue, first_ordinal=self._at.calls)
            if awaiting(self._at.begun):
                await self._ask_persons(asked, catalogue)
                return False
            await self._journal.commit(items=asked, calls=self._at.begun)
        log = self._call_log()
        await heed(self._at.begun, log, self._journal)
        await run_calls(
            log,
            self._mesh.tools,
            self._journal.run,
            patience=Patience(
                first_seconds=2 * self._limits.patience_seconds, return_seconds=self._limits.return_seconds
            ),
            resumed=resumed,
            approvals=approvals(self._at.begun),
        )
        return True

    async def _ask_persons(self, items: Sequence[NewItem], catalogue: Catalogue) -> None:
        seconds = self._limits.approval_seconds
        await ask(self._at.begun, catalogue, self._journal, in_round=self._at.round, items=items, seconds=seconds)

    def _call_log(self) -> CallLog:
        count = TokenCount(self._mesh.inference, self._parameters.model)
        shape = ResultShape(characters=self._limits.result_characters, count=count)
        return CallLog(self._at.begun, self._journal, in_round=self._at.round, shape=shape, attempts=self._at.attempts)

    async def _model(self) -> Model:
        models = await persist(self._mesh.inference.models, seconds=self._limits.patience_seconds)
        answering = self._at.answer.started
        name = answering.model if answering else self._parameters.model
        for model in models:
            if name in {"", model.name}:
                return model
        wanted = name[:64]
        raise ModelNotFound(f"There is no model named {wanted!r}; list the models to see their names.", model=wanted)

    async def _catalogue(self) -> Catalogue:
        """Choose the mesh's tools that this run may call; they stay the same for the whole run."""
        choice = self._parameters.tool_choice or ToolChoice()
        catalogue: Catalogue = {}
        if self._parameters.server_tools and choice.mode is not ToolChoiceMode.NONE:
            tools = await persist(self._mesh.tools.catalogue, seconds=2 * self._limits.patience_seconds)
            listed = {tool.definition.name: tool for tool in tools}
            catalogue = chosen(listed, self._parameters.server_tools)
        clients = {tool.name for tool in self._parameters.tools}
        if both := clients & set(catalogue):
            raise InvalidArgument(f"The mesh has a tool named {min(both)} itself; name yours otherwise.", field="tools")
        if choice.name and choice.name not in clients | set(catalogue):
            raise InvalidArgument(f"There is no tool named {choice.name} in this request.", field="tool_choice")
        if choice.mode is ToolChoiceMode.REQUIRED and not clients and not catalogue:
            raise InvalidArgument("A tool call is required but there are no tools.", field="tool_choice")
        return catalogue

    async def _leave(self) -> None:
        """Write down what is known and give the run up to whoever takes it over next."""
        await self._journal.commit()
        await self._mesh.context.hand_over(self._journal.run)

    async def _give_up(self, state: RunState, error: MeshError) -> RunState:
        finished = RunFinished(state=state, usage=self._at.usage, failure=Failure.of(error))
        await self._journal.finish(finished, items=self._last_items(incomplete=True))
        return state

    def _last_items(self, *, incomplete: bool = False) -> list[NewItem]:
        if self._at.begun:
            return []  # they were stored with the calls
        message = self._at.answer.message()
        if incomplete:
            # A call that will not be made must not stand in the thread.
            message = replace(message, tool_calls=())
        if not message.parts and not message.tool_calls:
            return []
        tokens = self._at.answer.usage.completion_tokens or len(self._at.answer.tokens)
        return [NewItem(message=message, incomplete=incomplete, tokens=tokens)]
