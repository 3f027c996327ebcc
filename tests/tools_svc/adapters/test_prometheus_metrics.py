from dataclasses import replace

from prometheus_client import CollectorRegistry

from tests.servers.given import invocation, updates
from threadmesh.breaker import BreakerState
from threadmesh.conversation import CallFinished, CallOutcome
from threadmesh.errors import ToolConnectionLost
from threadmesh.questions import Form, Question
from tools_svc.adapters.memory_source import MemorySource, MemoryTool, Report
from tools_svc.adapters.prometheus_metrics import MeteredSource, ToolMetrics
from tools_svc.adapters.prometheus_policies import PolicyMetrics
from tools_svc.domain.call import Asked, Invocation, ToolOutput
from tools_svc.domain.tool import OfferedTool

UNKNOWN = CallFinished(outcome=CallOutcome.UNKNOWN, seconds=2)


def test_a_call_with_an_unknown_outcome_is_counted_where_the_alert_looks() -> None:
    registry = CollectorRegistry()
    ToolMetrics(registry, servers=frozenset({"s"})).ended("s__t", UNKNOWN)

    value = registry.get_sample_value
    assert value("threadmesh_tools_calls_unknown_outcome_total", {"tool": "s__t"}) == 1
    assert value("threadmesh_tools_calls_total", {"tool": "s__t", "outcome": "unknown"}) == 1
    assert value("threadmesh_tools_call_duration_seconds_sum", {"tool": "s__t"}) == 2


def test_further_attempts_are_counted_by_what_made_them_necessary() -> None:
    registry = CollectorRegistry()
    ToolMetrics(registry, servers=frozenset({"s"})).retried("s__t", ToolConnectionLost())

    labels = {"tool": "s__t", "reason": "tool_connection_lost"}
    assert registry.get_sample_value("threadmesh_tools_retries_total", labels) == 1


async def test_questions_of_servers_are_counted_and_a_call_that_asks_is_no_failure() -> None:
    async def asks(invocation: Invocation, report: Report) -> ToolOutput | Asked:
        return Asked(questions=(Question(id="q", asked=Form(message="?", schema_json="{}")),))

    registry = CollectorRegistry()
    metrics = ToolMetrics(registry, servers=frozenset({"s"}))
    source = MemorySource("s", {"t": MemoryTool(offer=OfferedTool(name="t"), run=asks)})
    call = replace(invocation("t"), may_ask=True)
    assert isinstance((await updates(MeteredSource(source, metrics), call))[-1], Asked)

    assert registry.get_sample_value("threadmesh_tools_questions_total", {"server": "s"}) == 1
    labels = {"tool": "s__t", "outcome": "asked"}
    assert registry.get_sample_value("threadmesh_tools_attempts_total", labels) == 1


def test_policies_show_from_the_start_and_as_they_are_now() -> None:
    registry = CollectorRegistry()
    told: list[tuple[str, BreakerState, float]] = []
    metrics = PolicyMetrics(registry, on_breaker=lambda *state: told.append(state))
    metrics.know("s")

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"threadmesh_tools_{name}", {"server": "s", **labels})

    state = "threadmesh_tools_breaker_state"
    assert (value("calls_waiting"), value("cache_hits_total")) == (0, 0)
    assert value("breaker_state", **{state: "closed"}) == 1

    metrics.waiting("s", 3)
    metrics.cached("s", "t")
    metrics.breaker("s", BreakerState.OPEN, 2.0)

    assert (value("calls_waiting"), value("cache_hits_total")) == (3, 1)
    assert told == [("s", BreakerState.OPEN, 2.0)]
    assert [value("breaker_state", **{state: each}) for each in ("closed", "open")] == [0, 1]


def test_labels_come_from_a_closed_set() -> None:
    """A model can invent names without end; each would be a series for ever."""
    metrics = ToolMetrics(CollectorRegistry(), servers=frozenset({"s"}))

    assert metrics.label("invented") == metrics.label("nobody__t") == "unknown"
    labels = {metrics.label(f"s__{number}") for number in range(500)}
    assert len(labels) == 201
    assert "other" in labels
    assert metrics.label("s__0") == "s__0"
