"""inference_svc, put together: the only place that knows all its parts."""

import asyncio
import functools
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry

from inference_svc.adapters.adapted_backend import AdaptedBackend
from inference_svc.adapters.lazy_backend import Keeping, LazyBackend, LoadedBackend
from inference_svc.adapters.llama_cpp.backend import NAME, LlamaCppBackend
from inference_svc.adapters.llama_cpp.embedding_backend import EmbeddingBackend
from inference_svc.adapters.llama_cpp.inspection import Kind, ModelFacts, check, context_tokens, inspect
from inference_svc.adapters.llama_cpp.model import ModelFileError, fingerprint_of
from inference_svc.adapters.llama_cpp.options import ModelOptions
from inference_svc.adapters.measured_backend import MeasuredBackend, MeasuredEngine, MeasuredLoads, Metrics
from inference_svc.adapters.model_files import fetch
from inference_svc.adapters.models_file import ConfiguredModel
from inference_svc.adapters.quarantined_backend import Quarantine, QuarantinedBackend
from inference_svc.adapters.script import read_script
from inference_svc.adapters.scripted_backend import NAME as SCRIPTED
from inference_svc.adapters.scripted_backend import ScriptedBackend
from inference_svc.configuration import configured, options_of
from inference_svc.domain.ports import Backend, Capability, Loadable, Model, ModelState
from inference_svc.domain.router import Router
from inference_svc.edge.servicer import InferenceServicer
from inference_svc.settings import InferenceSettings
from threadmesh.api.inference.v1 import inference_service_pb2 as pb
from threadmesh.api.inference.v1.inference_service_pb2_grpc import add_InferenceServiceServicer_to_server
from threadmesh.clock import Clock, SystemClock
from threadmesh.rpc.server import Service
from threadmesh.rpc.unit import Unit
from threadmesh.settings import ConfigurationError

log = structlog.get_logger()

_BACKENDS: dict[Kind, type[LlamaCppBackend] | type[EmbeddingBackend]] = {
    Kind.CHAT: LlamaCppBackend,
    Kind.EMBEDDING: EmbeddingBackend,
}
_CAPABILITIES = {Kind.CHAT: (Capability.GENERATE,), Kind.EMBEDDING: (Capability.EMBED,)}
_UNUSED_SECONDS = 1.0
"""How often it is looked whether a model is unused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What all models of a unit share. Loads run in `tasks`, one after the other."""

    tasks: asyncio.TaskGroup
    clock: Clock
    metrics: Metrics
    loading: asyncio.Lock = field(default_factory=asyncio.Lock)


@asynccontextmanager
async def app(
    settings: InferenceSettings, registry: CollectorRegistry, clock: Clock | None = None
) -> AsyncIterator[Unit]:
    """Build the unit; everything opened here is closed here.

    Models are loaded while the unit serves already; until those are there that it starts with, it says that it is not
    ready. Raises `ConfigurationError` for a model or a script that cannot be used, also when that turns out later.
    """
    clock = clock or SystemClock()
    metrics = Metrics(registry)
    async with AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(_failing_plainly())
        parts = Parts(tasks=tasks, clock=clock, metrics=metrics)
        backends: list[Backend] = []
        loadable: dict[str, LazyBackend] = {}
        for model in configured(settings):
            lazy = lazy_backend(settings, model, parts)
            stack.push_async_callback(lazy.close)
            offered = [lazy, *adapted_backends(lazy, model)]
            loadable |= {backend.describe().name: lazy for backend in offered}
            backends += offered
            if not model.lazy:
                stack.callback(tasks.create_task(lazy.start()).cancel)
        stack.callback(tasks.create_task(unload_unused(tuple(loadable.values()))).cancel)
        if settings.script:
            created = int(clock.now().timestamp())
            backends.append(ScriptedBackend(read_script(Path(settings.script)), created=created))
        if quarantine := quarantine_of(settings, clock):
            stack.callback(quarantine.close)
            backends = [QuarantinedBackend(backend, quarantine) for backend in backends]
        router = router_of(backends, loadable, metrics)
        yield Unit(services=[service(router)], ping=router.ping)


def router_of(backends: Sequence[Backend], loadable: dict[str, LazyBackend], metrics: Metrics) -> Router:
    """Give the router of these backends. Raises `ConfigurationError` if there are none or two have one name."""
    if not backends:
        raise ConfigurationError("INFERENCE_MODEL: `none` serves nothing without INFERENCE_SCRIPT")
    if SCRIPTED in loadable and any(backend.describe().backend == SCRIPTED for backend in backends):
        raise ConfigurationError(f"INFERENCE_SCRIPT: a model is named `{SCRIPTED}` already; name it differently")
    models: dict[str, Loadable] = {**loadable}
    return Router([MeasuredBackend(backend, metrics) for backend in backends], loadable=models)


def quarantine_of(settings: InferenceSettings, clock: Clock) -> Quarantine | None:
    """Give the memory of requests that ended a process; None, with a warning, where it cannot be kept."""
    try:
        return Quarantine(settings.state_dir, clock=clock)
    except OSError as error:
        log.warning("quarantine.off", directory=str(settings.state_dir), problem=error.strerror or str(error))
        return None


def service(router: Router) -> Service:
    """Give what inference_svc serves."""
    return Service(
        servicer=InferenceServicer(router),
        add=add_InferenceServiceServicer_to_server,
        name=pb.DESCRIPTOR.services_by_name["InferenceService"].full_name,
    )


def lazy_backend(settings: InferenceSettings, model: ConfiguredModel, parts: Parts) -> LazyBackend:
    """Make the backend of a model, not loaded yet. Raises `ConfigurationError` if its file cannot be served."""
    options = options_of(settings.model_copy(update=dict(model.overrides)), model, parts.clock)
    facts = inspected(model, options) if model.file.present else None
    return LazyBackend(
        described(options, facts, kind=model.kind),
        functools.partial(opened, model, options, facts, parts),
        tasks=parts.tasks,
        clock=parts.clock,
        observer=MeasuredLoads(parts.metrics, model=model.name),
        keeping=Keeping(required=not model.lazy, seconds=model.keep_seconds),
    )


def adapted_backends(lazy: LazyBackend, model: ConfiguredModel) -> list[Backend]:
    """Give the backends of a model's adapters."""
    return [
        AdaptedBackend(lazy, adapter=each.name, fingerprint=functools.partial(_fingerprint, each.path))
        for each in model.adapters
    ]


def inspected(model: ConfiguredModel, options: ModelOptions) -> ModelFacts:
    """Give what a model's file says, its weights unread. Raises `ConfigurationError` if it cannot be served.

    Whether it is the right file is found out first: a reader of GGUF is what a wrong one would attack.
    """
    model.file.verify()
    try:
        facts = check(inspect(model.file.path), options, kind=model.kind)
    except ModelFileError as error:
        raise ConfigurationError(f"{model.file.setting}: {error.message}") from error
    if facts.kind is Kind.CHAT and not facts.template:
        log.warning("model.without_template", model=model.name, used="ChatML")
    return facts


def described(options: ModelOptions, facts: ModelFacts | None, *, kind: str) -> Model:
    """Describe a model that is not loaded, with what its file says if that is here already."""
    known = facts.kind if facts else Kind(kind or Kind.CHAT)
    context = options.context_tokens
    if facts:
        context = context_tokens(
            known, wanted=context, trained=facts.trained_tokens, beyond_training=options.rope_override
        )
    return Model(
        name=options.name,
        backend=NAME,
        context_tokens=context,
        state=ModelState.UNLOADED,
        fingerprint="",
        created=options.created,
        capabilities=_CAPABILITIES[known],
    )


async def opened(
    model: ConfiguredModel, options: ModelOptions, facts: ModelFacts | None, parts: Parts
) -> LoadedBackend:
    """Fetch a model if it is not here, and load it. Raises `ConfigurationError` for what is wrong with it."""
    if not model.file.present:
        await fetch(model.file)
    async with parts.loading:
        if facts is None:
            facts = await asyncio.to_thread(inspected, model, options)
        backend = _BACKENDS[facts.kind](options, observer=MeasuredEngine(parts.metrics, model=model.name))
        try:
            await backend.load(model.file.path)
            for adapter in model.adapters:
                await asyncio.to_thread(_fingerprint, adapter.path)
        except BaseException as error:
            await backend.close()
            if isinstance(error, ModelFileError):
                raise ConfigurationError(f"{model.file.setting}: {error.message}") from error
            raise
    return backend


async def unload_unused(backends: Sequence[LazyBackend]) -> None:
    """Unload, for ever, the models that nobody has used for as long as they are kept."""
    while True:
        await asyncio.sleep(_UNUSED_SECONDS)
        for backend in backends:
            await backend.unload_unused()


_fingerprint = functools.cache(fingerprint_of)


@asynccontextmanager
async def _failing_plainly() -> AsyncIterator[asyncio.TaskGroup]:
    """Give a task group whose configuration errors come out as they are, not as a group."""
    try:
        async with asyncio.TaskGroup() as tasks:
            yield tasks
    except* ConfigurationError as group:
        raise group.exceptions[0] from None
