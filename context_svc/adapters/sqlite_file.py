"""Opens the file of the SQLite store: its pragmas and its tables."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from context_svc.adapters.event_rows import SNAPSHOT
from context_svc.adapters.file_systems import vanishes
from context_svc.adapters.sizes import batch_bytes
from context_svc.adapters.snapshots import unpack
from threadmesh.crash_points import crash_point
from threadmesh.errors import Internal, MeshError, StoreFull, StoreUnavailable
from threadmesh.settings import ConfigurationError

log = structlog.get_logger()

_BUSY_SECONDS = 1.0
_PAGES_AT_ONCE = 1024
_MIGRATIONS = Path(__file__).parent / "migrations" / "sqlite"


def connect(path: Path) -> sqlite3.Connection:
    """Open a connection that commits durably; it may be used by any one thread at a time."""
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    if sqlite3.sqlite_version_info < (3, 43):
        connection.create_function("octet_length", 1, _octet_length, deterministic=True)
    connection.executescript(
        """
        PRAGMA synchronous = FULL;
        PRAGMA foreign_keys = ON;
        PRAGMA secure_delete = ON;
        """
    )
    return connection


def _octet_length(value: str | bytes | None) -> int | None:
    """Do what SQLite itself does from version 3.43 on."""
    return None if value is None else len(value.encode() if isinstance(value, str) else value)


def _logged_bytes(batch: bytes, version: int) -> int:
    """Give what the events of a row count, for migrations."""
    return sum(map(batch_bytes, unpack(batch, run_id="", first_sequence=0))) if version == SNAPSHOT else len(batch)


def prepare(path: Path) -> None:
    """Make the file and its tables, or bring those of an earlier version up to date.

    Raises `ConfigurationError` when the path cannot be used or the tables are of a later version.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        connection = connect(path)
        try:
            _set_up(connection, path)
        finally:
            connection.close()
    except (OSError, sqlite3.Error) as error:
        raise ConfigurationError(f"CONTEXT_STORE: {path} cannot be used as a SQLite store: {error}") from error


def require_lasting(path: Path, *, allow_unsafe: bool) -> None:
    """Return if what is written at a path survives the machine's restart, or that is not asked for.

    Raises `ConfigurationError` otherwise.
    """
    if not vanishes(path):
        return
    promise = f"{path} lies in main memory, so a restart of the machine loses every thread"
    if not allow_unsafe:
        raise ConfigurationError(
            f"CONTEXT_STORE: {promise}; name a path on a disk, or accept that with CONTEXT_ALLOW_UNSAFE_STORE=true."
        )
    log.warning("store.unsafe", promise_given_up=promise)


@contextmanager
def translated() -> Iterator[None]:
    """Raise our errors instead of SQLite's."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise unavailable(error) from error
    except sqlite3.DatabaseError as error:
        raise Internal from error


def unavailable(error: sqlite3.Error) -> MeshError:
    """Give the error for a file that cannot be read or written now, such as one that is locked or on a full disk."""
    cause = getattr(error, "sqlite_errorname", "SQLITE_ERROR")
    return StoreFull() if cause == "SQLITE_FULL" else StoreUnavailable(cause=cause)


def clear(connection: sqlite3.Connection) -> None:
    """Empty the write-ahead log, which still holds what was deleted, and give freed pages back, some at a time.

    A reader that is still at work may keep the log from being emptied; then the next call does it.
    """
    connection.execute(f"PRAGMA incremental_vacuum({_PAGES_AT_ONCE})").fetchall()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _set_up(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise ConfigurationError(f"CONTEXT_STORE: the file system of {path} cannot hold a write-ahead log.")
    present = _version(connection)
    scripts = sorted(_MIGRATIONS.glob("*.sql"))
    if present > len(scripts):
        raise ConfigurationError(
            f"CONTEXT_STORE: {path} was written by a later version of threadmesh (schema {present}, this one knows "
            f"{len(scripts)}); start that version, or name another file."
        )
    for number, script in enumerate(scripts[present:], start=present + 1):
        _migrate(connection, number, script.read_text())


def _version(connection: sqlite3.Connection) -> int:
    connection.execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL) STRICT")
    newest: int | None = connection.execute("SELECT max(version) FROM schema_version").fetchone()[0]
    return newest or 0


def _migrate(connection: sqlite3.Connection, number: int, script: str) -> None:
    """Run one migration whole or not at all."""
    connection.create_function("logged_bytes", 2, _logged_bytes, deterministic=True)
    try:
        connection.executescript(f"BEGIN IMMEDIATE; {script}")
        crash_point("ctx.mid_migration")
        connection.execute("INSERT INTO schema_version VALUES (?)", (number,))
        connection.commit()
    except sqlite3.Error:
        if connection.in_transaction:
            connection.rollback()
        raise
