"""A model is loaded by those who need it, once for all of them, and unloaded when nobody does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry

from inference_svc.adapters.lazy_backend import Keeping, LazyBackend
from inference_svc.adapters.measured_backend import MeasuredLoads, Metrics
from inference_svc.adapters.script import Script
from inference_svc.adapters.scripted_backend import ScriptedBackend
from inference_svc.domain.events import Finished, Phase, Progress, Started
from inference_svc.domain.ports import ModelState
from tests.inference_svc.engines import answered, prompt, text_of
from threadmesh.errors import BackendUnavailable, Internal, MeshError, PreconditionFailed
from threadmesh.settings import ConfigurationError
from threadmesh.testing.clock import FakeClock

SCRIPT = Script.model_validate({"rules": [{"match": "hang", "steps": [{"text": "And"}, {"stall": True}]}]})


class Loaded(ScriptedBackend):
    """A backend that tells when it ends, and can break."""

    def __init__(self) -> None:
        super().__init__(SCRIPT, created=1)
        self.closed = False
        self._end = asyncio.Event()
        self._error: MeshError | None = None

    async def until_stopped(self) -> None:
        await self._end.wait()
        if self._error:
            raise self._error

    def break_down(self) -> None:
        self._error = Internal()
        self._end.set()

    async def close(self) -> None:
        self.closed = True
        self._end.set()


class Shelf:
    """Opens backends when it is told to; keeps all that it has opened."""

    def __init__(self) -> None:
        self.opened: list[Loaded] = []
        self.asked = 0
        self.allowed = asyncio.Event()
        self.allowed.set()
        self.error: MeshError | None = None
        self.clock = FakeClock()
        self.registry = CollectorRegistry()
        self._metrics = Metrics(self.registry)

    async def open(self) -> Loaded:
        self.asked += 1
        await self.allowed.wait()
        self.clock.advance(2)
        if self.error:
            raise self.error
        self.opened.append(Loaded())
        return self.opened[-1]

    @asynccontextmanager
    async def lazy(self, *, required: bool = False, seconds: float = 0.0) -> AsyncIterator[LazyBackend]:
        async with asyncio.TaskGroup() as tasks:
            backend = LazyBackend(
                ScriptedBackend(SCRIPT, created=1).describe(),
                self.open,
                tasks=tasks,
                clock=self.clock,
                observer=MeasuredLoads(self._metrics, model="lazy"),
                keeping=Keeping(required=required, seconds=seconds),
            )
            try:
                yield backend
            finally:
                await backend.close()

    def count(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"threadmesh_inference_{name}", {"model": "lazy", **labels})


@pytest.fixture
async def shelf() -> Shelf:
    return Shelf()


async def turns() -> None:
    """Let everything that can run do so."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_nothing_is_loaded_before_somebody_asks(shelf: Shelf) -> None:
    async with shelf.lazy() as backend:
        await backend.ping()

        assert shelf.asked == 0
        assert backend.describe().state is ModelState.UNLOADED
        assert not backend.describe().ready
        assert backend.describe().name == "scripted"


async def test_the_first_request_loads_and_says_so_while_it_waits(shelf: Shelf) -> None:
    async with shelf.lazy() as backend:
        events = await answered(backend, prompt("hello"))
        again = await answered(backend, prompt("hello"))

        assert isinstance(events[0], Progress)
        assert events[0].phase is Phase.LOADING
        assert isinstance(events[1], Started)
        assert text_of(events) == text_of(again) == "You said: hello"
        assert isinstance(again[0], Started)
        assert backend.describe().ready
        assert shelf.asked == 1


async def test_those_who_come_at_once_wait_for_one_load(shelf: Shelf) -> None:
    shelf.allowed.clear()
    async with shelf.lazy() as backend:
        asked = [asyncio.ensure_future(answered(backend, prompt(f"{n}"))) for n in range(3)]
        counted = asyncio.ensure_future(backend.count_tokens("a b"))
        await turns()
        assert backend.describe().state is ModelState.LOADING
        shelf.allowed.set()
        found = await asyncio.gather(*asked)

        assert shelf.asked == 1
        assert all(isinstance(events[-1], Finished) for events in found)
        assert await counted == 2


async def test_a_wait_ends_with_its_deadline_and_the_load_goes_on(shelf: Shelf) -> None:
    shelf.allowed.clear()
    async with shelf.lazy() as backend:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await backend.count_tokens("a")
        shelf.allowed.set()
        await backend.load()

        assert backend.describe().ready
        assert shelf.asked == 1


async def test_a_load_that_fails_refuses_and_the_next_request_tries_again(shelf: Shelf) -> None:
    shelf.error = ConfigurationError("/models/secret.gguf is gone")
    async with shelf.lazy() as backend:
        with pytest.raises(BackendUnavailable) as caught:
            await backend.count_tokens("a")
        assert "secret" not in str(caught.value)
        assert caught.value.retryable
        assert backend.describe().state is ModelState.FAILED
        await backend.ping()
        shelf.error = None

        assert await backend.count_tokens("a") == 1
        assert backend.describe().ready
        assert (shelf.count("model_loads_total", outcome="failed"), shelf.asked) == (1, 2)


async def test_a_model_that_the_unit_starts_with_refuses_until_it_is_there(shelf: Shelf) -> None:
    shelf.allowed.clear()
    async with shelf.lazy(required=True) as backend:
        starting = asyncio.ensure_future(backend.start())
        await turns()
        for refused in (backend.ping(), backend.count_tokens("a"), answered(backend, prompt("hello"))):
            with pytest.raises(BackendUnavailable, match="being loaded"):
                await refused
        assert backend.describe().state is ModelState.LOADING
        shelf.allowed.set()
        await starting

        await backend.ping()
        assert await backend.count_tokens("a") == 1


async def test_what_is_wrong_at_the_start_comes_out_as_it_is(shelf: Shelf) -> None:
    shelf.error = ConfigurationError("models.toml:2: models.a.path: there is no file")
    async with shelf.lazy(required=True) as backend:
        with pytest.raises(ConfigurationError, match=r"models\.toml:2"):
            await backend.start()


async def test_a_model_in_use_cannot_be_unloaded(shelf: Shelf) -> None:
    async with shelf.lazy() as backend:
        stream = backend.stream(prompt("hang"))
        while not isinstance(await anext(stream), Started):
            pass
        with pytest.raises(PreconditionFailed):
            await backend.unload()
        await stream.aclose()
        await backend.unload()

        assert backend.describe().state is ModelState.UNLOADED
        assert shelf.opened[0].closed
        await backend.ping()
        await backend.unload()  # nothing is left to unload
        assert await backend.count_tokens("a") == 1
        assert len(shelf.opened) == 2
        assert shelf.count("model_unloads_total") == 1
        assert shelf.count("model_loads_total", outcome="loaded") == 2
        assert shelf.count("model_load_duration_seconds_sum") == 4


async def test_a_model_that_is_being_loaded_cannot_be_unloaded(shelf: Shelf) -> None:
    shelf.allowed.clear()
    async with shelf.lazy() as backend:
        loading = asyncio.ensure_future(backend.load())
        await turns()
        with pytest.raises(PreconditionFailed):
            await backend.unload()
        shelf.allowed.set()
        await loading


async def test_a_model_is_unloaded_after_the_time_that_it_is_kept(shelf: Shelf) -> None:
    async with shelf.lazy(seconds=60) as backend:
        await backend.load()
        shelf.clock.advance(59)
        assert await backend.count_tokens("a") == 1
        shelf.clock.advance(59)
        await backend.unload_unused()
        assert backend.describe().ready
        shelf.clock.advance(1)
        await backend.unload_unused()

        assert backend.describe().state is ModelState.UNLOADED


async def test_a_model_in_use_is_kept_however_long_that_takes(shelf: Shelf) -> None:
    async with shelf.lazy(seconds=60) as backend:
        stream = backend.stream(prompt("hang"))
        while not isinstance(await anext(stream), Started):
            pass
        shelf.clock.advance(3_600)
        await backend.unload_unused()
        assert backend.describe().ready
        await stream.aclose()
        await backend.unload_unused()

        assert backend.describe().ready  # its time begins when the last user leaves


async def test_a_model_without_such_a_time_is_kept_for_ever(shelf: Shelf) -> None:
    async with shelf.lazy() as backend:
        await backend.load()
        shelf.clock.advance(1e9)
        await backend.unload_unused()

        assert backend.describe().ready


async def test_a_lazy_engine_that_breaks_is_loaded_anew(shelf: Shelf) -> None:
    async with shelf.lazy() as backend:
        await backend.load()
        shelf.opened[0].break_down()
        await turns()
        assert backend.describe().state is ModelState.FAILED
        assert shelf.opened[0].closed

        assert await backend.count_tokens("a") == 1
        assert len(shelf.opened) == 2


async def test_an_engine_that_the_unit_needs_ends_it_when_it_breaks(shelf: Shelf) -> None:
    with pytest.RaisesGroup(Internal):
        async with shelf.lazy(required=True) as backend:
            await backend.start()
            shelf.opened[0].break_down()
            await asyncio.Event().wait()
