"""What reading a model's window out of a long thread costs context_svc, with the SQLite store.

`python -m benchmarks.window` fills threads of so many items and reads windows of them, as the facade does before every
round of an answer. The threads differ in what clients put into them: one has its instructions once (`once`), one has
the same ones with every turn (`repeated`), one has new ones with every turn (`changing`, for instance with the time),
and in one nobody counted tokens (`uncounted`).
"""

import asyncio
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path
from statistics import quantiles
from time import perf_counter

from context_svc.adapters.sqlite_store import SqliteStore, sqlite_store
from context_svc.domain.append_items import append_items
from context_svc.domain.item import NewItem, new_item
from context_svc.domain.read_window import read_window
from context_svc.domain.resolve import resolve
from threadmesh.clock import SystemClock
from threadmesh.conversation import Role, message
from threadmesh.loop import spare_collections

KINDS = ("once", "repeated", "changing", "uncounted")
_AT_ONCE = 1000
_TOKENS = 40
_WORDS = "Some people would say that a sentence of this length is what one says in a chat, more or less. "


def items(kind: str, count: int) -> Iterator[NewItem]:
    """Give the items of a thread: turns of a question and an answer, with instructions as its kind says."""
    made = 0
    while made < count:
        for item in _turn(kind, made):
            yield item
            made += 1


def _turn(kind: str, number: int) -> Iterator[NewItem]:
    if kind == "changing":
        yield new_item(message(Role.SYSTEM, f"You are a kind assistant. It is moment {number}."), tokens=_TOKENS)
    elif kind == "repeated" or number == 0:
        yield new_item(message(Role.SYSTEM, "You are a kind assistant."), tokens=_TOKENS)
    tokens = 0 if kind == "uncounted" else _TOKENS
    yield new_item(message(Role.USER, f"{number}: {_WORDS}"), tokens=tokens)
    yield new_item(message(Role.ASSISTANT, f"{number}: {_WORDS * 2}"), tokens=tokens)


async def filled(store: SqliteStore, kind: str, count: int) -> str:
    """Make a thread of `count` items and give its name."""
    thread = (await resolve(kind, metadata={}, store=store)).thread
    made = list(items(kind, count))
    for first in range(0, len(made), _AT_ONCE):
        piece = tuple(made[first : first + _AT_ONCE])
        await append_items(thread.id, piece, request_id="", fingerprint="", store=store)
    return thread.id


async def measured(store: SqliteStore, thread_id: str, *, budget: int, rounds: int) -> tuple[list[float], int]:
    """Read the window `rounds` times; gives the milliseconds of each, and how many messages the last one had."""
    times, messages = [], 0
    for _ in range(rounds):
        began = perf_counter()
        window = await read_window(thread_id, budget=budget, run_id="", threads=store, runs=store)
        times.append(1e3 * (perf_counter() - began))
        messages = len(window.messages)
    return times, messages


def report(kind: str, budget: int, times: list[float], messages: int) -> str:
    """Write one measurement as a line."""
    spread = quantiles(times, n=100)
    return (
        f"{kind:10} budget {budget:6}: {messages:6} messages | "
        f"p50 {spread[49]:7.2f} p95 {spread[94]:7.2f} p99 {spread[98]:7.2f} ms"
    )


async def run(asked: Namespace) -> None:
    """Measure and print."""
    for kind in asked.kinds:
        with tempfile.TemporaryDirectory(prefix="window-") as name:
            async with sqlite_store(Path(name) / "context.db", SystemClock()) as store:
                thread_id = await filled(store, kind, asked.items)
                spare_collections()  # as a unit does once it is built
                for budget in asked.budgets:
                    times, messages = await measured(store, thread_id, budget=budget, rounds=asked.rounds)
                    print(report(kind, budget, times, messages), flush=True)


def main() -> int:
    """Do what the command line asks."""
    parser = ArgumentParser(prog="python -m benchmarks.window", description=__doc__)
    parser.add_argument("--items", type=int, default=100_000, help="items of each thread")
    parser.add_argument("--rounds", type=int, default=200, help="windows read of each")
    parser.add_argument("--budgets", type=int, nargs="*", default=[2048, 8192], help="tokens of a window")
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=KINDS, help="which threads")
    asyncio.run(run(parser.parse_args()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
