"""The HTTP server around the application."""

import uvicorn
from fastapi import FastAPI

from threadmesh.settings import ConfigurationError


async def serve(app: FastAPI, *, listen: str, port: int, drain_seconds: float) -> None:
    """Serve until SIGTERM or SIGINT; running responses then get `drain_seconds` to end.

    Raises `ConfigurationError` when the port cannot be listened on.
    """
    config = uvicorn.Config(
        app,
        host=listen,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        lifespan="off",
        timeout_graceful_shutdown=max(1, round(drain_seconds)),
        h11_max_incomplete_event_size=64 * 1024,
    )
    try:
        await uvicorn.Server(config).serve()
    except SystemExit as error:
        # uvicorn's way to say that binding failed; its reason is in the log.
        raise ConfigurationError(f"{listen}:{port} cannot be listened on; is another process using it?") from error
