"""Calls that ask in the middle have one end whatever dies: what is done is done once, with an answer that was taken."""

import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from tests.chaos.history import check
from tests.chaos.person import Person
from tests.chaos.reader import Reader
from tests.chaos.stores import store
from tests.chaos.units import SECONDS, Unit, Units, mesh_of_units, supervised
from threadmesh.api.context.v1 import runs_service_pb2 as runs
from threadmesh.api.context.v1.runs_service_pb2_grpc import RunsServiceStub
from threadmesh.api.tools.v1 import tools_service_pb2 as tools
from threadmesh.api.tools.v1.tools_service_pb2_grpc import ToolsServiceStub

ROOT = Path(__file__).parents[2]
KINDS = ("stateless", "held")
WAITING = "waiting"
"""No point of a process: it is killed while the person thinks."""


@dataclass(frozen=True, slots=True)
class Case:
    """A process that breaks at a point of a call that asks; `known` says whether the call's end must be known then.

    With one `beside`, another call that asks nothing is under way meanwhile.
    """

    unit: str
    crash: str
    kind: str
    known: bool = True
    ask: str = "ask"
    beside: bool = False

    def __str__(self) -> str:
        return f"{self.unit}-{self.crash}-{self.ask}-{self.kind}{'-beside' if self.beside else ''}"

    @property
    def victims(self) -> tuple[str, ...]:
        """Name the units that may come to the point: whoever goes on with an answer may be one facade or the other."""
        return ("facade", "other") if self.crash in LATER and not self.beside and self.ask == "ask" else (self.unit,)

    def text(self, name: str) -> str:
        return f"{self.ask} {self.kind}{' and act' if self.beside else ''} {name}"

    def names(self, name: str) -> list[str]:
        return [f"{name}-a", f"{name}-b"] if self.beside else [name]


UNSENT = ("run.after_intent", "run.before_send")
"""Points of the facade at which a call may have been sent, for all that anybody knows later."""
FACADE = ("run.after_send", "run.before_waiting", "run.after_waiting", WAITING)
LATER = (
    "run.before_answered",
    "run.after_answered",
    "run.before_continuation",
    "run.after_continuation",
    "run.before_result_commit",
    "run.after_result_commit",
)
"""Points at which a run goes on with a person's answer."""
CONTEXT = ("ctx.before_waiting", "ctx.after_waiting", WAITING, "ctx.before_answer", "ctx.after_answer")
CASES = [
    *(Case("facade", crash, kind, known=False) for crash in UNSENT for kind in KINDS),
    *(Case("facade", crash, kind) for crash in (*FACADE, *LATER) for kind in KINDS),
    *(Case("context", crash, kind) for crash in CONTEXT for kind in KINDS),
    # What the server does on the other side of the question, nobody knows once its process is gone.
    *(Case("tools", crash, "stateless", known=False) for crash in ("tools.before_write", "tools.after_read")),
    *(Case("tools", crash, "stateless", known=False) for crash in ("tools.before_write:2", "tools.after_read:2")),
    Case("tools", WAITING, "stateless"),
    *(
        Case("tools", crash, "held", known=False)
        for crash in ("tools.before_write", "tools.after_question", WAITING, "tools.before_reply", "tools.after_read")
    ),
    *(
        Case("facade", crash, kind, ask="advise")
        for crash in ("run.after_send", "run.before_continuation", "run.after_continuation")
        for kind in KINDS
    ),
    *(
        Case("facade", crash, kind, beside=True)
        for crash in ("run.after_send", "run.before_result_commit", "run.before_waiting")
        for kind in KINDS
    ),
    Case("tools", WAITING, "stateless", beside=True),
    *(Case("inference", crash, kind, ask="advise") for crash in ("infer.after_admit:2",) for kind in KINDS),
]
QUICK = {
    "facade-run.before_waiting-ask-held",
    "facade-run.after_answered-ask-stateless",
    "context-ctx.before_waiting-ask-stateless",
    "context-ctx.after_answer-ask-held",
    "tools-waiting-ask-stateless",
}
"""Those that are tried where no stores are chosen: of each process and of each kind the one that has most to lose."""
CHOSEN = [case for case in CASES if str(case) in QUICK or "CHAOS_STORES" in os.environ]
_numbers = itertools.count(1)


@pytest.fixture(scope="module", params=os.environ.get("CHAOS_STORES", "sqlite").split(","))
def units(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Units]:
    directory = tmp_path_factory.mktemp("questions")
    with store(request.param) as place, mesh_of_units(directory, store=place) as started:
        file = directory / "servers.json"
        servers = json.loads(file.read_text())
        for kind in KINDS:
            places = (str(directory / "ledger"), str(directory / "words"))
            servers["mcpServers"][kind] = {
                "command": sys.executable,
                "args": ["-m", "tests.chaos.asking_server", kind, *places],
                "env": {"PYTHONPATH": str(ROOT)},
                "elicitation": True,
                "sampling": True,
            }
        file.write_text(json.dumps(servers))
        yield started


def servers_are_ready(units: Units) -> None:
    """Return once the tools of all servers can be called."""
    ends = time.monotonic() + SECONDS
    with grpc.insecure_channel(units.target("tools")) as channel:
        stub = ToolsServiceStub(channel)
        while len(stub.ListTools(tools.ListToolsRequest(), wait_for_ready=True, timeout=SECONDS).tools) < 5:
            assert time.monotonic() < ends
            time.sleep(0.02)


def asking(units: Units, text: str, name: str) -> Reader:
    """Give a reader who asks once everything is there."""
    servers_are_ready(units)
    units.models_are_ready()
    return Reader(
        urls=[units.url(), units.url("other")],
        body={
            "model": "scripted",
            "stream": True,
            "messages": [{"role": "user", "content": text}],
            "metadata": {"tools": "all", "thread_key": f"chaos:{name}"},
        },
        key=name,
    )


def killing(victim: Unit, crash: str) -> Callable[[], None]:
    """Give what kills the process as it is now, where it does not do so itself at a point."""
    assert victim.process is not None
    pid = victim.process.pid
    return (lambda: os.kill(pid, signal.SIGKILL)) if crash == WAITING else (lambda: None)


def disarm(victims: Sequence[Unit], deaths: Sequence[Sequence[float]]) -> None:
    """Start those anew that have not come to their point: they would in the midst of another case."""
    for victim, died in zip(victims, deaths, strict=True):
        if not died:
            victim.start()


@pytest.mark.parametrize("case", CHOSEN, ids=str)
def test_a_process_dies_and_the_answer_counts_once(units: Units, case: Case) -> None:
    name = f"{Path(case.crash).name}-{case.kind}-{next(_numbers)}".replace(":", "-").replace(".", "-")
    for victim in case.victims:
        units[victim].start("" if case.crash == WAITING else case.crash)
    reader = asking(units, case.text(name), name)
    person = Person(urls=reader.urls, reader=reader, on_question=killing(units[case.unit], case.crash))
    with ExitStack() as stack:
        restart = case.unit != "facade" or len(case.victims) > 1
        deaths = [stack.enter_context(supervised(units[victim], restart=restart)) for victim in case.victims]
        with person:
            reader.read()
    disarm([units[victim] for victim in case.victims], deaths)

    assert any(deaths), "the point was reached"
    check(units, reader)
    words = [word for done, word in units.words() if done in case.names(name)]
    assert len(words) <= 1
    assert set(words) <= {*person.heard, "a-word-of-a-model"}, "what was done was done with an answer that was taken"
    if case.known:
        assert all(units.done().count(each) == 1 for each in case.names(name)), reader.text
        assert not person.refused
    else:
        assert "unknown" in reader.text.lower()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("unit", "crash"),
    [("facade", "run.before_terminal"), ("facade", "run.after_terminal"), ("facade", WAITING), ("context", WAITING)],
)
@pytest.mark.skipif("CHAOS_STORES" not in os.environ, reason="tests/turn stops such runs where nothing dies")
def test_a_run_that_is_stopped_while_it_asks_ends_once(units: Units, unit: str, crash: str, kind: str) -> None:
    victims = [units["facade"], units["other"]] if crash != WAITING else [units[unit]]
    name = f"{crash}-{kind}-{next(_numbers)}".replace(".", "-")
    for victim in victims:
        victim.start("" if crash == WAITING else crash)
    reader = asking(units, f"ask {kind} {name}", name)
    kill = killing(units[unit], crash)

    def stop() -> None:
        with grpc.insecure_channel(units.target("context")) as channel:
            request = runs.CancelRunRequest(run_id=reader.run)
            RunsServiceStub(channel).CancelRun(request, wait_for_ready=True, timeout=SECONDS)
        kill()

    person = Person(urls=reader.urls, reader=reader, on_question=stop)
    with ExitStack() as stack:
        deaths = [stack.enter_context(supervised(victim, restart=True)) for victim in victims]
        with person:
            reader.read()
    disarm(victims, deaths)
    with grpc.insecure_channel(units.target("context")) as channel:
        # A reader may have been told of an outage before the run could end.
        log = RunsServiceStub(channel).WatchRun(
            runs.WatchRunRequest(run_id=reader.run), wait_for_ready=True, timeout=SECONDS
        )
        terminal = [event for piece in log for event in piece.events if event.HasField("run_finished")]
    with grpc.insecure_channel(units.target("tools")) as channel:
        watched = ToolsServiceStub(channel).WatchCalls(tools.WatchCallsRequest(run_id=reader.run), timeout=SECONDS)
        ends = [event.finished.outcome for event in watched if event.HasField("finished")]

    assert any(deaths), "the point was reached"
    assert [event.run_finished.state for event in terminal] == [runs.RUN_STATE_CANCELLED]
    assert len(ends) == 1, "nobody waits for an answer any more"
    assert person.heard == []
    assert units.done().count(name) == 0
