"""Lets a model read a thread before somebody asks for an answer, so that the answer begins sooner."""

from dataclasses import dataclass

from facade.domain.curation import Curation
from facade.domain.limits import Limits, Mesh
from facade.domain.parameters import TurnParameters
from facade.domain.ports import Conversation, Model
from facade.domain.question import bounded, budget_of, instructions_of
from facade.domain.threads import Thread
from facade.domain.tokens import TokenCount
from threadmesh.conversation import ToolDefinition
from threadmesh.errors import ContextLengthExceeded


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadAhead:
    """What a model has read: so many tokens, of which it knew some, and how many entries had no room."""

    model: str
    tokens: int
    cached_tokens: int
    omitted_items: int


async def warm(
    thread: Thread, parameters: TurnParameters, *, mesh: Mesh, curation: Curation, limits: Limits
) -> ReadAhead:
    """Let the model read what the thread's next turn, asked for with these parameters, would begin with.

    Raises `ModelNotFound`, `ToolNotFound`, and `ContextLengthExceeded` where not even the shortest window fits.
    """
    model = await mesh.inference.model(parameters.model)
    tools = await _tools(parameters, mesh)
    asked = bounded(parameters, answer_tokens=limits.answer_tokens)
    said = instructions_of(parameters)
    budget = budget_of(model, asked) - sum(await TokenCount(mesh.inference, model.name).of(said))
    while True:
        window = await curation.window(thread.id, token_budget=budget, tenant=thread.tenant)
        try:
            read = Conversation(messages=(*said, *window.messages), tools=tools)
            return await _read(read, model, parameters, mesh, omitted_items=window.omitted_items)
        except ContextLengthExceeded:
            if budget <= window.least_tokens:
                raise
            budget = max(budget * 2 // 3, window.least_tokens)


async def _tools(parameters: TurnParameters, mesh: Mesh) -> tuple[ToolDefinition, ...]:
    """Give the tools in the order in which a question names them."""
    if not parameters.server_tools:
        return parameters.tools
    own = (await mesh.tools.offer(parameters.server_tools.names)).chosen(parameters.server_tools)
    return (*parameters.tools, *(tool.definition for tool in own.values()))


async def _read(
    read: Conversation, model: Model, parameters: TurnParameters, mesh: Mesh, *, omitted_items: int
) -> ReadAhead:
    if not read.messages:
        return ReadAhead(model=model.name, tokens=0, cached_tokens=0, omitted_items=omitted_items)
    warmed = await mesh.inference.warm(read, model=model.name, cache_scope=parameters.cache_scope)
    return ReadAhead(
        model=model.name,
        tokens=warmed.tokens,
        cached_tokens=warmed.cached_tokens,
        omitted_items=omitted_items,
    )
