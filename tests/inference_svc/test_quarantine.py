"""A request that ended the process is not answered again for a while, and nobody else suffers for it."""

import json
import re
import signal
import subprocess
import sys
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inference_svc.adapters.quarantined_backend import Quarantine, QuarantinedBackend
from inference_svc.adapters.script import Script
from inference_svc.adapters.scripted_backend import ScriptedBackend
from inference_svc.domain.quarantine import KEPT_SECONDS, Suspicion, after_death, fingerprint_of
from tests.inference_svc.engines import answered, prompt
from tests.inference_svc.unit_process import unit_process
from threadmesh.conversation import Media, Message, Role, Text, ToolChoice, ToolChoiceMode, ToolDefinition
from threadmesh.errors import RequestQuarantined
from threadmesh.sampling import Sampling
from threadmesh.testing.clock import FakeClock

A, B = "a" * 32, "b" * 32


def strikes(*deaths: tuple[list[str], bool]) -> dict[str, int]:
    suspicions: dict[str, Suspicion] = {}
    for in_flight, faulted in deaths:
        suspicions = dict(after_death(suspicions, in_flight, faulted=faulted, now=0))
    return {each: suspicion.strikes for each, suspicion in suspicions.items()}


def test_one_request_that_a_fault_leaves_is_guilty() -> None:
    suspicions = after_death({}, ["a"], faulted=True, now=100)

    assert suspicions == {"a": Suspicion(strikes=3, until=100 + KEPT_SECONDS)}
    assert suspicions["a"].quarantined


def test_of_several_each_is_answered_once_more_alone() -> None:
    suspicions = after_death({}, ["a", "b"], faulted=True, now=0)

    assert all(each.alone and not each.quarantined for each in suspicions.values())
    assert after_death(suspicions, ["b"], faulted=False, now=1)["b"].quarantined
    assert not after_death(suspicions, ["b"], faulted=False, now=1)["a"].quarantined


def test_requests_of_a_killed_process_are_suspected_only_when_it_happens_again() -> None:
    assert strikes((["a"], False)) == {"a": 1}
    assert strikes((["a", "b"], False), (["a"], False)) == {"a": 2, "b": 1}
    assert strikes((["a"], False), (["a"], False), (["a"], False)) == {"a": 3}
    assert not Suspicion(strikes=1, until=0).alone


def test_a_suspicion_is_forgotten_after_a_while() -> None:
    suspicions = after_death({}, ["a"], faulted=True, now=0)

    assert after_death(suspicions, [], faulted=False, now=KEPT_SECONDS - 1) == suspicions
    assert after_death(suspicions, [], faulted=False, now=KEPT_SECONDS) == {}


def test_a_request_has_one_fingerprint_however_often_it_is_tried() -> None:
    asked = prompt("Hello", sampling=Sampling(temperature=1.0))
    again = replace(
        asked, sampling=Sampling(temperature=1.0, seed=7), emitted_token_ids=(1, 2), max_tokens=3, cache_scope="other"
    )

    assert fingerprint_of("model", asked) == fingerprint_of("model", again)
    assert re.fullmatch("[0-9a-f]{32}", fingerprint_of("model", asked))


def test_requests_that_differ_have_different_fingerprints() -> None:
    picture = Message(role=Role.USER, parts=(Media(mime_type="image/png", data=b"1"), Text(text="Hello")))
    tool = ToolDefinition(name="t")
    asked = [
        prompt("Hello"),
        prompt("Hello!"),
        prompt([picture]),
        prompt([replace(picture, parts=(Media(mime_type="image/png", data=b"2"), Text(text="Hello")))]),
        prompt("Hello", tools=(tool,)),
        prompt("Hello", tools=(tool,), tool_choice=ToolChoice(mode=ToolChoiceMode.REQUIRED)),
        prompt("Hello", sampling=Sampling(temperature=0.5)),
    ]
    prints = [fingerprint_of("model", each) for each in asked] + [fingerprint_of("other", asked[0])]

    assert len(set(prints)) == len(prints)


async def test_a_request_that_ended_or_left_leaves_no_trace(tmp_path: Path) -> None:
    quarantine = Quarantine(tmp_path, clock=FakeClock())
    backend = QuarantinedBackend(ScriptedBackend(Script(), created=1), quarantine)
    await answered(backend, prompt("Hello"))
    async with aclosing(backend.stream(prompt("Hello"))) as events:
        await anext(events)

    assert not (tmp_path / "in-flight.0").read_bytes().strip(b"\0")
    quarantine.close()


DYING = """
import asyncio, os, sys
from pathlib import Path
from inference_svc.adapters.quarantined_backend import Quarantine
from threadmesh.clock import SystemClock

async def main():
    quarantine = Quarantine(Path(sys.argv[1]), clock=SystemClock())
    async with quarantine.answering(sys.argv[3]):
        os.kill(os.getpid(), int(sys.argv[2]))

asyncio.run(main())
"""


def die(directory: Path, number: signal.Signals, fingerprint: str) -> None:
    """Let a process die with a request in flight."""
    command = [sys.executable, "-c", DYING, str(directory), str(int(number)), fingerprint]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == -number, done.stderr


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS])
async def test_a_request_in_flight_at_a_fault_is_refused_until_a_time(tmp_path: Path, number: signal.Signals) -> None:
    clock = FakeClock()
    die(tmp_path, number, A)
    quarantine = Quarantine(tmp_path, clock=clock)
    with pytest.raises(RequestQuarantined, match="refused until") as caught:
        async with quarantine.answering(A):
            pass
    assert not caught.value.retryable
    async with quarantine.answering(B):
        pass
    quarantine.close()

    later = Quarantine(tmp_path, clock=clock)
    with pytest.raises(RequestQuarantined):
        async with later.answering(A):
            pass
    clock.advance(KEPT_SECONDS)
    async with later.answering(A):
        pass
    later.close()


async def test_a_request_in_flight_at_kills_is_refused_after_the_third(tmp_path: Path) -> None:
    for _ in range(3):
        die(tmp_path, signal.SIGKILL, A)
    quarantine = Quarantine(tmp_path, clock=FakeClock())

    with pytest.raises(RequestQuarantined):
        async with quarantine.answering(A):
            pass
    quarantine.close()


async def test_a_request_that_ends_well_is_trusted_again(tmp_path: Path) -> None:
    for _ in range(4):
        die(tmp_path, signal.SIGKILL, A)
        quarantine = Quarantine(tmp_path, clock=FakeClock())
        async with quarantine.answering(A):
            pass
        quarantine.close()


async def test_a_damaged_memory_is_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "suspicions.0.json").write_text('{"a": 1')
    (tmp_path / "in-flight.0").write_bytes(b"\xff" * 100)
    quarantine = Quarantine(tmp_path, clock=FakeClock())

    async with quarantine.answering(A):
        pass
    quarantine.close()


def test_two_processes_share_a_directory(tmp_path: Path) -> None:
    first, second = (Quarantine(tmp_path, clock=FakeClock()) for _ in range(2))
    second.close()
    first.close()

    assert sorted(each.name for each in tmp_path.glob("in-flight.*")) == ["in-flight.0", "in-flight.1"]


def settings(directory: Path) -> dict[str, Any]:
    script = directory / "script.json"
    script.write_text(json.dumps({"rules": [{"match": "hang", "steps": [{"text": "And"}, {"stall": True}]}]}))
    return {"model": "none", "script": script, "state_dir": directory / "state", "drain_seconds": 0}


def test_a_unit_that_a_request_has_ended_refuses_it_and_answers_others(tmp_path: Path) -> None:
    with unit_process(**settings(tmp_path)) as unit:
        answer = unit.stream("hang")  # kept, because an answer that nobody holds is cancelled
        assert next(answer).WhichOneof("event") == "started"
        assert unit.end(signal.SIGSEGV) == -signal.SIGSEGV

    with unit_process(**settings(tmp_path)) as unit:
        assert unit.refusal("hello") is None
        error = unit.refusal("hang")
        assert isinstance(error, RequestQuarantined)
        assert error.facts["until"]
        assert not error.retryable


def test_a_unit_that_is_stopped_suspects_nobody(tmp_path: Path) -> None:
    for _ in range(4):
        with unit_process(**settings(tmp_path)) as unit:
            answer = unit.stream("hang")
            assert next(answer).WhichOneof("event") == "started"
            assert unit.end(signal.SIGTERM) == 0

    assert json.loads((tmp_path / "state" / "suspicions.0.json").read_text()) == {}
