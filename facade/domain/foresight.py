"""The window that a run will want, known before the run is made."""

from dataclasses import replace

from facade.domain.limits import Limits
from facade.domain.ports import Inference
from facade.domain.question import bounded, budget_of
from facade.domain.records import NewRun
from threadmesh.errors import MeshError


async def with_window(new: NewRun, inference: Inference, limits: Limits) -> NewRun:
    """Ask for the run's first window together with the run: that saves its answer a round trip.

    Left to the turn where the size takes a model to know, and where there is no such model, which the turn tells.
    """
    if new.parameters.instructions:
        return new
    try:
        model = await inference.model(new.parameters.model)
    except MeshError:
        return new
    return replace(new, window_tokens=budget_of(model, bounded(new.parameters, answer_tokens=limits.answer_tokens)))
