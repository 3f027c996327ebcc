"""How soon is a slot free again when its client has gone?"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import perf_counter

from benchmarks.contestants.contestant import MESH, Contestant
from benchmarks.contestants.mesh import Mesh
from benchmarks.failures import BenchmarkError
from benchmarks.load.clients import Body, chat_request
from benchmarks.load.http import opened
from benchmarks.metrics import ABORTS, RUNNING, read_page, step_seconds
from benchmarks.prompts import Prompts, user
from benchmarks.result import Measure, Result, Sheet, Target
from benchmarks.stage import Stage

NAME = "cancel"
QUESTION = "How long after a client closes its stream is the engine's slot free?"
CONTESTANTS = (MESH,)
_CANCELS = 10
_QUICK_CANCELS = 3
_ANSWER_TOKENS = 512
_PREFILL_SECONDS = 0.5
_DECODED_PIECES = 5
_PATIENCE_SECONDS = 60.0
_GRACE_MILLISECONDS = 50.0
_FREE_AFTER = Measure(name="time until the slot is free", unit="ms", percentiles=(50, 95))
_STEP = Measure(name="mean step of the engine meanwhile", unit="ms")
_POLL = Measure(name="one look at the gauge", unit="ms")

Moment = Callable[[Mesh, asyncio.StreamReader], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """A moment to leave at, the prompt that makes room for it, and the phase that the engine must find itself in."""

    condition: str
    phase: str
    words: int
    moment: Moment


async def run(stage: Stage) -> Result:
    """Leave streams in the middle of their prompts and of their answers, and look when the engine notices."""
    sheet = Sheet()
    cancels = _QUICK_CANCELS if stage.quick else _CANCELS

    async def measure(number: int, contestant: Contestant) -> None:
        for case in _CASES:
            prompts = Prompts(NAME, case.phase, number)
            texts = [prompts.text(case.words) for _ in range(cancels)]
            bodies = [contestant.ask([user(text)], tokens=_ANSWER_TOKENS) for text in texts]
            await _leave_all(sheet, stage.mesh, case, bodies)

    await stage.alternate(CONTESTANTS, measure)
    notes = ("The slot is watched by the gauge on the unit's /metrics page; one look at it is part of each time.",)
    targets = tuple(_target(sheet, case.condition) for case in _CASES)
    return Result(name=NAME, question=QUESTION, rows=sheet.rows(), targets=targets, notes=notes)


async def _leave_all(sheet: Sheet, mesh: Mesh, case: _Case, bodies: list[Body]) -> None:
    label = f'phase="{case.phase}"'
    before = await read_page(mesh.metrics)
    for body in bodies:
        async with opened(mesh.endpoint, chat_request(body)) as reader:
            await case.moment(mesh, reader)
        sheet.add(MESH, case.condition, _FREE_AFTER, 1_000 * await _until(mesh, running=0))
    after = await read_page(mesh.metrics)
    if after.total(ABORTS, label) - before.total(ABORTS, label) < len(bodies):
        raise BenchmarkError(f"some requests were not in {case.phase} when they were left")
    sheet.add(MESH, case.condition, _STEP, 1_000 * step_seconds(before, after))
    began = perf_counter()
    await read_page(mesh.metrics)
    sheet.add(MESH, case.condition, _POLL, 1_000 * (perf_counter() - began))


async def _reading(mesh: Mesh, _: asyncio.StreamReader) -> None:
    """Wait until the engine is in the middle of the prompt."""
    await _until(mesh, running=1)
    await asyncio.sleep(_PREFILL_SECONDS)


async def _answering(_: Mesh, reader: asyncio.StreamReader) -> None:
    """Wait for some of the answer."""
    for _piece in range(_DECODED_PIECES):
        await asyncio.wait_for(reader.readuntil(b'"content":'), _PATIENCE_SECONDS)


async def _until(mesh: Mesh, *, running: int) -> float:
    """Look at the gauge until so many requests run; gives the seconds that took."""
    began = perf_counter()
    while (await read_page(mesh.metrics)).total(RUNNING) != running:
        if perf_counter() - began > _PATIENCE_SECONDS:
            raise BenchmarkError(f"there were never {running} requests running")
    return perf_counter() - began


def _target(sheet: Sheet, condition: str) -> Target:
    step = sheet.typical(MESH, condition, _STEP)
    return Target(
        claim=f"{condition}: {_FREE_AFTER.name} (p95) at most one step ({step:.0f} ms) + {_GRACE_MILLISECONDS:g} ms",
        found=sheet.row(condition, _FREE_AFTER, 95).figure(MESH),
        limit=step + _GRACE_MILLISECONDS,
        at_least=False,
        unit="ms",
    )


_CASES = (
    _Case(condition="while the prompt is read", phase="prefill", words=2_500, moment=_reading),
    _Case(condition="while the answer is drawn", phase="decode", words=40, moment=_answering),
)
