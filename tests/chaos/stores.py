"""The stores that crashes are tried on."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.servers.postgres import PostgresServer
from tests.servers.valkey import ValkeyServer

WITH_SERVER = ("postgres", "redis")
"""Those that several context_svc can share."""


@contextmanager
def store(kind: str) -> Iterator[str]:
    """Give what `CONTEXT_STORE` is to be, empty for a file of the mesh; servers run until the block ends."""
    if kind == "sqlite":
        yield ""
        return
    with served(kind) as (place, _):
        yield place


@contextmanager
def served(kind: str) -> Iterator[tuple[str, PostgresServer | ValkeyServer]]:
    """Give what `CONTEXT_STORE` is to be, and its server, which runs until the block ends."""
    match kind:
        case "postgres":
            with PostgresServer() as postgres:
                yield postgres.url().replace("postgresql:", "postgres:"), postgres
        case "redis":
            with ValkeyServer() as valkey:
                yield f"redis:{valkey.url}", valkey
        case _:
            raise ValueError(f"there is no store {kind}")
