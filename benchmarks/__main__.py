"""`python -m benchmarks [SCENARIO ...]`: measures, and writes a report."""

import asyncio
import signal
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path

from benchmarks.failures import BenchmarkError
from benchmarks.registry import SCENARIOS
from benchmarks.run import Wishes, chosen, run

_ROUNDS, _QUICK_ROUNDS = 5, 1
_TERMINATED = 128 + signal.SIGTERM
_RESULTS = Path(__file__).with_name("results")


def main() -> int:
    """Do what the command line asks; gives the exit status. A missed target is no failure."""
    asked = _arguments()
    if asked.list:
        for scenario in SCENARIOS.values():
            print(f"{scenario.name:12}  {scenario.question}")
        return 0
    signal.signal(signal.SIGTERM, _terminate)
    try:
        wishes = Wishes(
            scenarios=chosen(asked.scenarios, SCENARIOS),
            rounds=asked.rounds or (_QUICK_ROUNDS if asked.quick else _ROUNDS),
            quick=asked.quick,
            output=asked.output,
        )
        print(asyncio.run(run(wishes)))
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _arguments() -> Namespace:
    parser = ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="what to measure; without any, everything")
    parser.add_argument(
        "--rounds", type=_positive, metavar="N", help=f"rounds of measurement; {_ROUNDS} unless --quick"
    )
    parser.add_argument("--quick", action="store_true", help="measure little, to see that everything works")
    parser.add_argument("--list", action="store_true", help="name the scenarios and end")
    parser.add_argument("--output", type=Path, default=_RESULTS, metavar="DIR", help="where the reports go")
    return parser.parse_args()


def _terminate(*_: object) -> None:
    """End in order, so that no contestant is left behind stopped; a second signal must not cut that short."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(_TERMINATED)


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise ArgumentTypeError(f"{text!r} is no number of rounds")
    return int(text)


sys.exit(main())
