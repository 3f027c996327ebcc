"""What ten times more than a mesh can answer does to it: how soon it refuses, and whether it stays well.

`python -m benchmarks.overload` runs the mesh as `threadmesh up` starts it, with the bundled model. A few clients, each
with one request at a time, show how many a second it answers; then ten times as many arrive at a steady rate, whatever
becomes of those before (an open loop). Meanwhile its health and its metrics are asked for.
"""

import asyncio
import json
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from benchmarks.contestants.mesh import Mesh, mesh
from benchmarks.failures import RequestFailed
from benchmarks.fair_keys import status_of
from benchmarks.figures import percentile
from benchmarks.load.answer import read_answer
from benchmarks.load.clients import PATH
from benchmarks.load.http import Exchange, exchange, request
from benchmarks.noise import Reading
from benchmarks.processes import resident_bytes
from benchmarks.prompts import Prompts, user

FACTOR = 10
REFUSED_MILLISECONDS, HEALTH_MILLISECONDS = 50.0, 100.0
"""How soon 99 of 100 refusals, and answers about health and metrics, have to be there."""
_TOKENS, _WORDS = 32, 20
_ANSWERED, _REFUSED = 200, {429, 503}
_LOOK_SECONDS = 0.5
_MIB = 1024 * 1024
_PROBES = ("/healthz", "/readyz", "/metrics")


@dataclass(slots=True)
class Load:
    """What became of the requests, and milliseconds: to each refusal, and to each answer about health."""

    answered: int = 0
    others: int = 0
    refused: list[float] = field(default_factory=list)
    probes: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    """Bytes that all units hold, in the order of time."""


async def capacity(mesh: Mesh, *, clients: int, seconds: float) -> float:
    """Give the requests a second that a few clients get answered, each with one at a time."""
    answered, ends = 0, perf_counter() + seconds

    async def client(place: int) -> None:
        nonlocal answered
        prompts = Prompts("overload", "capacity", place)
        while perf_counter() < ends:
            answered += _answers(await _ask(mesh, prompts.text(_WORDS)))

    began = perf_counter()
    await asyncio.gather(*(client(place) for place in range(clients)))
    return answered / (perf_counter() - began)


async def overloaded(mesh: Mesh, load: Load, *, rate: float, seconds: float) -> None:
    """Send so many requests a second for so long, and wait for all answers."""
    began, prompts = perf_counter(), Prompts("overload", "crowd")

    async def one(due: float, text: str) -> None:
        await asyncio.sleep(due - perf_counter())
        said = await _ask(mesh, text)
        if _answers(said):
            load.answered += 1
        elif status_of(said) in {_ANSWERED, *_REFUSED}:  # a stream may begin and then end with the refusal
            load.refused.append(1e3 * (said.pieces[-1][0] - due))
        else:
            load.others += 1

    async with asyncio.TaskGroup() as tasks:
        looking = tasks.create_task(_look(mesh, load))
        async with asyncio.TaskGroup() as requests:
            for number in range(round(rate * seconds)):
                requests.create_task(one(began + number / rate, prompts.text(_WORDS)))
        looking.cancel()


async def _look(mesh: Mesh, load: Load) -> None:
    while True:
        for path in _PROBES:
            began = perf_counter()
            await exchange(mesh.endpoint, request("GET", path))
            load.probes.append(1e3 * (perf_counter() - began))
        load.memory.append(sum(map(resident_bytes, mesh.units.values())))
        await asyncio.sleep(_LOOK_SECONDS)


async def _ask(mesh: Mesh, text: str) -> Exchange:
    return await exchange(
        mesh.endpoint, request("POST", PATH, json.dumps(mesh.ask([user(text)], tokens=_TOKENS)).encode())
    )


def _answers(said: Exchange) -> bool:
    """Say whether that is a whole answer."""
    try:
        return status_of(said) == _ANSWERED and bool(read_answer(said).tokens)
    except RequestFailed:
        return False


def report(load: Load, *, able: float, offered: float, seconds: float) -> Sequence[str]:
    """Write what was found as lines."""
    refused, probes = percentile(load.refused, 99), percentile(load.probes, 99)
    half = len(load.memory) // 2
    first, second = max(load.memory[: half or 1]), max(load.memory[half:])
    soon, well = _verdict(refused, REFUSED_MILLISECONDS), _verdict(probes, HEALTH_MILLISECONDS)
    return [
        f"{able:.1f} requests/s answered alone, {offered:.1f} a second offered for {seconds:.0f} s",
        f"{load.answered} answered, {len(load.refused)} refused, {load.others} ended otherwise",
        f"refusals p50 {percentile(load.refused, 50):.1f}  p99 {refused:.1f} ms: {soon}",
        f"health and metrics p50 {percentile(load.probes, 50):.1f}  p99 {probes:.1f} ms: {well}",
        f"memory of all units at most {first / _MIB:.0f} MiB in the first half, {second / _MIB:.0f} MiB in the second",
    ]


def _verdict(found: float, target: float) -> str:
    return f"{'meets' if found <= target else 'misses'} {target:g} ms"


async def measure(options: Namespace, mesh: Mesh) -> None:
    """Measure and print."""
    await capacity(mesh, clients=1, seconds=1.0)  # what only the first request costs
    able = await capacity(mesh, clients=options.clients, seconds=options.seconds / 4)
    load, offered = Load(), FACTOR * able
    before = Reading.take([mesh.root])
    await overloaded(mesh, load, rate=offered, seconds=options.seconds)
    noise = before.until(Reading.take([mesh.root]))
    print("\n".join(report(load, able=able, offered=offered, seconds=options.seconds)))
    spoiled = "; not quiet: measure again" if noise.spoils else ""
    print(f"others had {noise.others:.1f} % of the CPU time, {noise.stolen:.1f} % was stolen{spoiled}", flush=True)


def main() -> int:
    """Do what the command line asks."""
    parser = ArgumentParser(prog="python -m benchmarks.overload", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long too much is asked")
    parser.add_argument("--clients", type=int, default=8, help="clients that show how much the mesh can answer")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="overload-") as name, mesh(Path(name)) as running:
        asyncio.run(measure(options, running))
    return 0


if __name__ == "__main__":
    sys.exit(main())
