from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry

from context_svc.adapters.sqlite_store import sqlite_store
from context_svc.app import services
from context_svc.domain.ports import Store
from context_svc.domain.retention import Retention
from context_svc.edge.metrics import EdgeMetrics
from threadmesh.api.context.v1.runs_service_pb2_grpc import RunsServiceStub
from threadmesh.api.context.v1.threads_service_pb2_grpc import ThreadsServiceStub
from threadmesh.rpc.channel import MeshChannel
from threadmesh.testing.clock import FakeClock
from threadmesh.testing.loopback import channel_for

if TYPE_CHECKING:
    from threadmesh.api.context.v1.runs_service_pb2_grpc import RunsServiceAsyncStub as Runs
    from threadmesh.api.context.v1.threads_service_pb2_grpc import ThreadsServiceAsyncStub as Threads


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def store(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Store]:
    async with sqlite_store(tmp_path / "context.db", clock) as opened:
        yield opened


@pytest.fixture
async def channel(store: Store, clock: FakeClock) -> AsyncIterator[MeshChannel]:
    async with channel_for(*services(store, clock, EdgeMetrics(CollectorRegistry()), Retention())) as opened:
        yield opened


@pytest.fixture
def runs(channel: MeshChannel) -> "Runs":
    return RunsServiceStub(channel)


@pytest.fixture
def threads(channel: MeshChannel) -> "Threads":
    return ThreadsServiceStub(channel)
