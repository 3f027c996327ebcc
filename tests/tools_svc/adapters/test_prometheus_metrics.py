from prometheus_client import CollectorRegistry

from threadmesh.conversation import CallFinished, CallOutcome
from tools_svc.adapters.prometheus_metrics import ToolMetrics

UNKNOWN = CallFinished(outcome=CallOutcome.UNKNOWN, seconds=2)


def test_a_call_with_an_unknown_outcome_is_counted_where_the_alert_looks() -> None:
    registry = CollectorRegistry()
    ToolMetrics(registry, servers=frozenset({"s"})).ended("s__t", UNKNOWN)

    value = registry.get_sample_value
    assert value("threadmesh_tools_calls_unknown_outcome_total", {"tool": "s__t"}) == 1
    assert value("threadmesh_tools_calls_total", {"tool": "s__t", "outcome": "unknown"}) == 1
    assert value("threadmesh_tools_call_duration_seconds_sum", {"tool": "s__t"}) == 2


def test_labels_come_from_a_closed_set() -> None:
    """A model can invent names without end; each would be a series for ever."""
    metrics = ToolMetrics(CollectorRegistry(), servers=frozenset({"s"}))

    assert metrics.label("invented") == metrics.label("nobody__t") == "unknown"
    labels = {metrics.label(f"s__{number}") for number in range(500)}
    assert len(labels) == 201
    assert "other" in labels
    assert metrics.label("s__0") == "s__0"
