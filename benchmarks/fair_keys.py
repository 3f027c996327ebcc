"""What a hundred streams of one key cost another key: its time to first token beside them, and alone.

`python -m benchmarks.fair_keys` runs the mesh as `threadmesh up` starts it, with the bundled model and two keys. One
key asks short questions, one after the other, each new to the engine. Alone and beside the other key, which asks for so
many streams at once and for a new one as soon as one ends or is refused, take turns within each round.
"""

import asyncio
import json
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from benchmarks.contestants.mesh import Mesh, keyed_mesh
from benchmarks.failures import BenchmarkError, RequestFailed
from benchmarks.figures import percentile, ratio
from benchmarks.load.answer import read_answer
from benchmarks.load.body import BodyReader
from benchmarks.load.clients import PATH
from benchmarks.load.http import Exchange, exchange, request
from benchmarks.metrics import RUNNING, read_page
from benchmarks.noise import Reading
from benchmarks.prompts import Prompts, user
from benchmarks.stage import rotated

ALONE, BESIDE = "alone", "beside the crowd"
QUIET_KEY, CROWD_KEY = "a-key-that-asks-little", "a-key-that-asks-for-much"
TARGET = 2.0
"""How much longer the p95 of the time to first token may be beside the crowd."""
_WORDS = 40
_QUIET_TOKENS, _CROWD_TOKENS = 8, 64
_REFUSED = 429
_AGAIN_SECONDS = 1.0
_LOOK_SECONDS = 0.05
_PATIENCE_SECONDS = 60.0


@dataclass(slots=True)
class Crowd:
    """What became of the streams of the key that asks for much; `tokens` are those of whole answers."""

    answered: int = 0
    refused: int = 0
    tokens: int = 0
    seconds: float = 0.0


async def ask(mesh: Mesh, text: str, *, key: str, tokens: int) -> Exchange:
    """Ask for a stream of so many tokens."""
    body = json.dumps(mesh.ask([user(text)], tokens=tokens)).encode()
    return await exchange(mesh.endpoint, request("POST", PATH, body, {"Authorization": f"Bearer {key}"}))


async def first_tokens(mesh: Mesh, prompts: Prompts, *, times: int) -> list[float]:
    """Ask one question after the other with the quiet key; gives the milliseconds to each first token.

    Raises `RequestFailed` for one that is refused: a quiet key has its place whatever others do.
    """
    found = []
    for _ in range(times):
        answer = read_answer(await ask(mesh, prompts.text(_WORDS), key=QUIET_KEY, tokens=_QUIET_TOKENS))
        found.append(1e3 * answer.first_token)
    return found


@asynccontextmanager
async def crowded(mesh: Mesh, crowd: Crowd, *, streams: int, number: int) -> AsyncIterator[None]:
    """Let the other key keep so many streams open for the block, which begins once one of them was answered."""
    before = crowd.answered

    async def client(place: int) -> None:
        prompts = Prompts("fair_keys", "crowd", number, place)
        while True:
            await _one_of_many(mesh, crowd, prompts.text(_WORDS))

    began = perf_counter()
    async with asyncio.TaskGroup() as tasks:
        clients = [tasks.create_task(client(place)) for place in range(streams)]
        await _until(mesh, lambda running: running > 0 and crowd.answered > before)
        yield
        for each in clients:
            each.cancel()
    crowd.seconds += perf_counter() - began
    await _until(mesh, lambda running: running == 0)


async def _one_of_many(mesh: Mesh, crowd: Crowd, text: str) -> None:
    said = await ask(mesh, text, key=CROWD_KEY, tokens=_CROWD_TOKENS)
    if status_of(said) == _REFUSED:
        crowd.refused += 1
        await asyncio.sleep(_AGAIN_SECONDS)
        return
    try:
        crowd.tokens += read_answer(said).tokens
        crowd.answered += 1
    except RequestFailed:  # the stream of an answer that the engine had no place for ends with that
        crowd.refused += 1
        await asyncio.sleep(_AGAIN_SECONDS)


def status_of(said: Exchange) -> int:
    """Give the status of an answer."""
    body = BodyReader()
    for _, piece in said.pieces:
        body.feed(piece)
    return body.status


async def _until(mesh: Mesh, holds: Callable[[float], bool]) -> None:
    """Look at the engine until it is so."""
    ends = perf_counter() + _PATIENCE_SECONDS
    while not holds((await read_page(mesh.metrics)).total(RUNNING)):
        if perf_counter() > ends:
            raise BenchmarkError("the engine was never as busy, or as idle, as it had to be")
        await asyncio.sleep(_LOOK_SECONDS)


def report(samples: dict[str, Sequence[float]], crowd: Crowd) -> list[str]:
    """Write what was found as lines: a row for each condition, the ratio with its target, and what the crowd got."""
    rows = [
        f"{name:18} first token p50 {percentile(found, 50):8.1f}   p95 {percentile(found, 95):8.1f} ms"
        f"   ({len(found)} requests, {min(found, default=0):.1f} to {max(found, default=0):.1f})"
        for name, found in samples.items()
    ]
    median, tail = (
        ratio(percentile(samples[BESIDE], percent), percentile(samples[ALONE], percent)) for percent in (50, 95)
    )
    verdict = "meets" if tail <= TARGET else "misses"
    rows.append(f"p95 {tail:.2f} x alone, p50 {median:.2f} x; {verdict} the target of {TARGET:g} x for the p95")
    rate = ratio(crowd.tokens, crowd.seconds)
    rows.append(f"the crowd: {crowd.answered} answers, {crowd.refused} refused, {rate:.1f} tokens/s")
    return rows


async def measure(options: Namespace, mesh: Mesh) -> None:
    """Measure and print."""
    samples: dict[str, list[float]] = {ALONE: [], BESIDE: []}
    crowd = Crowd()
    await first_tokens(mesh, Prompts("fair_keys", "warm"), times=3)
    before = Reading.take([mesh.root])
    for number in range(options.rounds):
        for name in rotated(list(samples), number):
            prompts = Prompts("fair_keys", name, number)
            if name == ALONE:
                samples[name] += await first_tokens(mesh, prompts, times=options.requests)
                continue
            async with crowded(mesh, crowd, streams=options.streams, number=number):
                samples[name] += await first_tokens(mesh, prompts, times=options.requests)
    noise = before.until(Reading.take([mesh.root]))
    print("\n".join(report(dict(samples), crowd)))
    spoiled = "; not quiet: measure again" if noise.spoils else ""
    print(f"others had {noise.others:.1f} % of the CPU time, {noise.stolen:.1f} % was stolen{spoiled}", flush=True)


def main() -> int:
    """Do what the command line asks."""
    parser = ArgumentParser(prog="python -m benchmarks.fair_keys", description=__doc__)
    parser.add_argument("--rounds", type=int, default=6, help="each other one begins with the crowd")
    parser.add_argument("--requests", type=int, default=40, help="requests of the quiet key, alone and beside, a round")
    parser.add_argument("--streams", type=int, default=100, help="streams of the other key")
    parser.add_argument("--quick", action="store_true", help="measure little, to see that it works")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.requests, options.streams = 2, 3, min(options.streams, 12)
    keys = (QUIET_KEY, CROWD_KEY)
    with tempfile.TemporaryDirectory(prefix="fair-keys-") as name, keyed_mesh(Path(name), keys) as mesh:
        asyncio.run(measure(options, mesh))
    return 0


if __name__ == "__main__":
    sys.exit(main())
