"""What a unit of the mesh shows of itself, in Prometheus' text format."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.failures import BenchmarkError
from benchmarks.figures import ratio
from benchmarks.load.body import BodyReader
from benchmarks.load.http import Endpoint, exchange, request

RUNNING = "threadmesh_inference_sequences_running"
PARKED = "threadmesh_inference_parked_bytes"
ABORTS = "threadmesh_inference_aborts_total"
_STEP = "threadmesh_inference_step_duration_seconds"
_OK = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One reading of a unit's metrics: each series as it is written, and its value."""

    series: Mapping[str, float]

    def total(self, name: str, label: str = "") -> float:
        """Add up a metric's series, those that have `label` (`name="value"`) in them."""
        found = {key: value for key, value in self.series.items() if key.partition("{")[0] == name}
        return sum(value for key, value in found.items() if label in key)


def step_seconds(before: Page, after: Page) -> float:
    """Give the mean duration of the engine's steps between two readings; NaN without steps."""
    seconds, steps = (after.total(f"{_STEP}_{part}") - before.total(f"{_STEP}_{part}") for part in ("sum", "count"))
    return ratio(seconds, steps)


async def read_page(endpoint: Endpoint) -> Page:
    """Read a unit's metrics now. Raises `BenchmarkError`."""
    body = BodyReader()
    answer = await exchange(endpoint, request("GET", "/metrics"))
    text = b"".join(body.feed(piece) for _, piece in answer.pieces).decode()
    if body.status != _OK:
        raise BenchmarkError(f"/metrics answers {body.status}")
    return parse_page(text)


def parse_page(text: str) -> Page:
    """Read the text of a page."""
    lines = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
    return Page(series={series: float(value) for series, _, value in lines})
