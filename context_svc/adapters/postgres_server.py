"""Makes sure that a PostgreSQL server keeps what it acknowledges, and that it has our tables."""

from pathlib import Path

import psycopg
import structlog

from context_svc.adapters.postgres_address import Address
from context_svc.adapters.postgres_connections import Connection
from threadmesh.crash_points import crash_point
from threadmesh.settings import ConfigurationError

log = structlog.get_logger()

_MIGRATIONS = Path(__file__).parent / "migrations" / "postgres"
_OLDEST = 130_000
_PROMISES = {
    "fsync": "With fsync=off a crash of the server's machine can lose or damage everything that was acknowledged",
    "full_page_writes": "With full_page_writes=off a crash of the server's machine can damage what was acknowledged",
}
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"


async def prepare(connection: Connection, address: Address, *, allow_unsafe: bool) -> None:
    """Refuse a server that is unsafe or unfit, and make the tables or bring them up to date.

    Several processes may do it at once. An unsafe server is accepted where `allow_unsafe` says so; the log then names
    the promise that is given up. Raises `ConfigurationError`, and psycopg's errors when the server cannot be reached.
    """
    await _check(connection, address, allow_unsafe=allow_unsafe)
    try:
        async with connection.transaction():
            await connection.execute("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0")
            await connection.execute(_LOCK, [f"threadmesh:{address.schema}"])
            await _migrate(connection, address)
    except (psycopg.ProgrammingError, psycopg.NotSupportedError) as error:
        raise ConfigurationError(f"CONTEXT_STORE: the tables cannot be made in {address.name}: {error}") from error


async def _check(connection: Connection, address: Address, *, allow_unsafe: bool) -> None:
    if connection.info.server_version < _OLDEST:
        raise ConfigurationError(f"CONTEXT_STORE: {address.name} is older than PostgreSQL 13.")
    if await _setting(connection, "server_encoding") != "UTF8":
        raise ConfigurationError(f"CONTEXT_STORE: the database {address.name} does not keep its texts in UTF8.")
    for name, promise in _PROMISES.items():
        if await _setting(connection, name) == "on":
            continue
        if not allow_unsafe:
            raise ConfigurationError(
                f"CONTEXT_STORE: {promise}; turn it on, or accept that with CONTEXT_ALLOW_UNSAFE_STORE=true."
            )
        log.warning("store.unsafe", setting=name, promise_given_up=promise)


async def _setting(connection: Connection, name: str) -> str:
    row = await (await connection.execute("SELECT current_setting(%s) AS value", [name])).fetchone()
    return str(row["value"]) if row else ""


async def _migrate(connection: Connection, address: Address) -> None:
    present = await _version(connection, address)
    scripts = sorted(_MIGRATIONS.glob("*.sql"))
    if present > len(scripts):
        raise ConfigurationError(
            f"CONTEXT_STORE: the schema {address.schema} of {address.name} was written by a later version of "
            f"threadmesh (version {present}, this one knows {len(scripts)}); start that one, or name another schema."
        )
    for number, script in enumerate(scripts[present:], start=present + 1):
        await connection.execute(script.read_text())
        crash_point("ctx.mid_migration")
        await connection.execute("INSERT INTO schema_version VALUES (%s)", [number])


async def _version(connection: Connection, address: Address) -> int:
    """Look before making: who may use a schema need not be allowed to make one."""
    found = await connection.execute("SELECT to_regnamespace(%s) IS NULL AS missing", [address.schema])
    if (await found.fetchall())[0]["missing"]:
        await connection.execute(f'CREATE SCHEMA "{address.schema}"')
    await connection.execute("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)")
    newest = await connection.execute("SELECT coalesce(max(version), 0) AS version FROM schema_version")
    return int((await newest.fetchall())[0]["version"])
