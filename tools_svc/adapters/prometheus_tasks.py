"""What becomes of tasks, as metrics and log lines."""

from collections.abc import Mapping
from datetime import datetime

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from threadmesh.errors import MeshError
from tools_svc.domain.task import Task, TaskState

log = structlog.get_logger()

_PREFIX = "threadmesh_tools"
_SECONDS = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)


class TaskMetrics:
    """A `TaskListener` that counts, and logs what an operator asks about later."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._tasks = Gauge(f"{_PREFIX}_tasks", "Tasks in the store.", ["state"], registry=registry)
        self._waits = Histogram(
            f"{_PREFIX}_task_wait_seconds", "Time until a task was claimed.", buckets=_SECONDS, registry=registry
        )
        self._seconds = Histogram(
            f"{_PREFIX}_task_duration_seconds",
            "Time from a task's last claim to its end.",
            ["outcome"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._troubles = Counter(
            f"{_PREFIX}_task_troubles_total", "Failed looks at the store or the broker.", ["reason"], registry=registry
        )
        self._troubled = ""

    def began(self, task: Task) -> None:
        """Count a task that was claimed."""
        if task.claimed_at is not None:
            self._waits.observe((task.claimed_at - task.created_at).total_seconds())
        log.info("task.claimed", **_ids(task), tool=task.call.name, owner=task.owner, claims=task.claims)

    def ended(self, task: Task) -> None:
        """Count a task that ended."""
        outcome = task.finished.outcome.value if task.finished else ""
        self._seconds.labels(outcome).observe(_seconds(task.claimed_at or task.finished_at, task.finished_at))
        log.info("task.finished", **_ids(task), tool=task.call.name, outcome=outcome, claims=task.claims)

    def counted(self, counts: Mapping[TaskState, int]) -> None:
        """Show how many tasks there are."""
        self._troubled = ""
        for state in TaskState:
            self._tasks.labels(state.value).set(counts.get(state, 0))

    def troubled(self, error: MeshError) -> None:
        """Count a failed look, and log it the first time."""
        self._troubles.labels(error.reason.lower()).inc()
        if self._troubled != error.reason:
            self._troubled = error.reason
            log.warning("tasks.troubled", reason=error.reason, message=error.message)


def _ids(task: Task) -> dict[str, str]:
    return {"run_id": task.run_id, "call_id": task.call.id, "thread_id": task.thread_id}


def _seconds(begin: datetime | None, end: datetime | None) -> float:
    return (end - begin).total_seconds() if begin is not None and end is not None else 0.0
