"""The asking of models: which one, with which tools, with how much of the thread, and again where it breaks off."""

from collections.abc import AsyncGenerator
from contextlib import suppress
from functools import partial

from facade.domain.answer import Answer, answer
from facade.domain.events import ModelEvent, Run
from facade.domain.journal import Journal
from facade.domain.limits import Limits, Mesh
from facade.domain.offer import ApprovalRule, Catalogue, Offer
from facade.domain.parameters import TurnParameters
from facade.domain.ports import Generation, Model
from facade.domain.progress import Progress
from facade.domain.question import Place, budget_of, instructions_of, question, with_seed_of
from facade.domain.reading import Reading
from facade.domain.records import Window
from facade.domain.tokens import TokenCount
from facade.domain.trust import is_trusted, tools_in
from facade.domain.written import tell_place
from threadmesh.conversation import ToolChoice, ToolChoiceMode
from threadmesh.errors import (
    ContextLengthExceeded,
    InvalidArgument,
    MeshError,
    Overloaded,
    ToolNotFound,
    ToolServerUnavailable,
)
from threadmesh.retry import persist
from threadmesh.streams import begun

_MOST_BREAKS = 3
"""How often an answer is gone on with; a request that breaks more models than that is not given to another."""


class Asking:
    """Asks models on behalf of a run; what they say goes into the progress `at`, as one of its `choice`s."""

    def __init__(
        self, mesh: Mesh, run: Run, limits: Limits, parameters: TurnParameters, at: Progress, *, choice: int = 0
    ) -> None:
        self._mesh = mesh
        self._run = run
        self._limits = limits
        self._parameters = parameters
        self._at = at
        self._choice = choice
        self._instructions: int | None = None
        self._reading = Reading(mesh.context, run, shortens_input=parameters.shortens_input)

    @property
    def _answer(self) -> Answer:
        return self._at.choice(self._choice)

    def is_own(self, tool: str) -> bool:
        """Say whether the mesh answers for this tool: in a request that lets it, for all that are not the client's.

        So a tool that the model made up, that it may not call, or whose server is gone, fails here and is not handed to
        the client.
        """
        answers = bool(self._parameters.server_tools) or self._parameters.narrowed
        return answers and all(tool != each.name for each in self._parameters.tools)

    def is_wanted(self, tool: str) -> bool:
        """Say whether the request lets the model call this tool of the mesh."""
        choice = self._parameters.tool_choice or ToolChoice()
        return choice.mode is not ToolChoiceMode.NONE and self._parameters.server_tools.wants(tool)

    @property
    def calls_left(self) -> int | None:
        """How many calls of the mesh's tools this round may make; None without a limit."""
        most = self._parameters.max_tool_calls
        return None if most is None else most - self._at.calls

    async def ask(self, model: Model, catalogue: Catalogue, journal: Journal) -> None:
        """Get one answer, from as much of the thread as the model can read.

        One that was broken off is gone on with where it ended, by the same model elsewhere or once it is back.
        """
        budget = budget_of(model, self._parameters) - await self._instruction_tokens()
        window = await self._reading.window(budget, said=journal.said)
        if self._parameters.whole_thread and window.omitted_items:
            raise ContextLengthExceeded("The conversation is longer than the model can read.", field="messages")
        breaks = 0
        while True:
            try:
                trusted = await self._trusts(window, catalogue)
                await self._hear(self._question(model, window, catalogue), journal, trusted_context=trusted)
            except ContextLengthExceeded as error:
                if self._parameters.whole_thread:
                    raise
                budget, window = await self._reading.shorter(budget, window, error)
            except MeshError as error:
                breaks += 1
                if not error.retryable or self._answer.started is None or breaks > _MOST_BREAKS:
                    raise
            else:
                self._at.spend(self._answer.usage, choice=self._choice)
                return

    async def _instruction_tokens(self) -> int:
        """Count what holds for this run alone, once: it is the same in each round."""
        if self._instructions is None:
            said = instructions_of(self._parameters)
            count = TokenCount(self._mesh.inference, self._parameters.model)
            self._instructions = sum(await count.of(said)) if said else 0
        return self._instructions

    async def _hear(self, generation: Generation, journal: Journal, *, trusted_context: bool) -> None:
        """Read an answer to its end. Until it has begun nothing was shown, so it may be asked for again.

        A run that has done nothing yet does not insist on a model that is overloaded: that would be more of it.
        """

        async def ask() -> AsyncGenerator[ModelEvent, None]:
            try:
                return await begun(self._mesh.inference.generate(generation))
            except MeshError as error:
                tell_place(error, self._parameters.written, messages=generation.messages, tools=generation.tools)
                raise

        begun_before = self._answer.started is not None
        seconds = self._limits.return_seconds if begun_before else self._limits.patience_seconds
        fresh = not begun_before and self._at.round == 0
        refusal = (Overloaded,) if fresh else ()
        events = await persist(ask, seconds=seconds, budget=self._mesh.retries.answers, unless=refusal)
        await answer(
            events,
            journal,
            into=self._answer,
            in_round=self._at.round,
            item=self._run.first_answer + self._at.items,
            trusted_context=trusted_context,
            choice=self._choice,
            hidden=self.is_own,
        )
        self._mesh.retries.answers.answered()  # it has left its place in the engine to somebody who waits for one

    def _question(self, model: Model, window: Window, catalogue: Catalogue) -> Generation:
        last = self._at.round == self._limits.tool_rounds
        at = Place(round=self._at.round, last=last, calls_left=self.calls_left)
        parameters = with_seed_of(self._parameters, choice=self._choice)
        return question(parameters, model, window, catalogue, answer=self._answer, at=at)

    async def _trusts(self, window: Window, catalogue: Catalogue) -> bool:
        """Say whether it is known that nothing in the window comes from a tool whose results anybody may have written.

        Earlier requests of the thread may have had other tools than this one, and those are asked about only where that
        decides anything: False also stands for nobody having asked.
        """
        if all(tool.approval is not ApprovalRule.AFTER_UNTRUSTED for tool in catalogue.values()):
            return False
        try:
            known = (await self._mesh.tools.offer(tools_in(window))).known if tools_in(window) else {}
        except MeshError:
            return False
        return is_trusted(window, known)

    async def model(self) -> Model:
        """Choose the model that answers, or goes on with the answer. Raises `ModelNotFound`."""
        answering = self._answer.started
        name = answering.model if answering else self._parameters.model
        ask = partial(self._mesh.inference.model, name)
        return await persist(ask, seconds=self._patience(1), budget=self._mesh.retries.models)

    @property
    def _has_begun(self) -> bool:
        return bool(self._at.round or self._at.begun or self._answer.started)

    def _patience(self, times: int) -> float:
        """For how many seconds a service is waited for that is away: longer for a run that has begun."""
        return self._limits.return_seconds if self._has_begun else times * self._limits.patience_seconds

    async def catalogue(self) -> Catalogue:
        """Choose the mesh's tools that this run may call; they stay the same for the whole run."""
        choice = self._parameters.tool_choice or ToolChoice()
        offer = Offer()
        catalogue: Catalogue = {}
        if self._parameters.server_tools and choice.mode is not ToolChoiceMode.NONE:
            offer = await self._offer()
            catalogue = self._chosen(offer)
        clients = {tool.name for tool in self._parameters.tools}
        if both := clients & set(catalogue):
            raise InvalidArgument(f"The mesh has a tool named {min(both)} itself; name yours otherwise.", field="tools")
        if not self._has_begun:  # what the request wants was looked at then; servers may be on their way now
            self._check_choice(choice, offer, there=clients | set(catalogue))
        return catalogue

    def _chosen(self, offer: Offer) -> Catalogue:
        try:
            return offer.chosen(self._parameters.server_tools, begun=self._has_begun)
        except ToolNotFound as error:
            if not self._parameters.narrowed:
                raise
            raise _no_such_tool(error.facts["tool"]) from error

    def _check_choice(self, choice: ToolChoice, offer: Offer, *, there: set[str]) -> None:
        """Raise why a call that must be made cannot be: the tool is none of the request's, or is not there now."""
        wanted = self._parameters.server_tools
        if choice.name and choice.name not in there:
            if wanted.wants(choice.name):
                offer.require(choice.name)
            raise _no_such_tool(choice.name)
        forced = self._parameters.forced_tools
        if choice.mode is ToolChoiceMode.REQUIRED and not (there.intersection(forced) if forced else there):
            for name in forced or wanted.names:
                offer.require(name)
            raise InvalidArgument("A tool call is required but there are no tools.", field="tool_choice")

    async def _offer(self) -> Offer:
        """Tell what can be called. A run that has begun waits for servers that are on their way: it had their tools."""
        budget = self._mesh.retries.offers
        if self._has_begun:
            with suppress(ToolServerUnavailable):
                return await persist(self._settled_offer, seconds=self._patience(2), budget=budget)
        ask = partial(self._mesh.tools.offer, self._parameters.server_tools.names)
        return await persist(ask, seconds=self._patience(2), budget=budget)

    async def _settled_offer(self) -> Offer:
        offer = await self._mesh.tools.offer(self._parameters.server_tools.names)
        if not offer.settled:
            raise ToolServerUnavailable
        return offer


def _no_such_tool(name: object) -> InvalidArgument:
    return InvalidArgument(f"There is no tool named {str(name)[:64]} in this request.", field="tool_choice")
