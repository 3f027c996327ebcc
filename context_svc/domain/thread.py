"""A conversation that outlives processes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from context_svc.domain.ids import new_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Thread:
    """A conversation that outlives processes; an empty `key` means that only its id finds it.

    `item_count` and `run_count` number the next item and the next run. `active_run_id` names the run that is writing.
    Of the items numbered below `first_item` retention has left only instructions, summaries and those that are
    `pinned`, whose numbers stand in order. `summary` numbers the newest summary.
    An `ephemeral` thread serves a single stateless request, is not listed, and goes with that request's log.
    A key is unique within its `tenant`, who owns the thread with everything in it.
    """

    id: str
    tenant: str = ""
    create_time: datetime
    update_time: datetime
    key: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    first_item: int = 0
    item_count: int = 0
    run_count: int = 0
    active_run_id: str = ""
    ephemeral: bool = False
    pinned: tuple[int, ...] = ()
    summary: int | None = None

    def around_pinned(self, numbers: range) -> tuple[range, ...]:
        """Give the numbers without those that are pinned."""
        within = [number for number in self.pinned if number in numbers]
        starts = [numbers.start, *(number + 1 for number in within)]
        ends = [*within, numbers.stop]
        return tuple(range(start, end) for start, end in zip(starts, ends, strict=True) if start < end)


def new_thread(now: datetime, *, key: str = "", metadata: Mapping[str, str] | None = None, tenant: str = "") -> Thread:
    """Make an empty thread; one without a key is ephemeral."""
    return Thread(
        id=new_id("thread"),
        tenant=tenant,
        create_time=now,
        update_time=now,
        key=key,
        metadata=metadata or {},
        ephemeral=not key,
    )
