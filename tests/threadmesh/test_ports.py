"""A port that a process listens on is told from one that only a closed connection holds."""

import asyncio
import random
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.threadmesh.servicers import Behaving, service
from threadmesh.cli.ports import Endpoint, is_busy
from threadmesh.ports import is_listened_on
from threadmesh.rpc.server import serve
from threadmesh.settings import ConfigurationError
from threadmesh.telemetry.metrics import new_registry


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def held() -> Iterator[tuple[int, socket.socket]]:
    """Give a port that a connection to itself holds, without a listener."""
    with socket.socket() as itself:
        port = _bound(itself)
        itself.connect(("127.0.0.1", port))
        yield port, itself


def _bound(itself: socket.socket) -> int:
    """Bind to a port below those that the system gives out, so that no other test is given it in the meantime."""
    for port in random.sample(range(20_000, 32_000), 100):
        with suppress(OSError):
            itself.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def test_a_listener_is_found_without_connecting(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    listener.settimeout(0)

    assert is_listened_on(port)
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_a_port_held_by_a_connection_to_itself_is_not_busy(held: tuple[int, socket.socket]) -> None:
    port, _ = held

    assert not is_listened_on(port)
    assert not is_busy(Endpoint(host="127.0.0.1", port=port, owner="tools", variable="TOOLS_PORT"))


async def test_a_server_waits_until_such_a_port_is_free(held: tuple[int, socket.socket]) -> None:
    port, itself = held
    # Closed with a reset, so that nothing lingers.
    itself.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    asyncio.get_running_loop().call_later(0.1, itself.close)

    async with asyncio.timeout(30), _serving(port) as server:
        assert server.port == port


async def test_a_server_does_not_wait_for_another_process(listener: socket.socket) -> None:
    with pytest.raises(ConfigurationError, match="is another process using it"):
        async with _serving(listener.getsockname()[1]):
            pass


def _serving(port: int):  # type: ignore[no-untyped-def]  # an async context manager of a running server
    async def ready() -> None:
        return

    tools = service(Behaving())  # type: ignore[abstract]  # only its port matters
    return serve([tools], address=f"127.0.0.1:{port}", registry=new_registry(), ping=ready)
