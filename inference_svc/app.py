"""inference_svc, put together: the only place that knows all its parts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from prometheus_client import CollectorRegistry

from inference_svc.adapters.llama_cpp.backend import LlamaCppBackend
from inference_svc.adapters.llama_cpp.model import LoadedModel, ModelFileError
from inference_svc.adapters.llama_cpp.options import ModelOptions
from inference_svc.adapters.llama_cpp.threads import available_cores
from inference_svc.adapters.measured_backend import MeasuredBackend, MeasuredEngine, Metrics
from inference_svc.adapters.model_files import ModelFile, fetch, find_model
from inference_svc.adapters.script import read_script
from inference_svc.adapters.scripted_backend import ScriptedBackend
from inference_svc.domain.ports import Backend
from inference_svc.domain.router import Router
from inference_svc.domain.sampling import Drawing
from inference_svc.edge.servicer import InferenceServicer
from inference_svc.settings import NO_MODEL, InferenceSettings
from threadmesh.api.inference.v1 import inference_service_pb2 as pb
from threadmesh.api.inference.v1.inference_service_pb2_grpc import add_InferenceServiceServicer_to_server
from threadmesh.clock import Clock, SystemClock
from threadmesh.rpc.server import Service
from threadmesh.rpc.unit import Unit
from threadmesh.settings import ConfigurationError

BUNDLED = Drawing(temperature=0.2, top_p=0.9, repeat_penalty=1.02)
"""What SmolLM2's authors recommend, and a penalty without which a model so small repeats itself to the end.

A larger penalty (1.1) was seen to spoil what has to be repeated: the digits of a tool's result.
"""


@asynccontextmanager
async def app(
    settings: InferenceSettings, registry: CollectorRegistry, clock: Clock | None = None
) -> AsyncIterator[Unit]:
    """Build the unit; everything opened here is closed here.

    Models are loaded while the unit serves already; until then it says that it is not ready. Raises
    `ConfigurationError` for a model or a script that cannot be used, also when that turns out later.
    """
    created = int((clock or SystemClock()).now().timestamp())
    metrics = Metrics(registry)
    backends: list[Backend] = []
    async with AsyncExitStack() as stack:
        loading = await stack.enter_async_context(_failing_plainly())
        if settings.model != NO_MODEL:
            file = find_model(settings.model, models_dir=settings.models_dir)
            check(file)
            backend = llama_cpp_backend(settings, file, metrics, created=created)
            stack.push_async_callback(backend.close)
            backends.append(backend)
            task = loading.create_task(run(backend, file))
            stack.callback(task.cancel)
        if settings.script:
            backends.append(ScriptedBackend(read_script(Path(settings.script)), created=created))
        if not backends:
            raise ConfigurationError("INFERENCE_MODEL: `none` serves nothing without INFERENCE_SCRIPT")
        router = Router([MeasuredBackend(backend, metrics) for backend in backends])
        yield Unit(services=[service(router)], ping=router.ping)


def service(router: Router) -> Service:
    """Give what inference_svc serves."""
    return Service(
        servicer=InferenceServicer(router),
        add=add_InferenceServiceServicer_to_server,
        name=pb.DESCRIPTOR.services_by_name["InferenceService"].full_name,
    )


def llama_cpp_backend(
    settings: InferenceSettings, file: ModelFile, metrics: Metrics, *, created: int
) -> LlamaCppBackend:
    """Make the backend of a model file, not loaded yet."""
    name = settings.model_name or file.name
    options = ModelOptions(
        name=name,
        threads=settings.threads or max(1, available_cores() - 1),
        created=created,
        context_tokens=settings.context_tokens,
        cells=settings.cache_tokens,
        sequences=settings.sequences,
        queue=settings.queue,
        batch=settings.batch_tokens,
        gpu_layers=settings.gpu_layers,
        grammar_seconds=settings.grammar_ms / 1000,
        drawing=drawing(settings),
    )
    return LlamaCppBackend(options, observer=MeasuredEngine(metrics, model=name))


def drawing(settings: InferenceSettings) -> Drawing:
    """Give how tokens are drawn for requests that leave it open."""
    chosen = {name: getattr(settings, name) for name in ("temperature", "top_p", "repeat_penalty")}
    usual = Drawing() if settings.model else BUNDLED
    return replace(usual, **{name: value for name, value in chosen.items() if value is not None})


def check(file: ModelFile) -> None:
    """Refuse a file that is not a whole GGUF; reads its header only."""
    if file.present:
        try:
            LoadedModel(file.path, vocabulary_only=True).close()
        except ModelFileError as error:
            raise ConfigurationError(f"INFERENCE_MODEL: {error.message}") from error


async def run(backend: LlamaCppBackend, file: ModelFile) -> None:
    """Fetch the model if it is not here, load it, and stay until its engine has stopped.

    An engine that breaks ends the unit, so that whoever watches over the process starts a new one.
    """
    if not file.present:
        await fetch(file)
        await asyncio.to_thread(check, file)
    try:
        await backend.load(file.path)
    except ModelFileError as error:
        raise ConfigurationError(f"INFERENCE_MODEL: {error.message}") from error
    await backend.until_stopped()


@asynccontextmanager
async def _failing_plainly() -> AsyncIterator[asyncio.TaskGroup]:
    """Give a task group whose configuration errors come out as they are, not as a group."""
    try:
        async with asyncio.TaskGroup() as tasks:
            yield tasks
    except* ConfigurationError as group:
        raise group.exceptions[0] from None
