"""The stores that crashes are tried on."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.servers.postgres import PostgresServer
from tests.servers.valkey import ValkeyServer


@contextmanager
def store(kind: str) -> Iterator[str]:
    """Give what `CONTEXT_STORE` is to be, empty for a file of the mesh; servers run until the block ends."""
    match kind:
        case "sqlite":
            yield ""
        case "postgres":
            with PostgresServer() as server:
                yield server.url().replace("postgresql:", "postgres:")
        case "redis":
            with ValkeyServer() as server:
                yield f"redis:{server.url}"
        case _:
            raise ValueError(f"there is no store {kind}")
