"""What a store costs: one append and what many bring, a whole turn, and how soon it serves again after its death.

`python -m benchmarks.stores` runs every store as users run it, with its promises kept: SQLite in a file, servers of
PostgreSQL and Valkey out of wheels (the extra `test`), all in the directory for temporary files. Stores take turns by
rounds. Appends are those of a facade: some runs speak at once, and each message brings four events of each of them, in
one commit.
"""

import asyncio
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter

from context_svc.adapters.postgres_store import postgres_store
from context_svc.adapters.redis_store import redis_store
from context_svc.adapters.sqlite_store import sqlite_store
from context_svc.domain.append_events import Write, append_events, append_to_runs
from context_svc.domain.claim import claim
from context_svc.domain.item import new_item
from context_svc.domain.ports import Store
from context_svc.domain.run import Run, RunFinished, RunState
from context_svc.domain.start import StartRequest, start
from tests.servers.postgres import PostgresServer
from tests.servers.valkey import ValkeyServer
from threadmesh.clock import SystemClock
from threadmesh.conversation import FinishReason, Role, message
from threadmesh.errors import StoreUnavailable

_EVENT = bytes(80)
_EVENTS = 4
_DONE = RunFinished(state=RunState.SUCCEEDED, reason=FinishReason.STOP)

Opened = AbstractAsyncContextManager[tuple[Store, Callable[[], None]]]
"""A store, and what kills its server and starts it again."""


@dataclass(slots=True)
class Figures:
    """What was measured of one store, in milliseconds; `rate` in events a second."""

    append: list[float] = field(default_factory=list)
    turn: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)
    recovery: list[float] = field(default_factory=list)

    def line(self, name: str) -> str:
        """Write the figures as a row of a table."""
        spread = quantiles(self.append, n=100)
        recovery = f"{median(self.recovery):.0f}" if self.recovery else "-"
        return (
            f"| {name} | {spread[49]:.2f} | {spread[98]:.2f} | {median(self.rate):.0f} | {median(self.turn):.2f} "
            f"| {recovery} |"
        )


@asynccontextmanager
async def sqlite(directory: Path) -> AsyncIterator[tuple[Store, Callable[[], None]]]:
    """Open a file; it has no server that could die."""
    async with sqlite_store(directory / "context.db", SystemClock()) as store:
        yield store, lambda: None


@asynccontextmanager
async def postgres(_: Path) -> AsyncIterator[tuple[Store, Callable[[], None]]]:
    """Run a PostgreSQL server."""
    with PostgresServer() as server:

        def restart() -> None:
            server.kill()
            server.start()

        async with postgres_store(server.url()) as store:
            yield store, restart


@asynccontextmanager
async def redis(_: Path, *, fsync: str = "always") -> AsyncIterator[tuple[Store, Callable[[], None]]]:
    """Run a Valkey server over a Unix socket."""
    with ValkeyServer(appendfsync=fsync) as server:

        def restart() -> None:
            server.kill()
            server.start()

        async with redis_store(server.url) as store:
            yield store, restart


STORES: dict[str, Callable[[Path], Opened]] = {
    "sqlite": sqlite,
    "postgres": postgres,
    "redis": redis,
    "redis-everysec": partial(redis, fsync="everysec"),
}


async def started(store: Store, number: int) -> Run:
    """Make a run in a thread of its own and claim it."""
    said = (new_item(message(Role.USER, f"Question {number}")),)
    run = (await start(StartRequest(input=said, timeout=600, thread_key=f"bench:{number}"), store=store)).run
    return await claim(run.id, owner="bench", patience=5, store=store, clock=SystemClock())


def write_of(run: Run, number: int) -> Write:
    """Give the next events of a run."""
    return Write(
        run_id=run.id,
        epoch=run.epoch,
        first_sequence=run.next_sequence,
        digest=f"{run.id}:{number}",
        bodies=(_EVENT,) * _EVENTS,
    )


async def measure(store: Store, figures: Figures, *, runs: int, appends: int, first: int) -> None:
    """Append to so many runs at once, so many times; then end them."""
    began = perf_counter()
    open_runs = [await started(store, first + number) for number in range(runs)]
    figures.turn.append(1e3 * (perf_counter() - began) / runs)
    began = perf_counter()
    for number in range(appends):
        asked = perf_counter()
        outcomes = await append_to_runs([write_of(run, number) for run in open_runs], store=store)
        figures.append.append(1e3 * (perf_counter() - asked))
        open_runs = [outcome for outcome in outcomes if isinstance(outcome, Run)]
    figures.rate.append(runs * appends * _EVENTS / (perf_counter() - began))
    for run in open_runs:
        await append_events(replace(write_of(run, -1), finished=_DONE), store=store)


async def recovered(store: Store, restart: Callable[[], None]) -> float:
    """Kill the server, start it again, and give the milliseconds from its start until the store takes writes."""
    await asyncio.to_thread(restart)
    began = perf_counter()
    while True:
        try:
            await store.ping()
        except StoreUnavailable:
            await asyncio.sleep(0.01)
        else:
            return 1e3 * (perf_counter() - began)


async def run(asked: Namespace) -> None:
    """Measure and print."""
    found = {name: Figures() for name in asked.stores}
    for number in range(asked.rounds):
        for name in _rotated(asked.stores, number):
            with tempfile.TemporaryDirectory(prefix="stores-") as directory:
                async with STORES[name](Path(directory)) as (store, restart):
                    figures = found[name]
                    for part in range(2):
                        await measure(store, figures, runs=asked.runs, appends=asked.appends, first=part * asked.runs)
                    if name != "sqlite":
                        figures.recovery.append(await recovered(store, restart))
    print(f"{asked.rounds} rounds of {asked.runs} runs at once, {_EVENTS} events of each in one commit\n")
    print("| store | append p50 ms | p99 ms | events/s | start and claim ms | writes again after ms |")
    print("|---|---|---|---|---|---|")
    for name, figures in found.items():
        print(figures.line(name))


def _rotated(names: Sequence[str], number: int) -> list[str]:
    first = number % len(names)
    return [*names[first:], *names[:first]]


def main() -> int:
    """Do what the command line asks."""
    parser = ArgumentParser(prog="python -m benchmarks.stores", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=8, help="runs that speak at once")
    parser.add_argument("--appends", type=int, default=200, help="messages of each round")
    parser.add_argument("--stores", nargs="*", default=list(STORES), choices=STORES)
    asyncio.run(run(parser.parse_args()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
