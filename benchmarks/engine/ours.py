"""Our engine without a server around it; `python -m benchmarks.engine.ours LOAD` measures it in a process of its own.

It prints what llama-batched-bench prints, in the same names. llama-batched-bench draws no tokens; ours does.
"""

import asyncio
import json
import sys
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import asdict
from time import perf_counter

from benchmarks.engine.speed import Load, Speed, speeds
from benchmarks.model import END_TOKENS, bundled_model
from benchmarks.prompts import Prompts
from inference_svc.adapters.llama_cpp.backend import LlamaCppBackend
from inference_svc.adapters.llama_cpp.options import ModelOptions
from inference_svc.domain.events import Finished
from inference_svc.domain.prompt import Conversation, Prompt
from threadmesh.conversation import Role, Usage, message
from threadmesh.sampling import Sampling

_ENDLESS = Sampling(temperature=0.0, repeat_penalty=1.0, logit_bias=dict.fromkeys(END_TOKENS, -100.0))


class _Unwatched:
    """An observer that looks away."""

    def occupied(self, *, running: int, waiting: int, parked: int) -> None:
        """Pass over the occupation."""

    def stepped(self, *, seconds: float, threads: int) -> None:
        """Pass over a step."""

    def forced(self) -> None:
        """Pass over a forced token."""

    def guessed(self, *, proposed: int, accepted: int) -> None:
        """Pass over guesses."""

    def left(self, *, phase: str) -> None:
        """Pass over a request that left."""


def ours(load: Load) -> list[Speed]:
    """Measure our engine in a process of its own. Raises `BenchmarkError`."""
    return speeds([sys.executable, "-m", "benchmarks.engine.ours", json.dumps(asdict(load))])


async def measure(load: Load, parallel: int) -> Speed:
    """Measure so many sequences at once, with the weights as the file has them.

    Prompts that nobody has read give the total speed. The same prompts again need no reading, which leaves the speed
    of generation; what little of that time goes to the last token of each prompt counts against our engine.
    """
    options = ModelOptions(name="engine", threads=load.threads, pinned=True, created=0, sequences=parallel)
    backend = LlamaCppBackend(options, observer=_Unwatched())
    await backend.load(bundled_model())
    try:
        prompts = [await _prompt(backend, load, number) for number in range(parallel)]
        seconds, usages = await _answer_all(backend, prompts)
        again_seconds, again = await _answer_all(backend, prompts)
    finally:
        await backend.close()
    tokens = sum(usage.prompt_tokens + usage.completion_tokens for usage in usages)
    generated = sum(usage.completion_tokens for usage in again)
    return Speed(parallel=parallel, generation=generated / again_seconds, total=tokens / seconds)


async def _prompt(backend: LlamaCppBackend, load: Load, number: int) -> Prompt:
    """Make a prompt of nearly so many tokens."""
    text = Prompts("engine", number).text(load.prompt)
    words = text.split(" ")
    while await backend.count_tokens(_said(words)) > load.prompt:
        words.pop()
    return Prompt(conversation=_said(words), sampling=_ENDLESS, max_tokens=load.generated)


def _said(words: Sequence[str]) -> Conversation:
    return Conversation(messages=(message(Role.USER, " ".join(words)),))


async def _answer_all(backend: LlamaCppBackend, prompts: Sequence[Prompt]) -> tuple[float, list[Usage]]:
    began = perf_counter()
    usages = await asyncio.gather(*(_answer(backend, prompt) for prompt in prompts))
    return perf_counter() - began, usages


async def _answer(backend: LlamaCppBackend, prompt: Prompt) -> Usage:
    usage = Usage()
    async with aclosing(backend.stream(prompt)) as events:
        async for event in events:
            usage = event.usage if isinstance(event, Finished) else usage
    return usage


def main() -> None:
    """Measure the load that the command line describes."""
    told = json.loads(sys.argv[1])
    load = Load(**{**told, "parallel": tuple(told["parallel"])})
    for parallel in load.parallel:
        speed = asyncio.run(measure(load, parallel))
        line = {"pl": speed.parallel, "speed_tg": speed.generation, "speed": speed.total}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
