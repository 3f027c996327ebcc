"""All scenarios, in the order in which they run."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from benchmarks.result import Result
from benchmarks.scenarios import (
    after_warm,
    cancel,
    engine,
    first_token,
    journal,
    later_turns,
    memory,
    persona,
    structured,
    throughput,
)
from benchmarks.stage import Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A question, who must be running to answer it, and how it is answered. `run` may raise `BenchmarkError`."""

    name: str
    question: str
    contestants: tuple[str, ...]
    run: Callable[[Stage], Awaitable[Result]]


_MODULES = (throughput, persona, first_token, later_turns, after_warm, engine, structured, journal, cancel, memory)

SCENARIOS: Mapping[str, Scenario] = {
    module.NAME: Scenario(name=module.NAME, question=module.QUESTION, contestants=module.CONTESTANTS, run=module.run)
    for module in _MODULES
}
