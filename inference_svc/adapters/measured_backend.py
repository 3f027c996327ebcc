"""Counts what a backend does, around any backend, and what the engine tells of itself."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from inference_svc.domain.events import Event, Finished, Progress, Started
from inference_svc.domain.ports import Backend, Embeddings, Model, Warmed
from inference_svc.domain.prompt import Conversation, Prompt
from threadmesh.conversation import Usage
from threadmesh.errors import MeshError

_FIRST_TOKEN_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30)
_LOAD_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300)
_STEP_SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1)


class Metrics:
    """The metrics of all models of this server."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"threadmesh_inference_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"threadmesh_inference_{name}", text, ["model"], registry=registry)

        def histogram(name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
            return Histogram(f"threadmesh_inference_{name}", text, labels, buckets=buckets, registry=registry)

        self.requests = counter("requests_total", "Generations ended, by outcome.", "model", "backend", "outcome")
        self.prompt_tokens = counter("prompt_tokens_total", "Tokens of prompts.", "model")
        self.cached_tokens = counter("cached_prompt_tokens_total", "Prompt tokens found in the KV cache.", "model")
        self.generated_tokens = counter("generated_tokens_total", "Tokens generated.", "model")
        self.aborts = counter("aborts_total", "Requests that left before their end.", "model", "phase")
        self.running = gauge("sequences_running", "Requests being answered.")
        self.waiting = gauge("queue_depth", "Requests that wait for a place.")
        self.parked = gauge("parked_bytes", "Host memory taken by conversations that do not run.")
        self.threads = gauge("compute_threads", "Threads that computed the last step.")
        self.forced = counter("forced_tokens_total", "Tokens that a grammar left no choice about.", "model")
        self.guesses = counter("guessed_tokens_total", "Tokens guessed, by what came of it.", "model", "fate")
        self.loaded = gauge("model_loaded", "1 once the model can answer.")
        self.first_token = histogram(
            "time_to_first_token_seconds", "From request to first token.", _FIRST_TOKEN_SECONDS, "model", "backend"
        )
        self.loads = counter("model_loads_total", "Loads of a model ended, by outcome.", "model", "outcome")
        self.unloads = counter("model_unloads_total", "Times that a model's memory was freed.", "model")
        self.load = histogram(
            "model_load_duration_seconds", "Duration of a successful load, a download included.", _LOAD_SECONDS, "model"
        )
        self.step = histogram("step_duration_seconds", "Duration of one step of the engine.", _STEP_SECONDS, "model")


class MeasuredEngine:
    """Feeds what an engine tells of itself into the metrics."""

    def __init__(self, metrics: Metrics, *, model: str) -> None:
        self._running = metrics.running.labels(model)
        self._waiting = metrics.waiting.labels(model)
        self._parked = metrics.parked.labels(model)
        self._step = metrics.step.labels(model)
        self._threads = metrics.threads.labels(model)
        self._forced = metrics.forced.labels(model)
        self._guesses = {fate: metrics.guesses.labels(model, fate) for fate in ("proposed", "accepted")}
        self._aborts = {phase: metrics.aborts.labels(model, phase) for phase in ("queued", "prefill", "decode")}

    def occupied(self, *, running: int, waiting: int, parked: int) -> None:
        """Show how many requests run and wait, and what is parked."""
        self._running.set(running)
        self._waiting.set(waiting)
        self._parked.set(parked)

    def stepped(self, *, seconds: float, threads: int) -> None:
        """Count a step."""
        self._step.observe(seconds)
        self._threads.set(threads)

    def forced(self) -> None:
        """Count a token that the grammar forced."""
        self._forced.inc()

    def guessed(self, *, proposed: int, accepted: int) -> None:
        """Count guesses."""
        self._guesses["proposed"].inc(proposed)
        self._guesses["accepted"].inc(accepted)

    def left(self, *, phase: str) -> None:
        """Count a request that left."""
        self._aborts[phase].inc()


class MeasuredLoads:
    """Counts the loads of one model."""

    def __init__(self, metrics: Metrics, *, model: str) -> None:
        self._outcomes = {outcome: metrics.loads.labels(model, outcome) for outcome in ("loaded", "failed")}
        self._seconds, self._unloads = metrics.load.labels(model), metrics.unloads.labels(model)

    def loaded(self, *, seconds: float) -> None:
        """Count a load."""
        self._outcomes["loaded"].inc()
        self._seconds.observe(seconds)

    def failed(self) -> None:
        """Count a load that failed."""
        self._outcomes["failed"].inc()

    def unloaded(self) -> None:
        """Count an unload."""
        self._unloads.inc()


class MeasuredBackend:
    """A backend whose generations are counted."""

    def __init__(self, backend: Backend, metrics: Metrics) -> None:
        self._backend, self._metrics = backend, metrics
        self._loaded = metrics.loaded.labels(backend.describe().name)
        self._loaded.set_function(lambda: float(backend.describe().ready))

    def describe(self) -> Model:
        """Say which model this is and whether it is ready."""
        return self._backend.describe()

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Event, None]:
        """Answer, and count how it went."""
        model = self.describe()
        began = perf_counter()
        outcome = "cancelled"
        waiting = True
        try:
            async with aclosing(self._backend.stream(prompt)) as events:
                async for event in events:
                    if isinstance(event, Finished):
                        outcome = event.reason.value
                        self._count(model.name, event.usage)
                    elif waiting and not isinstance(event, Started | Progress):
                        waiting = False
                        self._metrics.first_token.labels(model.name, model.backend).observe(perf_counter() - began)
                    yield event
        except MeshError as error:
            outcome = error.reason.lower()
            raise
        except Exception:
            outcome = "internal"
            raise
        finally:
            self._metrics.requests.labels(model.name, model.backend, outcome).inc()

    def _count(self, model: str, usage: Usage) -> None:
        self._metrics.prompt_tokens.labels(model).inc(usage.prompt_tokens)
        self._metrics.cached_tokens.labels(model).inc(usage.cached_tokens)
        self._metrics.generated_tokens.labels(model).inc(usage.completion_tokens)

    async def warm(self, prompt: Prompt) -> Warmed:
        """Read a prompt into the KV cache."""
        return await self._backend.warm(prompt)

    async def count_tokens(self, counted: Conversation | str) -> int:
        """Count tokens."""
        return await self._backend.count_tokens(counted)

    async def tokenize(self, read: Conversation | str, *, special: bool = False, ask: bool = True) -> Sequence[int]:
        """Give the tokens of a text or a conversation."""
        return await self._backend.tokenize(read, special=special, ask=ask)

    async def detokenize(self, tokens: Sequence[int]) -> Sequence[bytes]:
        """Give the bytes of tokens."""
        return await self._backend.detokenize(tokens)

    async def embed(self, inputs: Sequence[str], *, dimensions: int | None = None) -> Embeddings:
        """Turn texts into vectors, and count what they consumed."""
        embeddings = await self._backend.embed(inputs, dimensions=dimensions)
        self._metrics.prompt_tokens.labels(self.describe().name).inc(embeddings.usage.prompt_tokens)
        return embeddings

    async def ping(self) -> None:
        """Return if requests can be answered at once."""
        await self._backend.ping()

    async def close(self) -> None:
        """Stop the backend."""
        await self._backend.close()
