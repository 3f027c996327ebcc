"""Which backend answers for which name."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from inference_svc.domain.ports import Backend, Capability, Loadable, Model
from threadmesh.errors import ModelNotFound, Unsupported


class Router:
    """Finds the backend of a model. Where no model is named, the first one answers that can."""

    def __init__(self, backends: Sequence[Backend], *, loadable: Mapping[str, Loadable] = MappingProxyType({})) -> None:
        """`loadable` are the models that can be loaded and unloaded, by every name under which they are offered."""
        self._backends = {backend.describe().name: backend for backend in backends}
        self._loadable = loadable
        self._default = next(iter(self._backends), "")

    def find(self, model: str, *, able: Capability = Capability.GENERATE) -> Backend:
        """Give the model's backend; without a name, that of the first model that is `able`. Raises `ModelNotFound`."""
        try:
            return self._backends[model or self._first(able)]
        except KeyError:
            raise ModelNotFound(model=model[:64]) from None

    def describe(self, model: str) -> Model:
        """Describe a model. Raises `ModelNotFound`."""
        return self.find(model or self._default).describe()

    def models(self) -> tuple[Model, ...]:
        """Describe all models in the order of the configuration."""
        return tuple(backend.describe() for backend in self._backends.values())

    async def load(self, model: str) -> Model:
        """Load a model and describe it. Raises what `Loadable.load` does, `Unsupported` if it always is loaded."""
        await self._loadable_of(model).load()
        return self.describe(model)

    async def unload(self, model: str) -> Model:
        """Unload a model and describe it. Raises what `Loadable.unload` does, `Unsupported` if it always is loaded."""
        await self._loadable_of(model).unload()
        return self.describe(model)

    async def ping(self) -> None:
        """Return if every backend answers. Raises `BackendUnavailable`."""
        for backend in self._backends.values():
            await backend.ping()

    def _first(self, able: Capability) -> str:
        models = self.models()
        return next((model.name for model in models if able in model.capabilities), self._default)

    def _loadable_of(self, model: str) -> Loadable:
        name = self.describe(model).name
        if name not in self._loadable:
            raise Unsupported("This model is always loaded.", model=name)
        return self._loadable[name]
