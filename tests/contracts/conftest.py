from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from context_svc.domain.ports import Store
from inference_svc.domain.ports import Backend
from tests.context_svc.given import STORES
from tests.contracts.backends import BACKENDS
from threadmesh.testing.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> AsyncIterator[Store]:
    """Every store of context_svc in turn, empty, with a clock that stands still."""
    async with STORES[request.param](tmp_path, clock) as opened:
        yield opened


@pytest.fixture(params=BACKENDS)
async def backend(request: pytest.FixtureRequest) -> AsyncIterator[Backend]:
    """Every backend of inference_svc in turn."""
    async with request.param() as opened:
        yield opened
