"""Which callers an engine has just refused."""

from facade.domain.ports import Inference
from threadmesh.clock import Clock
from threadmesh.errors import MeshError, Overloaded

MEMORY_SECONDS = 0.25
"""Less than what a refused caller is told to wait, so that it meets nobody who does."""


class Refusals:
    """Remembers for a moment whom an engine has refused, and refuses the same without asking.

    A refusal by an engine comes behind all that a run costs to begin. A caller who does not wait as it is told would
    take more from the others by being refused than by being answered.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: dict[tuple[str, str], float] = {}

    def note(self, caller: str, *, model: str) -> None:
        """Remember that this caller was refused an answer of the model of this name, which is not an alias."""
        self._forget()
        self._until[caller, model] = self._clock.monotonic() + MEMORY_SECONDS

    async def check(self, caller: str, *, model: str, models: Inference) -> None:
        """Return unless this caller was refused an answer of this model a moment ago. Raises `Overloaded`."""
        self._forget()
        refusing = {name for who, name in self._until if who == caller}
        if refusing and await _name(model, models) in refusing:
            raise Overloaded

    def _forget(self) -> None:
        now = self._clock.monotonic()
        self._until = {who: until for who, until in self._until.items() if until > now}


async def _name(model: str, models: Inference) -> str:
    try:
        return (await models.model(model)).name
    except MeshError:
        return ""  # the run will say so
