from pathlib import Path

import pytest

from threadmesh.errors import Unavailable
from tools_svc.adapters.celery_runner import CeleryRunner, celery_for
from tools_svc.domain.task import TaskKey, Ticket

TICKET = Ticket(key=TaskKey(run_id="r", call_id="c"), epoch=1)


async def test_a_broker_that_is_away_is_told() -> None:
    runner = CeleryRunner(celery_for("redis+socket:///no/such/socket"))

    with pytest.raises(Unavailable):
        await runner.announce(TICKET)


async def test_the_directory_of_a_broker_is_made_and_a_ticket_holds_three_words(tmp_path: Path) -> None:
    runner = CeleryRunner(celery_for(f"filesystem://{tmp_path / 'new' / 'broker'}"))

    await runner.announce(TICKET)

    [ticket] = (tmp_path / "new" / "broker" / "tickets").iterdir()
    assert ticket.stat().st_size < 2048
