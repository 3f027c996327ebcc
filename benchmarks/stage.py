"""What a scenario gets to work with: the contestants, of whom only one is awake at a time."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.contestants.contestant import FORGETFUL_MESH, LLAMA_SERVER, MESH, PYTHON_SERVER, Contestant
from benchmarks.contestants.mesh import Mesh, forgetful_mesh, mesh
from benchmarks.contestants.peers import llama_cpp_python, llama_server
from benchmarks.failures import BenchmarkError

STARTS: Mapping[str, Callable[[Path], AbstractContextManager[Contestant]]] = {
    MESH: mesh,
    FORGETFUL_MESH: forgetful_mesh,
    LLAMA_SERVER: llama_server,
    PYTHON_SERVER: llama_cpp_python,
}
"""How each contestant is started, in the order of the reports."""

Measurement = Callable[[int, Contestant], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Sleeping contestants by name; `rounds` of measurement are wished, short ones if `quick`."""

    contestants: Mapping[str, Contestant]
    rounds: int
    quick: bool

    async def alternate(self, names: Sequence[str], measure: Measurement) -> None:
        """Measure each contestant once a round.

        Each round begins with another one, so that a machine that grows faster or slower favours nobody.
        """
        for number in range(self.rounds):
            for name in rotated(names, number):
                async with self.turn(name) as contestant:
                    await measure(number, contestant)

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[Contestant]:
        """Keep one contestant awake for the block."""
        contestant = self.contestants[name]
        try:
            await contestant.wake()
            yield contestant
        finally:
            contestant.sleep()

    @property
    def mesh(self) -> Mesh:
        """The mesh, for what only a mesh has. Raises `BenchmarkError` if it was not started."""
        match self.contestants.get(MESH):
            case Mesh() as found:
                return found
            case _:
                raise BenchmarkError("the mesh was not started")


@contextmanager
def running(names: Sequence[str]) -> Iterator[Mapping[str, Contestant]]:
    """Start contestants one after the other and put each to sleep; all are stopped at the end of the block."""
    with TemporaryDirectory(prefix="threadmesh-bench-") as directory, ExitStack() as stack:
        contestants = {}
        for name in names:
            contestant = stack.enter_context(STARTS[name](Path(directory)))
            contestant.sleep()
            contestants[name] = contestant
        yield contestants


def rotated(names: Sequence[str], number: int) -> list[str]:
    """Give the names beginning with another one each round."""
    first = number % len(names)
    return [*names[first:], *names[:first]]
