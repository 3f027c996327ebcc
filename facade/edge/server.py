"""The HTTP server around the application."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType

import uvicorn
from fastapi import FastAPI

from facade.edge.connection import Connection
from facade.edge.strict_json import BODY_BYTES
from threadmesh.settings import ConfigurationError


class _Server(uvicorn.Server):
    """Tells that it is about to stop while it still serves."""

    def __init__(self, config: uvicorn.Config, on_drain: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_drain = on_drain

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take signals to stop until the block ends.

        uvicorn would raise them again then, and the process would be gone before it has handed its runs over.
        """
        loop = asyncio.get_running_loop()
        numbers = signal.SIGINT, signal.SIGTERM
        for number in numbers:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal to stop; a second one cuts what still runs."""
        self._on_drain()
        super().handle_exit(sig, frame)


def configured(
    app: FastAPI,
    *,
    listen: str,
    port: int,
    drain_seconds: float = 0.0,
    stalled_seconds: float,
    arrival_seconds: float,
    on_cut: Callable[[], object] = lambda: None,
) -> uvicorn.Config:
    """Give the server's configuration; `on_cut` hears of readers that have taken nothing for `stalled_seconds`.

    A request's head must be there within `arrival_seconds`.
    """
    connection = partial(Connection, stalled_seconds=stalled_seconds, arrival_seconds=arrival_seconds, on_cut=on_cut)
    return uvicorn.Config(
        app,
        host=listen,
        port=port,
        http=connection,  # type: ignore[arg-type]  # called only
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        lifespan="off",
        timeout_graceful_shutdown=max(1, round(drain_seconds)),
        ws_max_size=BODY_BYTES,
    )


async def serve(config: uvicorn.Config, *, on_drain: Callable[[], None] = lambda: None) -> None:
    """Serve until SIGTERM or SIGINT, which calls `on_drain`; running responses then get the configured time to end.

    Raises `ConfigurationError` when the port cannot be listened on.
    """
    try:
        await _Server(config, on_drain).serve()
    except SystemExit as error:
        # uvicorn's way to say that binding failed; its reason is in the log.
        place = f"{config.host}:{config.port}"
        raise ConfigurationError(f"{place} cannot be listened on; is another process using it?") from error
