"""Keeps requests away, around any backend, that ended the process when they were last answered."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import structlog

from inference_svc.adapters.flight_record import FlightRecord
from inference_svc.adapters.turnstile import Turnstile
from inference_svc.domain.events import Event
from inference_svc.domain.ports import Backend, Embeddings, Model, Warmed
from inference_svc.domain.prompt import Conversation, Prompt
from inference_svc.domain.quarantine import Fingerprint, Suspicion, Suspicions, after_death, fingerprint_of
from threadmesh.clock import Clock
from threadmesh.errors import MeshError, RequestQuarantined

log = structlog.get_logger()


class Quarantine:
    """Knows which requests ended a process, and lets them in accordingly."""

    def __init__(self, directory: Path, *, clock: Clock) -> None:
        """Read what the last process left in the directory. Raises `OSError`."""
        self._clock = clock
        self._record = FlightRecord(directory)
        self._file = directory / f"suspicions.{self._record.number}.json"
        self._turnstile = Turnstile()
        left, fault = self._record.left, self._record.fault
        if fault:
            log.error("process.had_crashed", requests=len(left), fault=fault[:2000])
        self._suspicions = dict(after_death(self._stored(), left, faulted=bool(fault), now=self._now()))
        self._store()
        self._record.begin()

    @asynccontextmanager
    async def answering(self, fingerprint: Fingerprint) -> AsyncIterator[None]:
        """Keep a request on record while it is answered. Raises `RequestQuarantined`."""
        suspicion = self._suspicion(fingerprint)
        if suspicion is not None and suspicion.quarantined:
            until = datetime.fromtimestamp(suspicion.until, UTC)
            raise RequestQuarantined(
                f"This request ended the server when it was last answered; it is refused until {until:%H:%M:%S} UTC.",
                until=until.isoformat(timespec="seconds"),
            )
        async with self._turnstile.inside(alone=suspicion is not None and suspicion.alone):
            place = self._record.enter(fingerprint)
            try:
                yield
            except MeshError:
                self._acquit(fingerprint)
                raise
            else:
                self._acquit(fingerprint)
            finally:
                self._record.leave(place)

    def close(self) -> None:
        """Suspect nobody who is being answered still."""
        self._record.close()

    def _acquit(self, fingerprint: Fingerprint) -> None:
        """Forget what was held against a request: it has ended, and the process has not."""
        if self._suspicions.pop(fingerprint, None) is not None:
            self._store()

    def _suspicion(self, fingerprint: Fingerprint) -> Suspicion | None:
        suspicion = self._suspicions.get(fingerprint)
        return suspicion if suspicion is not None and suspicion.until > self._now() else None

    def _stored(self) -> Suspicions:
        try:
            stored = json.loads(self._file.read_bytes())
            return {fingerprint: Suspicion(**suspicion) for fingerprint, suspicion in stored.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError, AttributeError):
            log.warning("quarantine.unreadable", file=str(self._file))
            return {}

    def _store(self) -> None:
        written = json.dumps({fingerprint: asdict(each) for fingerprint, each in self._suspicions.items()})
        beside = self._file.with_suffix(".new")
        beside.write_text(written)
        beside.replace(self._file)

    def _now(self) -> float:
        return self._clock.now().timestamp()


class QuarantinedBackend:
    """A backend whose requests are on record while they are answered."""

    def __init__(self, backend: Backend, quarantine: Quarantine) -> None:
        self._backend, self._quarantine = backend, quarantine

    def describe(self) -> Model:
        """Say which model this is and whether it is ready."""
        return self._backend.describe()

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Event, None]:
        """Answer. Raises `RequestQuarantined` before the first event."""
        async with self._answering(prompt), aclosing(self._backend.stream(prompt)) as events:
            async for event in events:
                yield event

    async def warm(self, prompt: Prompt) -> Warmed:
        """Read a prompt into the KV cache. Raises `RequestQuarantined`."""
        async with self._answering(prompt.conversation):
            return await self._backend.warm(prompt)

    async def count_tokens(self, counted: Conversation | str) -> int:
        """Count tokens. Raises `RequestQuarantined`."""
        async with self._answering(counted):
            return await self._backend.count_tokens(counted)

    async def tokenize(self, read: Conversation | str, *, special: bool = False, ask: bool = True) -> Sequence[int]:
        """Give the tokens of a text or a conversation. Raises `RequestQuarantined`."""
        async with self._answering(read):
            return await self._backend.tokenize(read, special=special, ask=ask)

    async def detokenize(self, tokens: Sequence[int]) -> Sequence[bytes]:
        """Give the bytes of tokens. Raises `RequestQuarantined`."""
        async with self._answering(tokens):
            return await self._backend.detokenize(tokens)

    async def embed(self, inputs: Sequence[str], *, dimensions: int | None = None) -> Embeddings:
        """Turn texts into vectors. Raises `RequestQuarantined`."""
        async with self._answering(inputs):
            return await self._backend.embed(inputs, dimensions=dimensions)

    async def ping(self) -> None:
        """Return if requests are answered."""
        await self._backend.ping()

    async def close(self) -> None:
        """Stop the backend."""
        await self._backend.close()

    def _answering(
        self, asked: Prompt | Conversation | Sequence[str] | Sequence[int] | str
    ) -> AbstractAsyncContextManager[None]:
        return self._quarantine.answering(fingerprint_of(self.describe().name, asked))
