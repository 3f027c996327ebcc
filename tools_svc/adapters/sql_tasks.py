"""Tasks in a table of SQLite or PostgreSQL."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    Engine,
    Select,
    create_engine,
    delete,
    event,
    func,
    inspect,
    make_url,
    select,
    text,
    update,
)
from sqlalchemy import tuple_ as row_value
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.schema import CreateColumn, CreateSchema

from threadmesh.errors import StoreUnavailable
from threadmesh.settings import ConfigurationError
from tools_svc.adapters.task_rows import SCHEMA, TASKS, changes_of, row_of, task_of
from tools_svc.domain.task import Task, TaskCursor, TaskFilter, TaskKey, TaskState

_THREADS = 4
_BUSY_MILLISECONDS = 5000
_STATEMENT_MILLISECONDS = 10_000
_POSTGRES = {"postgres", "postgresql"}

Result = TypeVar("Result")


@asynccontextmanager
async def sql_tasks(place: str) -> AsyncIterator["SqlTasks"]:
    """Open the tasks at `sqlite:<path>` or `postgresql://...`; the latter may name a `schema` (else `threadmesh`).

    The database is first used when a task is. Raises `ConfigurationError` for what is no such place.
    """
    engine = _engine(place)
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="tasks") as threads:
        try:
            yield SqlTasks(engine, threads)
        finally:
            await asyncio.get_running_loop().run_in_executor(threads, engine.dispose)


class SqlTasks:
    """A `TaskStore` whose blocking calls run in a few threads; every change is one statement."""

    def __init__(self, engine: Engine, threads: ThreadPoolExecutor) -> None:
        self._engine = engine
        self._threads = threads
        self._prepared = False

    async def add(self, task: Task) -> Task:
        """Keep a new task, or give the one that is kept."""
        return await self._do(lambda connection: _add(connection, task))

    async def get(self, key: TaskKey, *, after: int = 0) -> Task | None:
        """Give a task, if it is newer."""
        return await self._do(lambda connection: _get(connection, key, after))

    async def put(self, task: Task) -> Task | None:
        """Replace a task, unless it has changed."""
        statement = update(TASKS).where(*_same(task)).values(version=task.version + 1, **changes_of(task))
        changed = await self._do(lambda connection: connection.execute(statement).rowcount)
        return replace(task, version=task.version + 1) if changed else None

    async def due(self, now: datetime, *, limit: int) -> Sequence[Task]:
        """Give tasks that are due."""
        statement = select(TASKS).where(TASKS.c.due_at <= now).order_by(TASKS.c.due_at).limit(limit)
        return await self._do(lambda connection: _tasks(connection, statement))

    async def page(self, wanted: TaskFilter, *, after: TaskCursor | None, limit: int) -> Sequence[Task]:
        """Give tasks, the newest first."""
        place = (TASKS.c.created_at, TASKS.c.run_id, TASKS.c.call_id)
        statement = select(TASKS).order_by(*(column.desc() for column in place)).limit(limit)
        if wanted.states:
            statement = statement.where(TASKS.c.state.in_([state.value for state in wanted.states]))
        if wanted.run_id:
            statement = statement.where(TASKS.c.run_id == wanted.run_id)
        if after is not None:
            ended = (after.created_at, after.key.run_id, after.key.call_id)
            statement = statement.where(row_value(*place) < row_value(*ended, types=[each.type for each in place]))
        return await self._do(lambda connection: _tasks(connection, statement))

    async def remove(self, task: Task) -> None:
        """Forget a task, unless it has changed."""
        await self._do(lambda connection: connection.execute(delete(TASKS).where(*_same(task))))

    async def counts(self) -> Mapping[TaskState, int]:
        """Count the tasks."""
        statement = select(TASKS.c.state, func.count()).group_by(TASKS.c.state)
        rows = await self._do(lambda connection: connection.execute(statement).all())
        return {TaskState(state): count for state, count in rows}

    async def _do(self, work: Callable[[Connection], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._transaction, work)

    def _transaction(self, work: Callable[[Connection], Result]) -> Result:
        try:
            self._prepare()
            with self._engine.begin() as connection:
                return work(connection)
        except (SQLAlchemyError, OSError) as error:
            raise StoreUnavailable("The store of tasks cannot be used now.") from error

    def _prepare(self) -> None:
        """Make the table, if there is none: at the first use, as the database may come up after us."""
        if self._prepared:
            return
        if self._engine.dialect.name == "sqlite":
            path = Path(str(self._engine.url.database))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)  # arguments and results are nobody else's
        with self._engine.begin() as connection:
            schema = self._engine.get_execution_options().get("threadmesh_schema")
            if schema and not inspect(connection).has_schema(schema):
                connection.execute(CreateSchema(schema, if_not_exists=True))
            SCHEMA.create_all(connection)
            _add_columns(connection)
        self._prepared = True


def _add_columns(connection: Connection) -> None:
    """Give a table that an older version made the columns that it lacks."""
    schema = None if connection.dialect.name == "sqlite" else str(connection.scalar(func.current_schema()))
    present = {column["name"] for column in inspect(connection).get_columns(TASKS.name, schema=schema)}
    # Of two processes that start at once, only one may find that a column is missing.
    unless = "IF NOT EXISTS " if connection.dialect.name == "postgresql" else ""
    for column in TASKS.columns:
        if column.name not in present:
            said = CreateColumn(column).compile(dialect=connection.dialect)
            connection.execute(text(f"ALTER TABLE {TASKS.name} ADD COLUMN {unless}{said}"))


def _add(connection: Connection, task: Task) -> Task:
    row = row_of(task)
    if connection.dialect.name == "postgresql":
        connection.execute(postgresql.insert(TASKS).values(row).on_conflict_do_nothing())
    else:
        connection.execute(sqlite.insert(TASKS).values(row).on_conflict_do_nothing())
    kept = _get(connection, task.key, 0)
    if kept is None:
        raise StoreUnavailable("The task was removed while it was added; try again.")
    return kept


def _get(connection: Connection, key: TaskKey, after: int) -> Task | None:
    found = _tasks(connection, select(TASKS).where(*_at(key), TASKS.c.version > after))
    return found[0] if found else None


def _tasks(connection: Connection, statement: Select[Any]) -> list[Task]:
    return [task_of(row) for row in connection.execute(statement).mappings()]


def _at(key: TaskKey) -> tuple[ColumnElement[bool], ...]:
    return TASKS.c.run_id == key.run_id, TASKS.c.call_id == key.call_id


def _same(task: Task) -> tuple[ColumnElement[bool], ...]:
    return *_at(task.key), TASKS.c.version == task.version


def _engine(place: str) -> Engine:
    kind, _, path = place.partition(":")
    return _sqlite(Path(path).expanduser()) if kind == "sqlite" else _postgres(place)


def _sqlite(path: Path) -> Engine:
    engine = create_engine(URL.create("sqlite", database=str(path)))

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _: Any) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={_BUSY_MILLISECONDS}"):
            connection.execute(f"PRAGMA {pragma}")

    return engine


def _postgres(place: str) -> Engine:
    """Open the database; SQLAlchemy knows nothing of our `schema`."""
    try:
        url = make_url(place)
    except (ArgumentError, ValueError):  # its text repeats the address, password and all
        url = URL.create("none")
    schema = str(url.query.get("schema", "threadmesh"))
    if url.drivername not in _POSTGRES or not re.fullmatch("[a-z_][a-z0-9_]{0,47}", schema):
        raise ConfigurationError("TOOLS_TASK_STORE: write sqlite:<path> or postgresql://<user>@<host>/<database>.")
    options = f"-csearch_path={schema} -cstatement_timeout={_STATEMENT_MILLISECONDS}"
    try:
        return create_engine(
            url.set(drivername="postgresql+psycopg").difference_update_query(["schema"]),
            connect_args={"options": options, "connect_timeout": 5, "application_name": "threadmesh"},
            execution_options={"threadmesh_schema": schema},
            pool_pre_ping=True,
        )
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "TOOLS_TASK_STORE: the driver for PostgreSQL is missing; install threadmesh[postgres]."
        ) from error
