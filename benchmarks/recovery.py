"""How long a reader hears nothing when a process dies in the middle of his answer, and when a facade is told to stop.

`python -m benchmarks.recovery` runs a mesh of processes with a scripted model that says a word every 40 ms, two facades
and two inference replicas. A reader streams an answer and picks it up again at the other facade when it breaks; each
figure is the longest silence between two events he received, those 40 ms included. What dies is started again at once,
as a supervisor does, except where another process is there to go on.
"""

import signal
import sys
import tempfile
import threading
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import httpx2

from tests.chaos.reader import Reader
from tests.chaos.stores import store
from tests.chaos.units import Units, mesh_of_units

_HEARD = 8
"""Events that the reader has received before anything happens."""
_LOOK_SECONDS = 0.005
_SECONDS = 60.0
_DRAIN_SECONDS = "1"
_CALL = 'grpc_method="Generate"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What happens to the one of some units that answers, and how long the reader may hear nothing because of it."""

    name: str
    units: tuple[str, ...]
    signal: signal.Signals
    restart: bool
    most: str


CASES = (
    Case(name="a facade is killed", units=("facade",), signal=signal.SIGKILL, restart=False, most="10 s"),
    Case(name="a facade is told to stop", units=("facade",), signal=signal.SIGTERM, restart=False, most="0.2 s"),
    Case(
        name="an inference replica is killed",
        units=("inference", "replica"),
        signal=signal.SIGKILL,
        restart=False,
        most="2 s",
    ),
    Case(name="context_svc is killed", units=("context",), signal=signal.SIGKILL, restart=True, most="-"),
)


@contextmanager
def struck(units: Units, reader: Reader, case: Case) -> Iterator[None]:
    """Let it happen once the reader has heard something; afterwards all units run again."""

    def strike() -> None:
        ends = time.monotonic() + _SECONDS
        while len(reader.blocks) < _HEARD and time.monotonic() < ends:
            time.sleep(_LOOK_SECONDS)
        unit = units[answering(units, case.units)]
        unit.end(case.signal)
        if case.restart:
            unit.start()

    striker = threading.Thread(target=strike)
    striker.start()
    try:
        yield
    finally:
        striker.join()
        for name in case.units:
            if not units[name].alive:
                units[name].start()


def answering(units: Units, names: Sequence[str]) -> str:
    """Give the unit that answers just now."""
    for name in names[1:]:
        page = httpx2.get(f"http://{units.target(f'{name}_metrics')}/metrics", timeout=_SECONDS).text
        counts = [
            sum(
                float(line.rpartition(" ")[2])
                for line in page.splitlines()
                if line.startswith(metric) and _CALL in line
            )
            for metric in ("grpc_server_started_total{", "grpc_server_handled_total{")
        ]
        if counts[0] > counts[1]:
            return name
    return names[0]


def _value(line: str) -> float:
    return float(line.rpartition(" ")[2])


def silence(units: Units, case: Case, number: int) -> float:
    """Give the seconds that a reader hears nothing."""
    units.models_are_ready()
    reader = Reader(
        urls=[units.url("facade"), units.url("other")],
        body={"model": "scripted", "stream": True, "messages": [{"role": "user", "content": "recite it"}]},
        key=f"{case.name} {number}",
    )
    with struck(units, reader, case):
        reader.read()
    return reader.gap


def run(asked: Namespace) -> None:
    """Measure and print."""
    found: dict[str, list[float]] = {case.name: [] for case in CASES}
    with (
        tempfile.TemporaryDirectory(prefix="recovery-") as directory,
        store(asked.store) as place,
        mesh_of_units(Path(directory), store=place, replica=True) as units,
    ):
        for name in ("facade", "other"):
            units[name].environment = {**units[name].environment, "FACADE_DRAIN_SECONDS": _DRAIN_SECONDS}
            units[name].start()
        for number in range(asked.rounds):
            for case in CASES:
                found[case.name].append(silence(units, case, number))
    print(f"store {asked.store}, {asked.rounds} rounds\n")
    print("| what happens | silence p50 s | most s | wanted |")
    print("|---|---|---|---|")
    for case in CASES:
        seconds = found[case.name]
        print(f"| {case.name} | {median(seconds):.2f} | {max(seconds):.2f} | {case.most} |")


def main() -> int:
    """Do what the command line asks."""
    parser = ArgumentParser(prog="python -m benchmarks.recovery", description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--store", default="sqlite", help="a store that tests/chaos/stores.py knows")
    run(parser.parse_args())
    return 0


if __name__ == "__main__":
    sys.exit(main())
