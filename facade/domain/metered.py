"""Models and tools whose use is counted for the caller whose run it is, wherever the run came from."""

from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import aclosing

from facade.domain.events import ModelEvent, ModelFinished, ModelStarted, Run, ToolEvent
from facade.domain.offer import Offer
from facade.domain.parameters import TurnParameters
from facade.domain.ports import (
    NO_ANSWERS,
    NO_APPROVALS,
    Conversation,
    Embedded,
    Generation,
    Inference,
    Model,
    Tokenizable,
    Tools,
    Warmed,
)
from facade.domain.rate_limits import RateLimits
from facade.domain.records import Answered, NewRun
from facade.domain.refusals import Refusals
from threadmesh.conversation import CallFinished, CallOutcome, Failure, ToolCall
from threadmesh.errors import Overloaded, RateLimitExceeded

_CHARACTERS_A_TOKEN = 4
"""Of English, about; only until a model has counted."""


def expected_tokens(new: NewRun) -> int:
    """Estimate what a request will use: its words, and the answers it allows where it says how long they may be."""
    answers = (new.parameters.max_tokens or 0) * new.parameters.choices
    return text_tokens(message.text for message in new.input) + answers


def text_tokens(texts: Iterable[str]) -> int:
    """Estimate the tokens of texts."""
    return sum(len(text) for text in texts) // _CHARACTERS_A_TOKEN


class MeteredInference:
    """An `Inference` that takes the tokens of its answers from what the caller may use, and notes who was refused."""

    def __init__(self, inference: Inference, limits: RateLimits, refusals: Refusals) -> None:
        self._inference, self._limits, self._refusals = inference, limits, refusals

    async def models(self) -> Sequence[Model]:
        """List the models; the first is the default one."""
        return await self._inference.models()

    async def model(self, name: str) -> Model:
        """Give a model by its name."""
        return await self._inference.model(name)

    async def count(self, texts: Sequence[str], *, model: str) -> Sequence[int]:
        """Count the tokens of texts."""
        return await self._inference.count(texts, model=model)

    async def count_all(self, read: Conversation, *, model: str) -> int:
        """Count the tokens of a conversation."""
        return await self._inference.count_all(read, model=model)

    async def tokenize(self, text: Tokenizable, *, model: str, special: bool = True, ask: bool = True) -> Sequence[int]:
        """Give the tokens of a text or a conversation."""
        return await self._inference.tokenize(text, model=model, special=special, ask=ask)

    async def detokenize(self, tokens: Sequence[int], *, model: str) -> Sequence[bytes]:
        """Give the bytes of tokens."""
        return await self._inference.detokenize(tokens, model=model)

    async def warm(self, read: Conversation, *, model: str, cache_scope: str) -> Warmed:
        """Let a model read ahead; for whom it does only the caller knows, who counts it."""
        return await self._inference.warm(read, model=model, cache_scope=cache_scope)

    async def embed(self, texts: Sequence[str], *, model: str, dimensions: int | None) -> Embedded:
        """Turn texts into vectors; whose they are only the caller knows, who counts them."""
        return await self._inference.embed(texts, model=model, dimensions=dimensions)

    async def generate(self, generation: Generation) -> AsyncGenerator[ModelEvent, None]:
        """Stream an answer; one that is broken off is counted as far as it has come."""
        used, made = 0, 0
        try:
            async with aclosing(self._inference.generate(generation)) as events:
                async for event in events:
                    match event:
                        case ModelStarted():
                            used = text_tokens(message.text for message in generation.messages)
                        case ModelFinished(usage=usage):
                            used, made = usage.prompt_tokens + usage.completion_tokens, 0
                        case delta:
                            made += len(delta.token_ids)
                    yield event
        except Overloaded:
            self._refusals.note(generation.parameters.caller, model=generation.parameters.model)
            raise
        finally:
            self._limits.use_tokens(generation.parameters.caller, used + made)


class MeteredTools:
    """Tools whose calls are taken from what the caller of their run may use; `on_refused` hears of those that are not.

    A refused call fails with the reason for the model to read, and the others of its batch go on.
    """

    def __init__(self, tools: Tools, limits: RateLimits, on_refused: Callable[[RateLimitExceeded], None]) -> None:
        self._tools, self._limits, self._on_refused = tools, limits, on_refused

    async def offer(self, names: Collection[str] = ()) -> Offer:
        """Tell what the servers of tools offer now."""
        return await self._tools.offer(names)

    async def execute(
        self,
        calls: Sequence[ToolCall],
        *,
        run: Run,
        resumed: bool = False,
        approvals: Mapping[str, str] = NO_APPROVALS,
        answered: Mapping[str, Answered] = NO_ANSWERS,
        trusted_context: bool = False,
    ) -> AsyncGenerator[tuple[str, ToolEvent], None]:
        """Run calls; those that are resumed, or go on with answers, were counted when they were first sent."""
        caller = TurnParameters.from_json(run.parameters_json).caller
        allowed = []
        for call in calls:
            refused = None if resumed or call.id in answered else self._refusal(caller)
            if refused is None:
                allowed.append(call)
            else:
                yield call.id, CallFinished(outcome=CallOutcome.FAILED, failure=Failure.of(refused))
        if allowed:
            attached = self._tools.execute(
                allowed,
                run=run,
                resumed=resumed,
                approvals=approvals,
                answered=answered,
                trusted_context=trusted_context,
            )
            async with aclosing(attached) as events:
                async for event in events:
                    yield event

    async def forsake(self, run: Run, calls: Iterable[str], *, stop: bool = False) -> None:
        """Say that nobody answers what these calls ask, or that they are to stop."""
        await self._tools.forsake(run, calls, stop=stop)

    def ends(self, run_id: str) -> AsyncGenerator[tuple[str, CallFinished], None]:
        """Give how the calls of a run have ended, or do."""
        return self._tools.ends(run_id)

    async def runs_of_tasks(self) -> Collection[str]:
        """Name the runs whose calls have become tasks."""
        return await self._tools.runs_of_tasks()

    def _refusal(self, caller: str) -> RateLimitExceeded | None:
        try:
            self._limits.use_tool_call(caller)
        except RateLimitExceeded as error:
            self._on_refused(error)
            return error
        return None
