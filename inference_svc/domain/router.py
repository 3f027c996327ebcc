"""Which backend answers for which name."""

from collections.abc import Sequence

from inference_svc.domain.ports import Backend, Model
from threadmesh.errors import ModelNotFound


class Router:
    """Finds the backend of a model; the first backend answers where no model is named."""

    def __init__(self, backends: Sequence[Backend]) -> None:
        self._backends = {backend.describe().name: backend for backend in backends}
        self._default = next(iter(self._backends), "")

    def find(self, model: str) -> Backend:
        """Give the model's backend. Raises `ModelNotFound`."""
        try:
            return self._backends[model or self._default]
        except KeyError:
            raise ModelNotFound(model=model[:64]) from None

    def models(self) -> tuple[Model, ...]:
        """Describe all models in the order of the configuration."""
        return tuple(backend.describe() for backend in self._backends.values())

    async def ping(self) -> None:
        """Return if every backend can answer at once. Raises `BackendUnavailable`."""
        for backend in self._backends.values():
            await backend.ping()
