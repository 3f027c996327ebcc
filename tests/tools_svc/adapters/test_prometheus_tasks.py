from datetime import timedelta

from prometheus_client import CollectorRegistry

from tests.contracts.test_task_store import NOW, task
from threadmesh.conversation import CallFinished, CallOutcome
from threadmesh.errors import StoreUnavailable
from tools_svc.adapters.prometheus_tasks import TaskMetrics
from tools_svc.domain.task import TaskState


def test_tasks_are_counted_by_state_and_timed_from_their_claim() -> None:
    registry = CollectorRegistry()
    metrics = TaskMetrics(registry)
    claimed = task().claimed("me", NOW + timedelta(seconds=3), until=NOW)
    ended = claimed.ended(CallFinished(outcome=CallOutcome.UNKNOWN), NOW + timedelta(seconds=10))

    metrics.began(claimed)
    metrics.ended(ended)
    metrics.counted({TaskState.FINISHED: 1})
    metrics.troubled(StoreUnavailable())

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"threadmesh_tools_{name}", labels)

    assert value("task_wait_seconds_sum") == 3
    assert value("task_duration_seconds_sum", outcome="unknown") == 7
    assert [value("tasks", state=state.value) for state in TaskState] == [0, 0, 1]
    assert value("task_troubles_total", reason="store_unavailable") == 1
