"""Tasks in other processes: Celery brings their workers tickets, and nothing else."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from celery import Celery, signals
from celery.exceptions import CeleryError, Reject
from kombu.exceptions import KombuError, OperationalError

from threadmesh.errors import Unavailable
from tools_svc.domain.task import TaskKey, Ticket

_CARRY = "threadmesh.carry"
_QUEUE = "threadmesh.tasks"
_LONGEST_TASK_SECONDS = 24 * 3600
_POLL_SECONDS = 0.05
"""How often a directory is looked into for tickets; Celery's own pause is a second."""


class CeleryRunner:
    """A `TaskRunner` whose workers read the broker that Celery was given."""

    announce_seconds = 60.0

    def __init__(self, celery: Celery) -> None:
        self._celery = celery

    async def announce(self, ticket: Ticket) -> None:
        """Send the ticket; raises `Unavailable`."""
        message = {"run_id": ticket.key.run_id, "call_id": ticket.key.call_id, "epoch": ticket.epoch}
        try:
            await asyncio.to_thread(self._celery.send_task, _CARRY, kwargs=message, ignore_result=True, retry=False)
        except (OSError, OperationalError, KombuError, CeleryError) as error:
            raise Unavailable("The broker of tasks cannot be reached now; tasks wait until it is back.") from error

    def stop(self, key: TaskKey) -> None:
        """Leave it to the worker, which reads the record each second."""


def celery_for(broker: str) -> Celery:
    """Give Celery over `filesystem:///<directory>`, `redis://...` or `redis+socket://...`."""
    celery = Celery("threadmesh", broker="filesystem://" if broker.startswith("filesystem:") else broker)
    celery.conf.update(
        task_default_queue=_QUEUE,
        task_ignore_result=True,
        # A ticket of a worker that is stopped is brought to another one; whether that may do anything, the record says.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_transport_options=_transport(broker),
    )
    return celery


def work(
    celery: Celery, carry: Callable[[Ticket], bool], *, name: str, parallel: int, on_stopping: Callable[[], None]
) -> None:
    """Carry tasks, so many at once and each in a thread, until SIGTERM or SIGINT comes and those under way have ended.

    `carry` gives False for a ticket that must go to another worker; `on_stopping` hears when the signal came.
    """

    def stopping(**_: Any) -> None:
        on_stopping()

    receive(celery, carry)
    signals.worker_shutting_down.connect(stopping, weak=False)
    worker = celery.Worker(
        hostname=name, pool="threads", concurrency=parallel, loglevel=logging.WARNING, without_mingle=True, quiet=True
    )
    worker.start()


def receive(celery: Celery, carry: Callable[[Ticket], bool]) -> None:
    """Let workers of this process carry the tickets that come; one that is not taken goes back to the broker."""

    @celery.task(name=_CARRY, shared=False)  # type: ignore[untyped-decorator]  # Celery has no types
    def carry_task(run_id: str, call_id: str, epoch: int) -> None:
        if not carry(Ticket(key=TaskKey(run_id=run_id, call_id=call_id), epoch=epoch)):
            raise Reject(requeue=True)


def _transport(broker: str) -> dict[str, Any]:
    if not broker.startswith("filesystem:"):
        # Longer than any task: whoever is gone is known by the lease of its claim, long before.
        return {"visibility_timeout": _LONGEST_TASK_SECONDS + 3600}
    directory = Path(broker.removeprefix("filesystem://"))
    tickets, control = directory / "tickets", directory / "control"
    for each in (tickets, control):
        each.mkdir(parents=True, exist_ok=True)
    return {
        "data_folder_in": str(tickets),
        "data_folder_out": str(tickets),
        "control_folder": str(control),
        "polling_interval": _POLL_SECONDS,
    }
