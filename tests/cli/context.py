"""A real context_svc in memory for the commands that change threads, and what was said in it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry

from context_svc.adapters.memory_store import MemoryStore
from context_svc.app import services
from context_svc.domain.append_items import append_items
from context_svc.domain.item import Item, NewItem
from context_svc.domain.ports import Store
from context_svc.domain.resolve import resolve
from context_svc.domain.retention import Retention, parse_rules
from context_svc.edge.metrics import EdgeMetrics
from tests.cli.servers import serving
from threadmesh.testing.clock import FakeClock


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """A running unit: its address, its store, and its clock, which stands still."""

    target: str
    store: Store
    clock: FakeClock

    async def say(self, key: str, *items: NewItem) -> None:
        thread = (await resolve(key, metadata={"topic": key}, store=self.store)).thread
        self.clock.advance(1)
        await append_items(thread.id, items, request_id="", fingerprint="", store=self.store)

    async def items(self, key: str) -> tuple[Item, ...]:
        thread = (await resolve(key, metadata={}, store=self.store)).thread
        return await self.store.items(thread.id, after=None, limit=10_000, descending=False)

    async def keys(self) -> list[str]:
        return [thread.key for thread in await self.store.threads(key_prefix="", after=None, limit=1000)]


@asynccontextmanager
async def context(*, rules: str = "") -> AsyncIterator[Context]:
    clock = FakeClock()
    store = MemoryStore(clock)
    retention = Retention(rules=parse_rules(rules))
    async with serving(*services(store, clock, EdgeMetrics(CollectorRegistry()), retention)) as target:
        yield Context(target=target, store=store, clock=clock)


def edited(file: Path, number: int, line: str) -> Path:
    """Give a copy of a file with another line in the place of that with this number."""
    lines = file.read_text("utf-8").splitlines()
    lines[number - 1 : number] = [line] if line else []
    copy = file.with_name("edited.jsonl")
    copy.write_text("\n".join(lines), "utf-8")
    return copy
