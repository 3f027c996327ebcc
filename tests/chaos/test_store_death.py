"""The store's server dies while answers are made: they go on behind what was acknowledged once it is back."""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.chaos.history import check
from tests.chaos.reader import Reader
from tests.chaos.stores import WITH_SERVER, served
from tests.chaos.units import SECONDS, Units, mesh_of_units
from tests.servers.postgres import PostgresServer
from tests.servers.valkey import ValkeyServer

STORES = [each for each in os.environ.get("CHAOS_STORES", "redis").split(",") if each in WITH_SERVER]
RECITED = " ".join(["one two three four five six seven eight nine ten"] * 6)
Server = PostgresServer | ValkeyServer


@pytest.fixture(scope="module", params=STORES)
def mesh(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Units, Server]]:
    with (
        served(request.param) as (place, server),
        mesh_of_units(tmp_path_factory.mktemp("store"), store=place) as started,
    ):
        started.tools_are_ready()
        yield started, server


@pytest.mark.parametrize(
    ("ask", "seen"),
    [("recite it", 1), ("recite it", 3), ("recite it", 6), ("act twice NAME", 1), ("act twice NAME", 2)],
)
def test_the_server_dies_and_the_answer_comes_to_its_end(mesh: tuple[Units, Server], ask: str, seen: int) -> None:
    """A1, A7: kill -9, once so many events were seen."""
    units, server = mesh
    name = f"store-{ask.partition(' ')[0]}-{seen}"
    reader = Reader(
        urls=[units.url("facade"), units.url("other")],
        body={
            "model": "scripted",
            "stream": True,
            "messages": [{"role": "user", "content": ask.replace("NAME", name)}],
            "metadata": {"tools": "all", "thread_key": f"chaos:{name}"},
        },
        key=name,
    )
    with ThreadPoolExecutor() as threads:
        reading = threads.submit(reader.read)
        ends = time.monotonic() + SECONDS
        while len(reader.blocks) < seen and not reading.done():
            assert time.monotonic() < ends
            time.sleep(0.002)
        assert not reading.done(), "the answer was over before the server died"
        server.kill()
        server.start()
        reading.result(SECONDS)

    check(units, reader)
    if ask == "recite it":
        assert reader.text == RECITED
