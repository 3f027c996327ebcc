"""Is our engine as fast as llama.cpp lets it be?"""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence

from benchmarks.engine.batched_bench import batched_bench
from benchmarks.engine.ours import ours
from benchmarks.engine.speed import Load, Speed
from benchmarks.result import Measure, Result, Sheet, compared
from benchmarks.stage import Stage, rotated

NAME = "engine"
QUESTION = "How fast is our engine alone, beside llama.cpp's bench of the same batches?"
CONTESTANTS: tuple[str, ...] = ()
_OURS, _BENCH = "engine", "llama-batched-bench"
_ENGINES: Mapping[str, Callable[[Load], Sequence[Speed]]] = {_OURS: ours, _BENCH: batched_bench}
_PARALLEL = (1, 4, 8, 16)
_PROMPT_TOKENS = 128
_ANSWER_TOKENS = 48
_GENERATION = Measure(name="generated tokens per second", unit="tok/s")
_TOTAL = Measure(name="all tokens per second", unit="tok/s")


async def run(stage: Stage) -> Result:
    """Measure both engines in processes of their own, with as many threads as there are cores."""
    sheet = Sheet()
    threads = len(os.sched_getaffinity(0))
    load = Load(parallel=_PARALLEL, prompt=_PROMPT_TOKENS, generated=_ANSWER_TOKENS, threads=threads)
    for number in range(stage.rounds):
        for name in rotated(list(_ENGINES), number):
            for speed in await asyncio.to_thread(_ENGINES[name], load):
                sheet.add(name, _condition(speed.parallel), _GENERATION, speed.generation)
                sheet.add(name, _condition(speed.parallel), _TOTAL, speed.total)
    targets = tuple(
        compared(sheet.row(_condition(parallel), measure), 0.95, at_least=True, of=_OURS, to=_BENCH)
        for parallel in _PARALLEL
        for measure in (_GENERATION, _TOTAL)
    )
    notes = (f"Both use {threads} threads; prompts of {_PROMPT_TOKENS} tokens, {_ANSWER_TOKENS} generated.",)
    return Result(name=NAME, question=QUESTION, rows=sheet.rows(), targets=targets, notes=notes)


def _condition(parallel: int) -> str:
    return f"{parallel} sequence{'s' if parallel > 1 else ''}"
