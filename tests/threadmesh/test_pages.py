"""What a unit shows on the port of its metrics."""

import httpx2

from threadmesh.telemetry.metrics import new_registry
from threadmesh.telemetry.pages import Readiness, metrics_server
from threadmesh.testing.clock import FakeClock


def test_a_unit_is_ready_while_it_serves_and_its_loop_turns() -> None:
    clock = FakeClock()
    readiness = Readiness(clock)
    with metrics_server(new_registry(), listen="127.0.0.1", port=0, readiness=readiness) as port:
        answers = []
        for serving, seconds in ((False, 0), (True, 0), (True, 14), (True, 16), (False, 0)):
            readiness.note(serving)
            clock.advance(seconds)
            answers.append(httpx2.get(f"http://127.0.0.1:{port}/readyz").status_code)

    assert answers == [503, 200, 200, 503, 503]


def test_metrics_are_shown_beside_it() -> None:
    with metrics_server(new_registry(), listen="127.0.0.1", port=0, readiness=Readiness()) as port:
        page = httpx2.get(f"http://127.0.0.1:{port}/metrics")

    assert page.status_code == 200
    assert "threadmesh_build_info" in page.text
