"""The answering of one run: model, tools, model, answer."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace

from facade.domain.answer import Answer, answer
from facade.domain.call import run_calls
from facade.domain.events import ModelEvent, RunFinished, RunState
from facade.domain.journal import Journal
from facade.domain.parameters import ServerTools, TurnParameters
from facade.domain.ports import Catalogue, Context, Generation, Inference, Model, NewItem, Tools, Window
from threadmesh.conversation import Failure, FinishReason, ToolCall, ToolChoice, ToolChoiceMode, Usage
from threadmesh.errors import (
    Cancelled,
    ContextLengthExceeded,
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    MeshError,
    ModelNotFound,
    ToolNotFound,
)
from threadmesh.retry import persist
from threadmesh.streams import begun

END_SECONDS = 10.0
"""What a run may take beyond its turn, so that a turn that took too long can still write its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How far a turn may go.

    `answer_tokens` bounds an answer whose request does not (0: the context does), `result_characters` what a model
    reads of one tool's result, `seconds` the whole turn. A model that cannot be reached is waited for for
    `patience_seconds`.
    """

    answer_tokens: int = 0
    tool_rounds: int = 16
    result_characters: int = 16_000
    seconds: float = 600.0
    patience_seconds: float = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    """The other units."""

    inference: Inference
    tools: Tools
    context: Context


class Turn:
    """The answering of one claimed run."""

    def __init__(self, mesh: Mesh, journal: Journal, limits: Limits) -> None:
        self._mesh = mesh
        self._journal = journal
        self._limits = limits
        self._parameters = _bounded(TurnParameters.from_json(journal.run.parameters_json), limits)
        self._answer = Answer()
        self._usage = Usage()
        self._calls = 0

    async def run(self) -> RunState:
        """Answer, and finish the run whatever happens, also when this is cancelled; gives how it ended.

        An error becomes the run's failure; what was said until then stays in the thread, marked incomplete. Raises
        what keeps the run from being finished, such as `StaleEpoch` or a store that is gone, and defects.
        """
        try:
            async with asyncio.timeout(self._limits.seconds):
                reason = await self._rounds()
        except MeshError as error:
            return await self._give_up(RunState.FAILED, error)
        except TimeoutError:
            return await self._give_up(RunState.FAILED, DeadlineExceeded(seconds=self._limits.seconds))
        except asyncio.CancelledError:
            await asyncio.shield(self._give_up(RunState.CANCELLED, Cancelled()))
            raise
        except Exception:
            await self._give_up(RunState.FAILED, Internal())
            raise
        else:
            finished = RunFinished(state=RunState.SUCCEEDED, reason=reason, usage=self._usage)
            await self._journal.finish(finished, items=self._last_items())
            return finished.state

    async def _rounds(self) -> FinishReason:
        model = await self._model()
        catalogue = await self._catalogue()
        for number in range(self._limits.tool_rounds + 1):
            await self._ask(model, catalogue, number)
            reason = self._answer.reason or FinishReason.STOP
            if reason is FinishReason.LENGTH:
                self._answer.drop_broken_call()
            own = [call for call in self._answer.calls if self._is_own(call.name)]
            theirs = len(self._answer.calls) - len(own)
            if own:
                await self._run_calls(own, number)
            if theirs or not own:
                break
        return reason

    def _is_own(self, tool: str) -> bool:
        """Say whether the mesh answers for this tool: in a request that lets it, for all that are not the client's.

        So a tool that the model made up, or whose server is gone, fails here and is not handed to the client.
        """
        return bool(self._parameters.server_tools) and all(tool != each.name for each in self._parameters.tools)

    async def _ask(self, model: Model, catalogue: Catalogue, number: int) -> None:
        """Get one answer, from as much of the thread as the model can read."""
        budget = _budget(model, self._parameters)
        window = await self._window(budget)
        while True:
            self._answer = Answer()
            generation = self._generation(model, window, catalogue, number)
            try:
                events = await self._begin(generation)
                await answer(events, self._journal, into=self._answer, in_round=number, hidden=self._is_own)
            except ContextLengthExceeded as error:
                budget, window = await self._shorter(budget, window, error)
            else:
                self._usage += self._answer.usage
                return

    async def _begin(self, generation: Generation) -> AsyncGenerator[ModelEvent, None]:
        """Get the stream of an answer that has begun. Until then nothing was shown, so it may be asked for again."""

        async def ask() -> AsyncGenerator[ModelEvent, None]:
            return await begun(self._mesh.inference.generate(generation))

        return await persist(ask, seconds=self._limits.patience_seconds)

    async def _shorter(self, budget: int, window: Window, error: MeshError) -> tuple[int, Window]:
        """Leave more of the thread out: stored token counts are estimates. Raises `error` when nothing more can go."""
        smallest = await self._window(1)
        if len(smallest.messages) >= len(window.messages):
            raise error
        while budget > smallest.tokens:
            budget = budget * 2 // 3
            shorter = await self._window(budget)
            if len(shorter.messages) < len(window.messages):
                return budget, shorter
        return budget, smallest

    async def _window(self, budget: int) -> Window:
        return await self._mesh.context.window(self._journal.run, token_budget=budget)

    def _generation(self, model: Model, window: Window, catalogue: Catalogue, number: int) -> Generation:
        tools = [*self._parameters.tools, *(tool.definition for tool in catalogue.values())]
        return Generation(
            messages=window.messages,
            tools=tools,
            tool_choice=self._tool_choice(number) if tools else None,
            parameters=replace(self._parameters, model=model.name),
        )

    def _tool_choice(self, number: int) -> ToolChoice | None:
        """A call that the request forces is forced once; the last round must be an answer."""
        if number == 0:
            return self._parameters.tool_choice
        last = number == self._limits.tool_rounds
        return ToolChoice(mode=ToolChoiceMode.NONE if last else ToolChoiceMode.AUTO)

    async def _run_calls(self, own: Sequence[ToolCall], number: int) -> None:
        await self._journal.commit(items=self._last_items())
        self._answer = Answer()
        await run_calls(
            own,
            self._mesh.tools,
            self._journal,
            first_ordinal=self._calls,
            in_round=number,
            result_characters=self._limits.result_characters,
        )
        self._calls += len(own)

    async def _model(self) -> Model:
        models = await persist(self._mesh.inference.models, seconds=self._limits.patience_seconds)
        for model in models:
            if self._parameters.model in {"", model.name}:
                return model
        wanted = self._parameters.model[:64]
        raise ModelNotFound(f"There is no model named {wanted!r}; list the models to see their names.", model=wanted)

    async def _catalogue(self) -> Catalogue:
        """Choose the mesh's tools that this run may call; they stay the same for the whole run."""
        choice = self._parameters.tool_choice or ToolChoice()
        catalogue: Catalogue = {}
        if self._parameters.server_tools and choice.mode is not ToolChoiceMode.NONE:
            listed = {tool.definition.name: tool for tool in await self._mesh.tools.catalogue()}
            catalogue = _chosen(listed, self._parameters.server_tools)
        clients = {tool.name for tool in self._parameters.tools}
        if both := clients & set(catalogue):
            raise InvalidArgument(f"The mesh has a tool named {min(both)} itself; name yours otherwise.", field="tools")
        if choice.name and choice.name not in clients | set(catalogue):
            raise InvalidArgument(f"There is no tool named {choice.name} in this request.", field="tool_choice")
        if choice.mode is ToolChoiceMode.REQUIRED and not clients and not catalogue:
            raise InvalidArgument("A tool call is required but there are no tools.", field="tool_choice")
        return catalogue

    async def _give_up(self, state: RunState, error: MeshError) -> RunState:
        finished = RunFinished(state=state, usage=self._usage, failure=Failure.of(error))
        await self._journal.finish(finished, items=self._last_items(incomplete=True))
        return state

    def _last_items(self, *, incomplete: bool = False) -> list[NewItem]:
        message = self._answer.message()
        if incomplete:
            # A call that will not be made must not stand in the thread.
            message = replace(message, tool_calls=())
        if not message.parts and not message.tool_calls:
            return []
        return [NewItem(message=message, incomplete=incomplete, tokens=self._answer.usage.completion_tokens)]


async def run_turn(mesh: Mesh, run_id: str, *, limits: Limits, renew_seconds: float, stop: asyncio.Event) -> RunState:
    """Claim a run and answer it; gives how it ended.

    Stops at once when `stop` is set, soon when somebody asks for that in the store, and when another process has taken
    the run over. Raises an exception group of
    what kept the run from being finished.
    """
    run = await mesh.context.claim(run_id)
    async with mesh.context.writer() as writer, asyncio.TaskGroup() as group:
        journal = Journal(writer, run)
        turn = group.create_task(Turn(mesh, journal, limits).run(), name=f"turn {run_id}")
        helpers = [
            group.create_task(journal.write_pending()),
            group.create_task(_stop_when_asked(mesh.context, journal, turn, renew_seconds)),
            group.create_task(_stop_when_told(stop, turn)),
        ]
        await asyncio.wait([turn])
        for helper in helpers:
            helper.cancel()
    return RunState.CANCELLED if turn.cancelled() else turn.result()


async def _stop_when_told(stop: asyncio.Event, turn: asyncio.Task[RunState]) -> None:
    await stop.wait()
    turn.cancel()


async def _stop_when_asked(context: Context, journal: Journal, turn: asyncio.Task[RunState], seconds: float) -> None:
    """Renew the lease whenever nothing was written for a while; a write renews it too, and tells the same."""
    while not journal.cancel_requested.is_set():
        writes = journal.writes
        try:
            async with asyncio.timeout(seconds):
                await journal.cancel_requested.wait()
        except TimeoutError:
            if journal.writes == writes and await context.renew(journal.run):
                break
    turn.cancel()


def _chosen(catalogue: Catalogue, chosen: ServerTools) -> Catalogue:
    if chosen.everything:
        return catalogue
    for name in chosen.names:
        if name not in catalogue:
            raise ToolNotFound(tool=name)
    return {name: catalogue[name] for name in chosen.names}


def _bounded(parameters: TurnParameters, limits: Limits) -> TurnParameters:
    return replace(parameters, max_tokens=parameters.max_tokens or limits.answer_tokens or None)


def _budget(model: Model, parameters: TurnParameters) -> int:
    """Give the tokens that the prompt may fill, leaving room for an answer."""
    room = parameters.max_tokens or model.context_tokens // 4
    return model.context_tokens - min(room, model.context_tokens // 2)
