"""Tasks for as long as the process lives."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from tools_svc.domain.task import Task, TaskCursor, TaskFilter, TaskKey, TaskState


class MemoryTasks:
    """A `TaskStore` that forgets with the process."""

    def __init__(self) -> None:
        self._tasks: dict[TaskKey, Task] = {}

    async def add(self, task: Task) -> Task:
        """Keep a new task, or give the one that is kept."""
        return self._tasks.setdefault(task.key, task)

    async def get(self, key: TaskKey, *, after: int = 0) -> Task | None:
        """Give a task, if it is newer."""
        task = self._tasks.get(key)
        return task if task is not None and task.version > after else None

    async def put(self, task: Task) -> Task | None:
        """Replace a task, unless it has changed."""
        if not self._is_present(task):
            return None
        changed = self._tasks[task.key] = replace(task, version=task.version + 1)
        return changed

    async def due(self, now: datetime, *, limit: int) -> Sequence[Task]:
        """Give tasks that are due."""
        due = [task for task in self._tasks.values() if task.due_at <= now]
        return sorted(due, key=lambda task: task.due_at)[:limit]

    async def page(self, wanted: TaskFilter, *, after: TaskCursor | None, limit: int) -> Sequence[Task]:
        """Give tasks, the newest first."""
        tasks = sorted(self._tasks.values(), key=_place, reverse=True)
        if after is not None:
            tasks = [task for task in tasks if _place(task) < (after.created_at, after.key)]
        return [task for task in tasks if _fits(task, wanted)][:limit]

    async def remove(self, task: Task) -> None:
        """Forget a task, unless it has changed."""
        if self._is_present(task):
            del self._tasks[task.key]

    async def counts(self) -> Mapping[TaskState, int]:
        """Count the tasks."""
        return Counter(task.state for task in self._tasks.values())

    def _is_present(self, task: Task) -> bool:
        present = self._tasks.get(task.key)
        return present is not None and present.version == task.version


def _place(task: Task) -> tuple[datetime, TaskKey]:
    return task.created_at, task.key


def _fits(task: Task, wanted: TaskFilter) -> bool:
    return (not wanted.states or task.state in wanted.states) and wanted.run_id in ("", task.run_id)
