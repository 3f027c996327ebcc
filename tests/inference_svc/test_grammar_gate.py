"""Grammars are tried in a process that may die of them; the engine's never does."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from inference_svc.adapters.llama_cpp import grammar_gate
from inference_svc.adapters.llama_cpp.grammar_gate import GrammarGate, Starts, Verdicts, Worker
from tests.inference_svc.engines import bundled_model
from tests.inference_svc.test_gbnf_check import KILLERS
from threadmesh.errors import BackendUnavailable, Overloaded, UnsupportedSchema

AMBIGUOUS = 'root ::= " " root "b" | " " root "c" | "d"'
"""Doubles its ways with every space, and there are tokens of many spaces; no rule of ours tells."""
FINE = 'root ::= "yes" | "no"'


@pytest.fixture
def gate() -> Iterator[GrammarGate]:
    gate = GrammarGate(bundled_model(), seconds=0.1)
    yield gate
    gate.close()


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker(bundled_model(), seconds=0.1, starts=Starts())
    yield worker
    worker.end()


@pytest.mark.model
@pytest.mark.parametrize(
    "name", ["larger number first", "hidden left recursion", "token", "ways to walk", "ways to go on"]
)
def test_a_grammar_that_ends_the_worker_is_refused_and_the_next_is_judged(worker: Worker, name: str) -> None:
    killer = next(each[1] for each in KILLERS if each[0] == name)
    verdict = worker.judge(killer.encode())

    assert verdict is not None
    assert verdict[1] == "schema_too_complex"
    assert worker.judge(FINE.encode()) is None


@pytest.mark.model
def test_a_grammar_that_explodes_only_when_it_is_followed_is_refused(gate: GrammarGate) -> None:
    with pytest.raises(UnsupportedSchema, match="takes too long") as caught:
        gate.check(AMBIGUOUS, scope="", field="response_format.grammar")

    assert caught.value.facts == {"field": "response_format.grammar", "kind": "schema_too_complex"}


@pytest.mark.model
def test_a_grammar_that_was_judged_is_not_tried_again(gate: GrammarGate) -> None:
    gate.check(FINE, scope="a", field="f")
    gate.close()
    began = time.thread_time()
    for _ in range(100):
        gate.check(FINE, scope="a", field="f")

    assert time.thread_time() - began < 0.1
    assert not any(worker.running for worker in gate.workers)


@pytest.mark.model
def test_a_large_grammar_arrives_whole(worker: Worker) -> None:
    assert worker.judge(f"{FINE} # {'x' * 500_000}".encode()) is None


@pytest.mark.model
def test_a_costly_grammar_does_not_hold_up_another(gate: GrammarGate) -> None:
    gate.check(FINE, scope="", field="f")
    refused: list[str] = []

    def check_costly() -> None:
        try:
            gate.check(AMBIGUOUS, scope="", field="f")
        except UnsupportedSchema:
            refused.append("costly")

    thread = threading.Thread(target=check_costly)
    thread.start()
    gate.check('root ::= "other"', scope="", field="f")
    refused.append("other is through")
    thread.join(30)

    assert sorted(refused) == ["costly", "other is through"]


@pytest.mark.model
def test_a_worker_that_somebody_else_ended_is_replaced(worker: Worker) -> None:
    assert worker.judge(FINE.encode()) is None
    pid = worker.running
    os.kill(pid, signal.SIGKILL)

    assert worker.judge(FINE.encode()) is None
    assert worker.running not in (0, pid)


def test_a_worker_that_cannot_start_is_a_fault_of_the_server(tmp_path: Path) -> None:
    worker = Worker(tmp_path / "missing.gguf", seconds=0.1, starts=Starts())

    with pytest.raises(BackendUnavailable):
        worker.judge(FINE.encode())


@pytest.mark.model
def test_a_worker_ends_with_its_server() -> None:
    server = (
        "import os\n"
        "from pathlib import Path\n"
        "from inference_svc.adapters.llama_cpp.grammar_gate import Starts, Worker\n"
        f"worker = Worker(Path({str(bundled_model())!r}), seconds=0.1, starts=Starts())\n"
        "worker.judge(b'root ::= \"a\"')\n"
        "print(worker.running, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", server], capture_output=True, text=True, timeout=60, check=False)
    pid = int(done.stdout.splitlines()[-1])
    ends = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text():
        assert time.monotonic() < ends, "the worker lives on"
        os.sched_yield()


def test_workers_are_started_only_so_often(monkeypatch: pytest.MonkeyPatch) -> None:
    starts = Starts()
    for _ in range(grammar_gate.STARTS_A_MINUTE):
        starts.count()

    with pytest.raises(Overloaded) as caught:
        starts.count()
    assert caught.value.retry_after == 60


def test_verdicts_are_remembered_apart_for_each_scope_and_only_the_last_ones() -> None:
    verdicts = Verdicts()
    verdicts.remember("a", b"0", ("no", "schema_too_complex"))

    assert verdicts.find("a", b"0") == (True, ("no", "schema_too_complex"))
    assert verdicts.find("b", b"0") == (False, None)

    for number in range(1, grammar_gate.REMEMBERED):
        verdicts.remember("a", str(number).encode(), None)
    verdicts.find("a", b"0")
    verdicts.remember("a", b"one more", None)

    assert verdicts.find("a", b"0")[0], "it was used a moment ago"
    assert not verdicts.find("a", b"1")[0]

    for number in range(grammar_gate.SCOPES):
        verdicts.remember(f"scope {number}", b"0", None)
    assert not verdicts.find("a", b"0")[0]
