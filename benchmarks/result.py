"""What a scenario found: figures for each contestant, and the targets they are held against."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.figures import percentile, ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """Something that is measured, and the percentiles of its samples that are reported."""

    name: str
    unit: str
    percentiles: tuple[float, ...] = (50,)


TOKENS_PER_SECOND = Measure(name="tokens per second", unit="tok/s")
FIRST_TOKEN = Measure(name="time to first token", unit="ms", percentiles=(50, 95))
TOKENS = Measure(name="tokens per answer", unit="tokens")
CLIENT_CPU = Measure(name="CPU of the client", unit="% of a core")
_QUIET_PERCENT = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure under one condition: a percentile of each contestant's samples, all in the measure's unit."""

    condition: str
    measure: str
    unit: str
    percent: float
    samples: Mapping[str, Sequence[float]]

    def figure(self, contestant: str) -> float:
        """Give a contestant's figure; NaN when it was not measured."""
        return percentile(self.samples.get(contestant, ()), self.percent)

    def ratio(self, contestant: str, to: str) -> float:
        """Give a contestant's figure in units of another's."""
        return ratio(self.figure(contestant), self.figure(to))


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A figure held against a limit, which it must reach (`at_least`) or must not exceed."""

    claim: str
    found: float
    limit: float
    at_least: bool
    unit: str = "x"

    @property
    def reached(self) -> bool:
        """Whether the claim holds; what was not measured does not."""
        return self.found >= self.limit if self.at_least else self.found <= self.limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """Percent of the machine's CPU time that went to strangers' processes, and to other machines of its host."""

    others: float
    stolen: float

    @property
    def spoils(self) -> bool:
        """Whether it is so much that the figures say little: one busy stranger slows all threads of an engine."""
        return max(self.others, self.stolen) > _QUIET_PERCENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The answer to a scenario's question. `failure` says why it could not be answered."""

    name: str
    question: str
    rows: tuple[Row, ...] = ()
    targets: tuple[Target, ...] = ()
    notes: tuple[str, ...] = ()
    noise: Noise | None = None
    failure: str = ""


class Sheet:
    """Collects samples while a scenario runs; conditions and measures stay in the order of their first sample."""

    def __init__(self) -> None:
        self._samples: dict[tuple[str, Measure], defaultdict[str, list[float]]] = {}

    def add(self, contestant: str, condition: str, measure: Measure, values: float | Iterable[float]) -> None:
        """Note one sample or several."""
        samples = self._samples.setdefault((condition, measure), defaultdict(list))
        samples[contestant] += [values] if isinstance(values, int | float) else values

    def row(self, condition: str, measure: Measure, percent: float = 50) -> Row:
        """Give one row, empty when nothing was noted for it."""
        samples = self._samples.get((condition, measure), defaultdict(list))
        kept = {contestant: tuple(values) for contestant, values in samples.items()}
        return Row(condition=condition, measure=measure.name, unit=measure.unit, percent=percent, samples=kept)

    def rows(self) -> tuple[Row, ...]:
        """Give everything, one row for each percentile of a measure."""
        return tuple(
            self.row(condition, measure, percent)
            for condition, measure in self._samples
            for percent in measure.percentiles
        )

    def typical(self, contestant: str, condition: str, measure: Measure) -> float:
        """Give the median of what was noted; NaN when nothing was."""
        return self.row(condition, measure).figure(contestant)


def compared(row: Row, limit: float, *, at_least: bool, of: str, to: str) -> Target:
    """Make a target of one contestant's figure in units of another's."""
    words = "at least" if at_least else "at most"
    share = "median" if row.percent == 50 else f"p{row.percent:g}"
    return Target(
        claim=f"{row.condition}: {row.measure} ({share}) of {of} {words} {limit:g} x {to}",
        found=row.ratio(of, to),
        limit=limit,
        at_least=at_least,
    )
