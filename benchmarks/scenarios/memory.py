"""Does the mesh grow while it serves?

Conversations that do not run wait in host memory, up to a budget (`INFERENCE_PARKED_BYTES`, 1 GiB): that is what the
memory is for, and it is told by a metric. So it is taken off: what is left must not grow.
"""

from benchmarks.contestants.contestant import MESH, Contestant
from benchmarks.contestants.mesh import Mesh
from benchmarks.figures import ratio
from benchmarks.metrics import PARKED, read_page
from benchmarks.processes import family, resident_bytes
from benchmarks.prompts import Prompts, user
from benchmarks.result import Measure, Result, Row, Target
from benchmarks.stage import Stage

NAME = "memory"
QUESTION = "Does the memory of the mesh stay flat over many short requests?"
CONTESTANTS = (MESH,)
_REQUESTS, _QUICK_REQUESTS = 2_000, 100
_SAMPLES = 100
_SETTLED = 0.1
"""Share of the requests after which memory should no longer grow."""
_CLIENTS = 4
_PROMPT_WORDS = 20
_ANSWER_TOKENS = 4
_GROWTH = 0.05
_MEBIBYTE = 1024 * 1024
_RESIDENT = Measure(name="resident memory without parked conversations", unit="MiB")
_WHOLE = "all processes of the mesh"

Sizes = dict[str, list[float]]


async def run(stage: Stage) -> Result:
    """Send many short requests and look at the processes' memory in between; once, whatever the rounds."""
    requests = _QUICK_REQUESTS if stage.quick else _REQUESTS
    between = max(_CLIENTS, requests // _SAMPLES)
    async with stage.turn(MESH) as contestant:
        sizes = await _watched(contestant, stage.mesh, looks=requests // between, between=between)
    settled = round(len(sizes[_WHOLE]) * _SETTLED)
    span = f"from request {settled * between} to {requests}"
    rows = [_row(f"{name}, {span}", values[settled - 1 :]) for name, values in sizes.items()]
    targets = [_target(name, sizes[name][settled - 1 :], span) for name in ("inference", _WHOLE)]
    notes = tuple(f"{name}: {values[settled - 1]:.1f} MiB -> {values[-1]:.1f} MiB" for name, values in sizes.items())
    return Result(name=NAME, question=QUESTION, rows=tuple(rows), targets=tuple(targets), notes=notes)


async def _watched(contestant: Contestant, mesh: Mesh, *, looks: int, between: int) -> Sizes:
    """Look so many times, with so many requests before each look."""
    sizes: Sizes = {name: [] for name in (*mesh.units, _WHOLE)}
    prompts = Prompts(NAME)
    for _ in range(looks):
        texts = [prompts.text(_PROMPT_WORDS) for _ in range(between)]
        bodies = [contestant.ask([user(text)], tokens=_ANSWER_TOKENS) for text in texts]
        await contestant.send(bodies, clients=_CLIENTS)
        for name, process in mesh.units.items():
            sizes[name].append(resident_bytes(process) / _MEBIBYTE)
        parked = (await read_page(mesh.metrics)).total(PARKED) / _MEBIBYTE
        sizes["inference"][-1] -= parked
        sizes[_WHOLE].append(sum(map(resident_bytes, family(mesh.root))) / _MEBIBYTE - parked)
    return sizes


def _row(condition: str, samples: list[float]) -> Row:
    held = {MESH: tuple(samples)}
    return Row(condition=condition, measure=_RESIDENT.name, unit=_RESIDENT.unit, percent=50, samples=held)


def _target(name: str, values: list[float], span: str) -> Target:
    return Target(
        claim=f"{name}: {_RESIDENT.name} at the end at most {1 + _GROWTH:g} x what it was, {span}",
        found=ratio(values[-1], values[0]),
        limit=1 + _GROWTH,
        at_least=False,
    )
