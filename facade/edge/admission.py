"""Which requests for answers are taken, so that no caller does more than its limits or takes everything."""

from contextlib import ExitStack

from fastapi import Request

from facade.domain.places import Places
from facade.domain.ports import Inference
from facade.domain.rate_limits import RateLimits, Standing
from facade.domain.refusals import Refusals
from facade.edge.metrics import FacadeMetrics
from threadmesh.errors import Overloaded


class Admission:
    """Takes requests as long as there is room for them; a refused one has cost nothing but the reading of its body."""

    def __init__(self, places: Places, limits: RateLimits, refusals: Refusals, metrics: FacadeMetrics) -> None:
        self._places, self._limits, self._refusals, self._metrics = places, limits, refusals, metrics
        metrics.places_taken.set_function(lambda: places.taken)

    async def unless_refused(self, request: Request, *, model: str, models: Inference) -> None:
        """Return unless the engine of this model has just refused the same caller. Raises `Overloaded`.

        Who has nothing else under way here cannot ask often, and may find a place where he found none.
        """
        identity = request.state.key
        try:
            if self._places.taken_by(identity):
                await self._refusals.check(identity, model=model, models=models)
        except Overloaded as error:
            self.refused(error)
            raise

    def admit(self, request: Request, *, tokens: int) -> ExitStack:
        """Take a request that is expected to use so many tokens; gives what is to be closed when its work has ended.

        What it really used is taken apart. Raises `Overloaded` and `RateLimitExceeded`.
        """
        identity = request.state.key
        try:
            self.hold(request)
            with ExitStack() as held:
                held.callback(self._places.take(identity))
                self._limits.admit(identity, tokens=tokens)
                held.callback(self._limits.use_tokens, identity, -tokens)
                return held.pop_all()
        except Overloaded as error:
            self.refused(error)
            raise
        finally:
            for what, standing in self._limits.standings(identity):
                request.state.headers.update(_headers(what, standing))

    def hold(self, request: Request) -> None:
        """Count the request among its caller's streams until its response has ended. Raises `RateLimitExceeded`."""
        if not getattr(request.state, "held", False):
            request.state.until_its_end.callback(self._limits.open_stream(request.state.key))
            request.state.held = True

    def used(self, request: Request, tokens: int) -> None:
        """Take tokens that a request has used."""
        self._limits.use_tokens(request.state.key, tokens)

    def refused(self, error: Overloaded) -> None:
        """Count what was refused, by its reason."""
        self._metrics.refused.labels(error.facts.get("limited", "overloaded")).inc()


def _headers(what: str, standing: Standing) -> dict[str, str]:
    return {
        f"x-ratelimit-limit-{what}": str(standing.limit),
        f"x-ratelimit-remaining-{what}": str(standing.remaining),
        f"x-ratelimit-reset-{what}": duration(standing.reset_seconds),
    }


def duration(seconds: float) -> str:
    """Write a duration as OpenAI does: `120ms`, `6.5s`, `1m30s`."""
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    minutes, rest = divmod(round(seconds, 3), 60)
    return f"{minutes:.0f}m{rest:g}s" if minutes else f"{rest:g}s"
