"""The facade, put together: the only place that knows all its parts."""

import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import structlog
from fastapi import APIRouter, FastAPI, params
from prometheus_client import CollectorRegistry

from facade import options
from facade.access import noted_uses, opened_keyring, rate_limits, usual_limits
from facade.adapters.context_client import ContextClient
from facade.adapters.curation_client import CurationClient
from facade.adapters.inference_client import InferenceClient
from facade.adapters.threads_client import ThreadsClient
from facade.adapters.tools_client import ToolsClient
from facade.domain.limits import Limits, Mesh
from facade.domain.metered import MeteredInference, MeteredTools
from facade.domain.places import Places
from facade.domain.rate_limits import RateLimits
from facade.domain.refusals import Refusals
from facade.domain.retries import Retries
from facade.edge import embeddings, errors, health, keys, metrics, models, openapi, tokens, tools, usage
from facade.edge.admission import Admission
from facade.edge.answering import Answering
from facade.edge.chat.kept import Shelf
from facade.edge.chat.routes import Chat
from facade.edge.chat.schemas import ChatRequest
from facade.edge.chat.stored import CompletionUpdate, StoredCompletions
from facade.edge.completions.routes import Completions
from facade.edge.completions.schemas import CompletionRequest
from facade.edge.conversations.routes import Conversations
from facade.edge.conversations.schemas import ConversationUpdate, NewConversation, NewItems
from facade.edge.executor import Executor
from facade.edge.head import HeadAsGet
from facade.edge.hosts import KnownHosts
from facade.edge.responses.routes import Responses
from facade.edge.responses.schemas import ResponseRequest
from facade.edge.responses.socket import handshake_router, socket_router
from facade.edge.responses.windows import CompactRequest, InputTokensRequest, Windows
from facade.edge.runs.routes import Runs
from facade.edge.runs.schemas import Answers, Approval, Denial, Settlement
from facade.edge.scope import RequestScope
from facade.edge.server import configured, serve
from facade.edge.threads.reading import ThreadReading
from facade.edge.threads.routes import ThreadKeeping
from facade.edge.threads.schemas import NewThread, PruneRequest, SummaryRequest, ThreadUpdate, WarmRequest
from facade.settings import FacadeSettings
from threadmesh.clock import SystemClock
from threadmesh.keys.key import Scope
from threadmesh.links.client import announce
from threadmesh.loop import run_process
from threadmesh.loopback import is_loopback
from threadmesh.rpc.channel import MeshChannel, connect
from threadmesh.settings import CONFIGURATION_EXIT_STATUS, ConfigurationError
from threadmesh.telemetry import logs
from threadmesh.telemetry.metrics import installed_version, new_registry

log = structlog.get_logger()

_BODIES = (
    ChatRequest,
    CompletionRequest,
    ResponseRequest,
    InputTokensRequest,
    CompactRequest,
    embeddings.EmbeddingRequest,
    tokens.TokenizeRequest,
    tokens.DetokenizeRequest,
    Approval,
    Denial,
    Settlement,
    Answers,
    CompletionUpdate,
    NewConversation,
    ConversationUpdate,
    NewItems,
    NewThread,
    ThreadUpdate,
    PruneRequest,
    WarmRequest,
    SummaryRequest,
)
"""The bodies of requests that the served OpenAPI document describes."""


def main() -> None:
    """Serve until SIGTERM or SIGINT; exits with 78 and one line a problem when the configuration is wrong."""
    try:
        settings = FacadeSettings.load()
        logs.configure(unit="facade", level=settings.log_level, for_good=True)
        run_process(run(settings))
    except ConfigurationError as error:
        print(f"facade: configuration: {error.message}", file=sys.stderr)  # noqa: T201  # logs may not exist yet
        sys.exit(CONFIGURATION_EXIT_STATUS)


async def run(settings: FacadeSettings) -> None:
    """Build the application and serve it until a signal comes."""
    log.info("unit.starting", version=installed_version(), pid=os.getpid(), settings=settings.effective())
    async with app(settings, new_registry()) as built:
        config = configured(
            built,
            listen=settings.listen,
            port=settings.port,
            drain_seconds=settings.drain_seconds,
            stalled_seconds=settings.stalled_seconds,
            arrival_seconds=settings.arrival_seconds,
            on_cut=built.state.on_cut,
        )
        await serve(config, on_drain=built.state.drain)
    log.info("unit.stopped")


@asynccontextmanager
async def app(settings: FacadeSettings, registry: CollectorRegistry) -> AsyncIterator[FastAPI]:
    """Build the ASGI application; everything opened here is closed here."""
    async with AsyncExitStack() as stack:
        counted = metrics.FacadeMetrics(registry)
        keyring = await stack.enter_async_context(opened_keyring(settings, counted))
        parts = await _assembled(settings, counted, rate_limits(settings, keyring), stack)
        built = FastAPI(
            title="threadmesh", version=installed_version(), docs_url=None, redoc_url=None, redirect_slashes=False
        )
        on_use = await stack.enter_async_context(noted_uses(settings, counted))
        usual = usual_limits(settings)
        needs = keys.Guard(keyring, counted, SystemClock(), usual=usual, on_use=on_use).requires
        for needed, routers in _guarded(parts, settings, needs):
            for router in routers:
                built.include_router(router, dependencies=needed)
        pings = {"facade": parts.executor.ping, "inference": parts.inference.ping, "context": parts.context.ping}
        for router in (socket_router(), health.router(pings), metrics.router(registry)):
            built.include_router(router)
        built.state.drain = partial(parts.executor.drain, seconds=settings.drain_seconds)
        built.state.on_cut = counted.readers_cut.inc
        _surround(built, settings, counted)
        yield built


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What answers requests. Use through the `mesh` is counted for the caller, use of `inference` itself is not."""

    inference: InferenceClient
    context: ContextClient
    threads: ThreadsClient
    curation: CurationClient
    mesh: Mesh
    limits: Limits
    executor: Executor
    admission: Admission
    answering: Answering
    metrics: metrics.FacadeMetrics


async def _assembled(
    settings: FacadeSettings, counted: metrics.FacadeMetrics, use: RateLimits, stack: AsyncExitStack
) -> _Parts:
    """Put the parts together, closed with `stack`."""
    refusals = Refusals(SystemClock())
    admission = Admission(Places(settings.places), use, refusals, counted)
    channels = await _channels(settings, stack)
    inference, tools = InferenceClient(channels["inference"]), ToolsClient(channels["tools"])
    retries = Retries.by(SystemClock())
    counted.watch_retries(retries)
    context = ContextClient(
        channels["context"],
        owner=f"{socket.gethostname()}:{os.getpid()}",
        claim_seconds=settings.turn_seconds,
        retries=retries,
    )
    mesh = Mesh(
        inference=MeteredInference(inference, use, refusals),
        tools=MeteredTools(tools, use, admission.refused),
        context=context,
        retries=retries,
    )
    limits = options.limits_of(settings)
    executor = await stack.enter_async_context(Executor(mesh, limits, counted))
    return _Parts(
        inference=inference,
        context=context,
        threads=ThreadsClient(channels["context"]),
        curation=CurationClient(channels["context"]),
        mesh=mesh,
        limits=limits,
        executor=executor,
        admission=admission,
        answering=Answering(mesh, limits, executor, admission, counted, keepalive_seconds=settings.keepalive_seconds),
        metrics=counted,
    )


def _guarded(
    parts: _Parts, settings: FacadeSettings, needs: Callable[..., list[params.Depends]]
) -> Iterator[tuple[list[params.Depends], list[APIRouter]]]:
    """Give the routes that need a key, by what the key must be for."""
    responses = Responses(parts.mesh, parts.threads, parts.answering, options.response(settings))
    completions = Completions(parts.mesh, parts.admission, parts.metrics, options.completion(settings, parts.limits))
    chat = [
        Chat(parts.context, parts.threads, parts.answering, options.chat(settings)).router(),
        StoredCompletions(Shelf(parts.context, parts.threads), parts.threads).router(),
        # Before the routes of one response, whose id could be any of their names.
        Windows(parts.mesh, parts.threads, parts.admission, options.window(settings)).router(),
        responses.router(),
        Conversations(parts.mesh.context, parts.threads).router(),
        handshake_router(),
        completions.router(),
        tokens.router(parts.inference),
    ]
    yield needs(Scope.CHAT), chat
    runs = Runs(parts.context, parts.executor, parts.answering)
    yield needs(Scope.RUNS_READ, writing=Scope.RUNS_WRITE), [runs.router()]
    reading = ThreadReading(
        parts.mesh, parts.threads, parts.curation, parts.admission, options.reading(settings, parts.limits)
    )
    keeping = ThreadKeeping(parts.mesh.context, parts.threads, parts.curation)
    yield needs(Scope.THREADS), [keeping.router(), reading.router()]
    yield needs(Scope.EMBEDDINGS), [embeddings.router(parts.inference, parts.admission)]
    yield needs(Scope.MODELS_READ), [models.router(parts.inference)]
    yield needs(Scope.TOOLS), [tools.router(parts.mesh.tools)]
    yield needs(None), [usage.router(parts.threads)]


async def _channels(settings: FacadeSettings, stack: AsyncExitStack) -> dict[str, MeshChannel]:
    """Open a channel to each unit, closed with `stack`. Raises `ConfigurationError`."""
    link = settings.client_link()
    targets = {
        "inference": settings.inference_target,
        "tools": settings.tools_target,
        "context": settings.context_target,
    }
    channels = {
        unit: await stack.enter_async_context(connect(target, link, peer=unit)) for unit, target in targets.items()
    }
    announce(link, tuple(targets.values()))
    return channels


def _surround(built: FastAPI, settings: FacadeSettings, counted: metrics.FacadeMetrics) -> None:
    """Add what holds for every route: errors, the document, known hosts, ids."""
    errors.install(built)
    built.add_middleware(HeadAsGet)
    openapi.install(built, *_BODIES)
    beyond = not is_loopback(settings.listen)
    if settings.host_names() or not beyond:
        built.add_middleware(KnownHosts, names=settings.host_names(), beyond_loopback=beyond)
    built.add_middleware(RequestScope, metrics=counted)
