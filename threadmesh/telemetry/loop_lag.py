"""How late a unit's event loop is: what one callback takes too long, every stream of the unit waits for."""

import asyncio
from typing import NoReturn

from prometheus_client import CollectorRegistry, Histogram

SECONDS = 0.05
"""Between two looks: a stall that is longer is always seen, and looking costs a thousandth of a core."""

BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)


async def watch_loop(registry: CollectorRegistry, *, unit: str) -> NoReturn:
    """Measure by how much the loop is late until cancelled, as the metric `threadmesh_<unit>_loop_lag_seconds`."""
    lag = Histogram(
        f"threadmesh_{unit}_loop_lag_seconds",
        "Time by which the event loop was late for a timer.",
        buckets=BUCKETS,
        registry=registry,
    )
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + SECONDS
        await asyncio.sleep(SECONDS)
        lag.observe(max(0.0, loop.time() - due))
