import pytest

from threadmesh.conversation import CallFinished, CallOutcome, Text, ToolCall
from threadmesh.errors import StaleEpoch
from tools_svc.domain.runs import Runs

CALL = ToolCall(id="c", name="s__t", arguments_json="")


def _result(size: int) -> CallFinished:
    return CallFinished(outcome=CallOutcome.SUCCEEDED, parts=(Text(text="x" * size),))


def test_a_run_is_found_again_by_its_id() -> None:
    runs = Runs()

    assert runs.open("r") is runs.open("r")
    assert runs.find("r") is runs.open("r")
    assert runs.find("other") is None


def test_calls_without_a_run_are_each_others_strangers() -> None:
    runs = Runs()
    first, second = runs.open(""), runs.open("")
    first.calls["c"] = second.calls["c"] = CALL

    assert first is not second
    assert runs.find_call("", "c") is second


def test_the_longest_unused_runs_are_forgotten() -> None:
    runs = Runs()
    for number in range(600):
        runs.open(str(number))
    assert runs.find("0") is None
    assert runs.find("599") is not None


def test_runs_with_much_to_remember_are_forgotten_sooner() -> None:
    runs = Runs()
    for number in range(20):
        runs.open(str(number)).log.append("c", _result(4 * 1024 * 1024))
    runs.open("newest")

    remembered = [number for number in range(20) if runs.find(str(number))]
    assert remembered == list(range(4, 20))


def test_a_run_with_a_call_in_flight_is_never_forgotten() -> None:
    runs = Runs()
    runs.open("busy").log.begin()
    for number in range(600):
        runs.open(str(number))

    assert runs.find("busy") is not None


def test_an_owner_of_the_past_does_not_pass() -> None:
    runs = Runs()
    runs.fence("r", 3)
    runs.fence("r", 3)
    with pytest.raises(StaleEpoch):
        runs.fence("r", 2)
    runs.fence("other", 1)
    runs.fence("r", 4)
