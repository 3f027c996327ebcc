"""Clients that vanish: the system asks them for a sign of life, also while nothing is written to them."""

import asyncio
import socket

import pytest
from starlette.responses import Response
from uvicorn.server import ServerState

from facade.edge.connection import Connection
from facade.edge.server import configured


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux tells of peers that way")
async def test_a_peer_that_says_nothing_is_asked_and_one_that_does_not_answer_given_up() -> None:
    config = configured(Response(), listen="127.0.0.1", port=0, stalled_seconds=30, arrival_seconds=10)  # type: ignore[arg-type]  # nobody asks
    config.load()
    made: list[Connection] = []

    def connection() -> Connection:
        made.append(
            Connection(
                config=config,
                server_state=ServerState(),
                app_state={},
                stalled_seconds=30,
                arrival_seconds=10,
                on_cut=lambda: None,
            )
        )
        return made[-1]

    server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0)
    async with server:
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"GET / HTTP/1.1\r\n")
        while not made or getattr(made[0], "transport", None) is None:
            await asyncio.sleep(0)
        accepted = made[0].transport.get_extra_info("socket")
        options = {
            name: accepted.getsockopt(level, getattr(socket, name))
            for level, name in [
                (socket.SOL_SOCKET, "SO_KEEPALIVE"),
                (socket.IPPROTO_TCP, "TCP_KEEPIDLE"),
                (socket.IPPROTO_TCP, "TCP_KEEPINTVL"),
                (socket.IPPROTO_TCP, "TCP_KEEPCNT"),
                (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT"),
            ]
        }
        made[0].transport.abort()
        writer.close()

    assert options.pop("SO_KEEPALIVE")
    assert options.pop("TCP_USER_TIMEOUT") == 20_000
    assert options["TCP_KEEPIDLE"] + options["TCP_KEEPINTVL"] * options["TCP_KEEPCNT"] <= 40
