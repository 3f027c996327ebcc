"""What a model is asked: how much of the thread, with which tools, and how it may use them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from facade.domain.answer import Answer
from facade.domain.offer import Catalogue
from facade.domain.parameters import TurnParameters
from facade.domain.ports import Generation, Model
from facade.domain.records import Window
from threadmesh.conversation import Message, Role, ToolChoice, ToolChoiceMode, ToolDefinition, message


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where in its turn a question is asked; `calls_left` are those of the mesh's tools, None without a limit."""

    round: int
    last: bool
    calls_left: int | None = None


def question(
    parameters: TurnParameters, model: Model, window: Window, catalogue: Catalogue, *, answer: Answer, at: Place
) -> Generation:
    """Ask for an answer, or for the rest of one that has begun."""
    tools = _tools(parameters, catalogue, at)
    asked = replace(parameters, model=model.name)
    if answer.started is not None:  # chance goes on as it was
        asked = replace(asked, sampling=replace(asked.sampling, seed=answer.started.seed))
    return Generation(
        messages=(*instructions_of(parameters), *window.messages),
        tools=tools,
        tool_choice=_tool_choice(parameters, at) if tools else None,
        parameters=asked,
        emitted=tuple(answer.tokens),
    )


def with_seed_of(parameters: TurnParameters, *, choice: int) -> TurnParameters:
    """Give each of several answers a seed of its own, made of the request's: the first has that itself."""
    seed = parameters.sampling.seed
    if seed is None or not choice:
        return parameters
    return replace(parameters, sampling=replace(parameters.sampling, seed=_wrapped(seed + choice)))


def _wrapped(seed: int) -> int:
    """Let the seed behind the last one be the first."""
    return (seed + 2**63) % 2**64 - 2**63


def instructions_of(parameters: TurnParameters) -> Sequence[Message]:
    """Give what this run alone is told, before everything else."""
    return (message(Role.SYSTEM, parameters.instructions),) if parameters.instructions else ()


def bounded(parameters: TurnParameters, *, answer_tokens: int) -> TurnParameters:
    """Limit an answer that the request does not limit; 0 does not either."""
    return replace(parameters, max_tokens=parameters.max_tokens or answer_tokens or None)


def budget_of(model: Model, parameters: TurnParameters) -> int:
    """Give the tokens that the prompt may fill, leaving room for an answer."""
    room = parameters.max_tokens or model.context_tokens // 4
    return model.context_tokens - min(room, model.context_tokens // 2)


def _tools(parameters: TurnParameters, catalogue: Catalogue, at: Place) -> list[ToolDefinition]:
    """Offer all tools, but none beside those of which the first round must call one."""
    tools = [*parameters.tools, *(tool.definition for tool in catalogue.values())]
    forced = parameters.forced_tools if at.round == 0 else ()
    return [tool for tool in tools if not forced or tool.name in forced]


def _tool_choice(parameters: TurnParameters, at: Place) -> ToolChoice | None:
    """A call that the request forces is forced once; the last round must be an answer."""
    if at.round == 0:
        return parameters.tool_choice
    no_more = at.last or (at.calls_left is not None and at.calls_left <= 0)
    return ToolChoice(mode=ToolChoiceMode.NONE if no_more else ToolChoiceMode.AUTO)
