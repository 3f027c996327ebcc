import signal
import sys
from pathlib import Path

import pytest

from benchmarks.contestants.server import await_serving, served, started
from benchmarks.failures import BenchmarkError
from benchmarks.load.http import exchange, request
from benchmarks.processes import pause

READS = [sys.executable, "-c", "import sys, time; print('no room here', flush=True); time.sleep(600)"]
ENDS = [sys.executable, "-c", "print('no room here')"]
SERVES = """
import http.server, sys
port = int(sys.argv[sys.argv.index("--port") + 1])
http.server.ThreadingHTTPServer(("127.0.0.1", port), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def test_a_process_that_was_put_to_sleep_is_ended_in_order(tmp_path: Path) -> None:
    with started(READS, log=tmp_path / "log", environment={}, directory=tmp_path) as process:
        pause(process.pid)

    assert process.returncode == -signal.SIGTERM


def test_a_process_that_ends_before_it_serves_is_a_failure_with_its_last_words(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with (
        started(ENDS, log=log, environment={}, directory=tmp_path) as process,
        pytest.raises(BenchmarkError, match="peer does not serve: no room here"),
    ):
        await_serving("peer", process, lambda: False, log=log)


async def test_a_server_is_given_once_it_answers(tmp_path: Path) -> None:
    with served("peer", [sys.executable, "-c", SERVES], directory=tmp_path, ready="/") as server:
        answer = await exchange(server.endpoint, request("GET", "/"))

    assert b"200 OK" in answer.pieces[0][1]
