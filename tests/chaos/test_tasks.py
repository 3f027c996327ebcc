"""Runs whose tool is queued come to their end whatever dies, and the tool takes effect at most once."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.chaos.history import check
from tests.chaos.reader import Reader
from tests.chaos.units import SECONDS, Units, mesh_of_units, supervised
from threadmesh.api.tools.v1 import tools_service_pb2 as tools
from threadmesh.api.tools.v1.tools_service_pb2_grpc import ToolsServiceStub

CASES = [
    ("tools", "tools.before_write"),
    ("tools", "tools.after_read"),
    ("facade", "run.before_send"),
    ("facade", "run.after_send"),
    ("facade", "run.before_result_commit"),
]
SENT = ("run.after_send", "run.before_result_commit")
"""Points of the facade at which the task is there."""


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Units]:
    directory = tmp_path_factory.mktemp("tasks")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TOOLS_TASK_LEASE_SECONDS", "1")
        with mesh_of_units(directory) as started:
            file = directory / "servers.json"
            servers = json.loads(file.read_text())
            servers["mcpServers"]["ledger"]["tools"] = {"act": {"queue": True}}
            file.write_text(json.dumps(servers))
            yield started


def tools_are_queued(units: Units) -> None:
    """Return once the ledger's tool can be called, as a task."""
    ends = time.monotonic() + SECONDS
    with grpc.insecure_channel(units.target("tools")) as channel:
        stub = ToolsServiceStub(channel)
        while not any(each.queued for each in stub.ListTools(tools.ListToolsRequest(), wait_for_ready=True).tools):
            assert time.monotonic() < ends
            time.sleep(0.02)


@pytest.mark.parametrize(("unit", "crash"), CASES)
def test_a_process_dies_and_the_answer_comes_to_its_end(units: Units, unit: str, crash: str) -> None:
    name = Path(crash).name.replace(".", "-")
    units[unit].start(crash)
    tools_are_queued(units)
    reader = Reader(
        urls=[units.url("facade"), units.url("other")],
        body={
            "model": "scripted",
            "stream": True,
            "messages": [{"role": "user", "content": f"act {name}"}],
            "metadata": {"tools": "all", "thread_key": f"chaos:{name}"},
        },
        key=name,
    )

    with supervised(units[unit], restart=unit != "facade") as deaths:
        reader.read()

    assert deaths, "the point was reached"
    check(units, reader)
    if crash in SENT:
        assert units.done().count(name) == 1
        assert "unknown" not in reader.text.lower()
