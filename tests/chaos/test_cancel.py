"""A run is cancelled while the process that answers it dies: it ends once, as cancelled, and its reader hears of it."""

import os
import signal
import threading
import time
from collections.abc import Iterator

import grpc
import pytest

from tests.chaos.history import check
from tests.chaos.reader import Reader
from tests.chaos.stores import store
from tests.chaos.units import SECONDS, Units, mesh_of_units, supervised
from threadmesh.api.context.v1 import runs_service_pb2 as runs
from threadmesh.api.context.v1.runs_service_pb2_grpc import RunsServiceStub

CANCELLED_SECONDS = 10.0


@pytest.fixture(scope="module", params=os.environ.get("CHAOS_STORES", "sqlite").split(","))
def units(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Units]:
    with store(request.param) as place, mesh_of_units(tmp_path_factory.mktemp("cancel"), store=place) as started:
        started.tools_are_ready()
        yield started


@pytest.mark.parametrize(
    ("unit", "crash"),
    [
        ("facade", ""),
        ("facade", "run.before_terminal"),
        ("facade", "run.after_terminal"),
        ("inference", ""),
        ("context", ""),
    ],
)
def test_a_cancelled_run_ends_once(units: Units, unit: str, crash: str) -> None:
    victim = units[unit]
    victim.start(crash)
    assert victim.process is not None
    pid = victim.process.pid
    units.tools_are_ready()
    units.models_are_ready()
    name = f"{unit}-{crash.replace('.', '-') or 'killed'}"
    reader = Reader(
        urls=[units.url("facade"), units.url("other")],
        body={
            "model": "scripted",
            "stream": True,
            "messages": [{"role": "user", "content": "begin, and never end"}],
            "metadata": {"thread_key": f"cancel:{name}"},
        },
        key=name,
    )

    def strike() -> None:
        ends = time.monotonic() + SECONDS
        while len(reader.blocks) < 4 and time.monotonic() < ends:
            time.sleep(0.002)
        if not crash:
            os.kill(pid, signal.SIGKILL)
        with grpc.insecure_channel(units.target("context")) as channel:
            RunsServiceStub(channel).CancelRun(
                runs.CancelRunRequest(run_id=reader.run), wait_for_ready=True, timeout=SECONDS
            )

    striker = threading.Thread(target=strike)
    with supervised(victim, restart=unit != "facade") as deaths:
        striker.start()
        reader.read()
        striker.join()
    with grpc.insecure_channel(units.target("context")) as channel:
        run = RunsServiceStub(channel).GetRun(runs.GetRunRequest(run_id=reader.run), timeout=SECONDS).run

    assert run.state == runs.RUN_STATE_CANCELLED
    assert deaths, "the point was reached"
    assert reader.gap <= CANCELLED_SECONDS
    check(units, reader)
