"""Texts that models go on with, apart from any thread: nothing of them is kept."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from facade.domain.events import ModelEvent
from facade.domain.limits import Mesh
from facade.domain.parameters import TurnParameters
from facade.domain.ports import Generation
from facade.domain.question import with_seed_of
from threadmesh.errors import MeshError
from threadmesh.retry import persist
from threadmesh.streams import begun, side_by_side

Prompt = str | Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuations:
    """What is gone on with: each of the `prompts`, texts or tokens, as often as the parameters want choices."""

    prompts: Sequence[Prompt]
    parameters: TurnParameters

    @property
    def generations(self) -> Sequence[Generation]:
        """The questions to the model, those about one prompt next to each other."""
        return [
            Generation(
                messages=(),
                tools=(),
                tool_choice=None,
                parameters=replace(with_seed_of(self.parameters, choice=choice), choices=1),
                raw=prompt,
            )
            for prompt in self.prompts
            for choice in range(self.parameters.choices)
        ]


async def continued(
    wanted: Continuations, mesh: Mesh, *, at_once: int, patience_seconds: float
) -> AsyncGenerator[tuple[int, ModelEvent], None]:
    """Stream all continuations, each event with its number; `at_once` of them are made at one time.

    A model that cannot be reached is waited for, for a moment. Raises what `Inference.generate` does; the place of what
    is wrong with a prompt is told as the request names it.
    """
    several = len(wanted.prompts) > 1
    places = [f"prompt[{each // wanted.parameters.choices}]" if several else "prompt" for each in _numbers(wanted)]
    streams = [
        _placed(_persistent(mesh, generation, seconds=patience_seconds), place)
        for place, generation in zip(places, wanted.generations, strict=True)
    ]
    async with aclosing(side_by_side(streams, at_once=at_once)) as events:
        async for number, event in events:
            yield number, event


def _numbers(wanted: Continuations) -> range:
    return range(len(wanted.prompts) * wanted.parameters.choices)


async def _persistent(mesh: Mesh, generation: Generation, *, seconds: float) -> AsyncGenerator[ModelEvent, None]:
    async def ask() -> AsyncGenerator[ModelEvent, None]:
        return await begun(mesh.inference.generate(generation))

    async with aclosing(await persist(ask, seconds=seconds, budget=mesh.retries.answers)) as events:
        async for event in events:
            yield event


async def _placed(events: AsyncGenerator[ModelEvent, None], place: str) -> AsyncGenerator[ModelEvent, None]:
    """Pass events on; an error says which prompt it is about."""
    try:
        async with aclosing(events):
            async for event in events:
                yield event
    except MeshError as error:
        if "field" in error.facts:
            field = error.facts["field"].replace("raw_prompt.tokens.ids", place).replace("raw_prompt", place)
            error.facts["field"] = field
        raise
