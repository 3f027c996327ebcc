"""How fast an engine is, as both of them tell it: lines of JSON."""

import json
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.failures import BenchmarkError

_SECONDS = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What the engine is given: each number of parallel sequences, tokens of a prompt and of an answer, threads."""

    parallel: tuple[int, ...]
    prompt: int
    generated: int
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Tokens per second with so many sequences: generated ones alone, and prompts and answers in the whole time."""

    parallel: int
    generation: float
    total: float


def speeds(command: Sequence[str | Path]) -> list[Speed]:
    """Run a program that prints one line of JSON for each number of sequences. Raises `BenchmarkError`."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    found = list(read_speeds(done.stdout))
    if done.returncode or not found:
        raise BenchmarkError(f"{Path(command[0]).name} measured nothing: {done.stderr[-500:]}")
    return found


def read_speeds(output: str) -> Iterator[Speed]:
    """Read what a program printed, in the names of llama-batched-bench; other lines are passed over."""
    for line in output.splitlines():
        if line.startswith("{"):
            told = json.loads(line)
            yield Speed(parallel=told["pl"], generation=told["speed_tg"], total=told["speed"])
