"""A facade is told to stop while it answers: another one goes on, whatever becomes of the first one meanwhile."""

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from tests.chaos.history import check
from tests.chaos.reader import Reader
from tests.chaos.stores import store
from tests.chaos.units import SECONDS, Units, mesh_of_units

TAKEOVER_SECONDS = 10.0
RECITED = " ".join(["one two three four five six seven eight nine ten"] * 6)


@pytest.fixture(scope="module", params=os.environ.get("CHAOS_STORES", "sqlite").split(","))
def units(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Units]:
    with store(request.param) as place, mesh_of_units(tmp_path_factory.mktemp("drain"), store=place) as started:
        started.tools_are_ready()
        yield started


@pytest.mark.parametrize("crash", ["", "drain.before_release", "drain.after_release"])
def test_a_facade_that_is_told_to_stop_hands_its_run_over(units: Units, crash: str) -> None:
    facade = units["facade"]
    facade.environment = {**facade.environment, "FACADE_DRAIN_SECONDS": "1"}
    facade.start(crash)
    units.tools_are_ready()
    units.models_are_ready()
    name = crash.replace(".", "-") or "clean"
    reader = Reader(
        urls=[units.url("facade"), units.url("other")],
        body={
            "model": "scripted",
            "stream": True,
            "messages": [{"role": "user", "content": "recite it"}],
            "metadata": {"thread_key": f"drain:{name}"},
        },
        key=name,
    )
    statuses: list[int | None] = []

    def stop() -> None:
        ends = time.monotonic() + SECONDS
        while len(reader.blocks) < 4 and time.monotonic() < ends:
            time.sleep(0.002)
        statuses.append(facade.end(signal.SIGTERM))

    stopper = threading.Thread(target=stop)
    stopper.start()
    reader.read()
    stopper.join()

    assert statuses == [-signal.SIGKILL if crash else 0]
    assert reader.cuts > 1, "the answer was not over when the facade stopped"
    check(units, reader)
    assert reader.text == RECITED
    assert reader.gap <= TAKEOVER_SECONDS
