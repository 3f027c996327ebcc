"""The facade, put together: the only place that knows all its parts."""

import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import structlog
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from facade.access import opened_keyring, rate_limits
from facade.adapters.context_client import ContextClient
from facade.adapters.inference_client import InferenceClient
from facade.adapters.threads_client import ThreadsClient
from facade.adapters.tools_client import ToolsClient
from facade.domain.limits import END_SECONDS, Limits, Mesh
from facade.domain.metered import MeteredInference, MeteredTools
from facade.domain.places import Places
from facade.edge import embeddings, errors, health, keys, metrics, models, openapi, tokens
from facade.edge.admission import Admission
from facade.edge.answering import Answering
from facade.edge.chat.kept import Shelf
from facade.edge.chat.routes import Chat, ChatOptions
from facade.edge.chat.schemas import ChatRequest
from facade.edge.chat.stored import CompletionUpdate, StoredCompletions
from facade.edge.completions.routes import CompletionOptions, Completions
from facade.edge.completions.schemas import CompletionRequest
from facade.edge.conversations.routes import Conversations
from facade.edge.conversations.schemas import ConversationUpdate, NewConversation, NewItems
from facade.edge.executor import Executor
from facade.edge.hosts import KnownHosts
from facade.edge.responses.routes import ResponseOptions, Responses
from facade.edge.responses.schemas import ResponseRequest
from facade.edge.responses.socket import handshake_router, socket_router
from facade.edge.responses.windows import CompactRequest, InputTokensRequest, WindowOptions, Windows
from facade.edge.runs.routes import Runs
from facade.edge.runs.schemas import Approval, Denial, Settlement
from facade.edge.scope import RequestScope
from facade.edge.server import configured, serve
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
    CompletionUpdate,
    NewConversation,
    ConversationUpdate,
    NewItems,
)
"""The bodies of requests that the served OpenAPI document describes."""


def main() -> None:
    """Serve until SIGTERM or SIGINT; exits with 78 and one line a problem when the configuration is wrong."""
    try:
        settings = FacadeSettings.load()
        logs.configure(unit="facade", level=settings.log_level)
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
        use = rate_limits(settings, keyring)
        admission = Admission(Places(settings.places), use, counted)
        channels = await _channels(settings, stack)
        inference = InferenceClient(channels["inference"])
        tools = ToolsClient(channels["tools"])
        threads = ThreadsClient(channels["context"])
        context = ContextClient(
            channels["context"],
            owner=f"{socket.gethostname()}:{os.getpid()}",
            claim_seconds=settings.turn_seconds,
        )
        mesh = Mesh(
            inference=MeteredInference(inference, use),
            tools=MeteredTools(tools, use, admission.refused),
            context=context,
        )
        limits = _limits(settings)
        executor = await stack.enter_async_context(Executor(mesh, limits, counted))
        answering = Answering(mesh, limits, executor, admission, counted, keepalive_seconds=settings.keepalive_seconds)
        needs = keys.Guard(keyring, counted, SystemClock()).requires

        built = FastAPI(
            title="threadmesh", version=installed_version(), docs_url=None, redoc_url=None, redirect_slashes=False
        )
        pings = {"facade": executor.ping, "inference": inference.ping, "context": context.ping}
        responses = Responses(mesh, threads, answering, _response_options(settings))
        windows = Windows(mesh, responses, admission, _window_options(settings))
        completions = Completions(mesh.inference, admission, counted, _completion_options(settings, limits))
        for router, dependencies in (
            (Chat(context, answering, _chat_options(settings)).router(), needs(Scope.CHAT)),
            (windows.router(), needs(Scope.CHAT)),
            (StoredCompletions(Shelf(context, threads), threads).router(), needs(Scope.CHAT)),
            (responses.router(), needs(Scope.CHAT)),
            (Conversations(threads).router(), needs(Scope.CHAT)),
            (handshake_router(), needs(Scope.CHAT)),
            (socket_router(), []),
            (completions.router(), needs(Scope.CHAT)),
            (Runs(context, executor, answering).router(), needs(Scope.RUNS_READ, writing=Scope.RUNS_WRITE)),
            (embeddings.router(inference, admission), needs(Scope.EMBEDDINGS)),
            (tokens.router(inference), needs(Scope.CHAT)),
            (models.router(inference), needs(Scope.MODELS_READ)),
            (health.router(pings), []),
            (metrics.router(registry), []),
        ):
            built.include_router(router, dependencies=dependencies)
        built.state.drain = partial(executor.drain, seconds=settings.drain_seconds)
        built.state.on_cut = counted.readers_cut.inc
        _surround(built, settings, counted)
        yield built


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
    openapi.install(built, *_BODIES)
    beyond = not is_loopback(settings.listen)
    if settings.host_names() or not beyond:
        built.add_middleware(KnownHosts, names=settings.host_names(), beyond_loopback=beyond)
    built.add_middleware(RequestScope, metrics=counted)


def _limits(settings: FacadeSettings) -> Limits:
    return Limits(
        answer_tokens=settings.answer_tokens,
        tool_rounds=settings.tool_rounds,
        result_characters=settings.tool_result_characters,
        seconds=settings.turn_seconds,
        approval_seconds=settings.approval_seconds,
    )


def _response_options(settings: FacadeSettings) -> ResponseOptions:
    return ResponseOptions(
        default_tools=settings.default_tools,
        run_seconds=settings.turn_seconds + END_SECONDS,
        share_prompts=settings.share_prompts,
    )


def _window_options(settings: FacadeSettings) -> WindowOptions:
    return WindowOptions(
        default_tools=settings.default_tools, share_prompts=settings.share_prompts, seconds=settings.turn_seconds
    )


def _completion_options(settings: FacadeSettings, limits: Limits) -> CompletionOptions:
    return CompletionOptions(
        max_choices=settings.max_choices,
        share_prompts=settings.share_prompts,
        seconds=limits.seconds,
        patience_seconds=limits.patience_seconds,
        keepalive_seconds=settings.keepalive_seconds,
    )


def _chat_options(settings: FacadeSettings) -> ChatOptions:
    return ChatOptions(
        default_tools=settings.default_tools,
        run_seconds=settings.turn_seconds + END_SECONDS,
        orchestrator_fields=settings.orchestrator_fields,
        share_prompts=settings.share_prompts,
        max_choices=settings.max_choices,
    )
