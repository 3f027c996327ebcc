import os
import socket
from collections.abc import Iterator

import pytest

from threadmesh.cli.exits import PortsBusy
from threadmesh.cli.ports import Endpoint, find_holder, free_port, is_busy, require_free
from threadmesh.settings import ConfigurationError


def endpoint(port: int, host: str = "127.0.0.1") -> Endpoint:
    return Endpoint(host=host, port=port, owner="facade", variable="FACADE_PORT")


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def test_a_port_with_a_listener_is_busy_and_its_holder_is_named(taken: int) -> None:
    with pytest.raises(PortsBusy, match=rf"port {taken}, which facade needs, .* by pid {os.getpid()} \(.*FACADE_PORT"):
        require_free([endpoint(free_port("127.0.0.1")), endpoint(taken)])


def test_every_busy_port_is_told_at_once(taken: int) -> None:
    with pytest.raises(PortsBusy) as refused:
        require_free([endpoint(taken), endpoint(taken)])

    assert refused.value.message.count(f"port {taken}") == 2


def test_free_ports_are_free() -> None:
    require_free([endpoint(free_port("127.0.0.1")), endpoint(free_port("127.0.0.1"))])


def test_a_port_in_use_only_by_a_closed_connection_is_free(taken: int) -> None:
    with socket.create_connection(("127.0.0.1", taken)) as connection:
        own = connection.getsockname()[1]

    assert find_holder(own) is None


def test_an_address_of_another_machine_is_a_wrong_configuration() -> None:
    with pytest.raises(ConfigurationError, match=r"192\.0\.2\.1:8080 .*FACADE_PORT"):
        is_busy(endpoint(8080, host="192.0.2.1"))
