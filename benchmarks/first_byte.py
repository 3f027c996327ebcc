"""How long a request waits for everything but a model: the first byte of answers of a scripted backend.

`python -m benchmarks.first_byte` starts the four units as processes, sends requests at a steady rate whatever becomes
of those before (an open loop, so that a stall is seen by all whom it delays), and tells when the first byte of each
answer, its first word and its end arrived.
"""

import asyncio
import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import quantiles
from time import perf_counter

from benchmarks.machine import hop_microseconds
from benchmarks.token_overhead import UNITS, Mesh, asked, ready, running, settled

_P50_MILLISECONDS, _P99_MILLISECONDS = 10.0, 40.0
_WARM_REQUESTS = 50
_WARM_RATE = 25.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Waited:
    """Milliseconds from the moment that a request was due to the first byte, the first word and the end."""

    byte: float
    word: float
    end: float


async def waited(mesh: Mesh, *, rate: float, requests: int, stream: bool) -> Sequence[Waited]:
    """Send `requests` requests, `rate` a second."""
    began = perf_counter()
    return await asyncio.gather(
        *(_ask(mesh, due=began + number / rate, number=number, stream=stream) for number in range(requests))
    )


async def _ask(mesh: Mesh, *, due: float, number: int, stream: bool) -> Waited:
    await asyncio.sleep(due - perf_counter())
    said = [{"role": "user", "content": f"Say something short, number {number}."}]
    body = json.dumps({"model": "scripted", "stream": stream, "messages": said, "max_tokens": 4}).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    byte = word = 0.0
    whole = b""
    async with asked(mesh, head.encode() + body) as reader:
        while piece := await reader.read(1 << 16):
            whole += piece
            byte = byte or perf_counter()
            if not word and b'"content":"' in whole.replace(b'"content":""', b""):
                word = perf_counter()
    if not whole.startswith(b"HTTP/1.1 200") or not word:
        raise RuntimeError(f"a request was not answered: {whole[:512]!r}")
    return Waited(byte=1e3 * (byte - due), word=1e3 * (word - due), end=1e3 * (perf_counter() - due))


def report(name: str, found: Sequence[Waited], cpu: dict[str, float]) -> str:
    """Write one run as a line."""
    first = _spread([each.byte for each in found])
    p50, p99 = first[49], first[98]
    word, end = _spread([each.word for each in found]), _spread([each.end for each in found])
    units = "  ".join(f"{unit} {1e3 * cpu[unit] / len(found):.1f}" for unit in UNITS)
    return (
        f"{name:6} first byte p50 {p50:.1f} p99 {p99:.1f} | first word p50 {word[49]:.1f} p99 {word[98]:.1f} | "
        f"end p50 {end[49]:.1f} p99 {end[98]:.1f} ms | CPU ms/request: {units} | "
        f"{'meets' if p50 <= _P50_MILLISECONDS and p99 <= _P99_MILLISECONDS else 'misses'} "
        f"p50 <= {_P50_MILLISECONDS:.0f}, p99 <= {_P99_MILLISECONDS:.0f}"
    )


def _spread(milliseconds: Sequence[float]) -> list[float]:
    return quantiles(milliseconds, n=100)


async def run(options: Namespace) -> None:
    """Measure and print."""
    with running(step_ms=0.0) as mesh:
        await ready(mesh)
        await waited(mesh, rate=_WARM_RATE, requests=_WARM_REQUESTS, stream=True)
        await settled(mesh)
        for _ in range(options.rounds):
            for name, stream in (("stream", True), ("whole", False)):
                before = mesh.cpu_seconds()
                found = await waited(mesh, rate=options.rate, requests=options.requests, stream=stream)
                after = mesh.cpu_seconds()
                print(report(name, found, {unit: after[unit] - before[unit] for unit in UNITS}), flush=True)


def main() -> int:
    """Do what the command line asks."""
    parser = ArgumentParser(prog="python -m benchmarks.first_byte", description=__doc__)
    parser.add_argument("--rate", type=float, default=50.0, help="requests a second")
    parser.add_argument("--requests", type=int, default=500, help="requests of a round")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    print(f"a byte to another process takes {hop_microseconds():.1f} µs here", flush=True)
    asyncio.run(run(asked))
    return 0


if __name__ == "__main__":
    sys.exit(main())
