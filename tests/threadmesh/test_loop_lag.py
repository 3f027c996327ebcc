import asyncio
import time

from prometheus_client import CollectorRegistry

from threadmesh.telemetry.loop_lag import SECONDS, watch_loop


async def test_a_callback_that_holds_the_loop_up_is_seen() -> None:
    registry = CollectorRegistry()
    watching = asyncio.create_task(watch_loop(registry, unit="test"))
    await asyncio.sleep(0)
    time.sleep(3 * SECONDS)  # noqa: ASYNC251  # this is the callback that holds it up
    async with asyncio.timeout(10):
        while not registry.get_sample_value("threadmesh_test_loop_lag_seconds_count"):
            await asyncio.sleep(0)
    watching.cancel()

    late = registry.get_sample_value("threadmesh_test_loop_lag_seconds_bucket", {"le": "0.02"})
    assert late == 0
    assert (registry.get_sample_value("threadmesh_test_loop_lag_seconds_sum") or 0) >= SECONDS
