"""The threads in which SQLite works, so that the event loop never waits for a disk."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from context_svc.adapters.sqlite_file import connect, translated, unavailable
from threadmesh.crash_points import crash_point
from threadmesh.errors import MeshError

Result = TypeVar("Result")
Job = Callable[[sqlite3.Connection], Result]

_MOST_AT_ONCE = 64
_READERS = 2


@dataclass(frozen=True, slots=True)
class _Order:
    """Jobs that are done one after the other; the future gets the answer of each, a result or what it raised."""

    jobs: Sequence[Job[Any]]
    transaction: bool
    future: "Future[list[Any]]" = field(default_factory=Future)


class Writer:
    """One thread with the only connection that writes. Jobs that wait together share one commit.

    A job raises a `MeshError` before it has written anything, and may be done again after it was undone. `undone` is
    called in the thread whenever something was undone.
    """

    def __init__(self, path: Path, *, undone: Callable[[], None] = lambda: None) -> None:
        self._connection = connect(path)
        self._undone = undone
        self._orders: SimpleQueue[_Order | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name="sqlite-writer", daemon=True)
        self._thread.start()

    async def write(self, job: Job[Result]) -> Result:
        """Give the job's result once it is durable. What the job raises is raised here, and its writes are undone."""
        return _result((await self.write_each([job]))[0])

    async def write_each(self, jobs: Sequence[Job[Result]]) -> list[Result | Exception]:
        """Give the answer of each job once all are durable: its result, or what it raised, its writes then undone."""
        return await self._order(_Order(jobs, transaction=True))

    async def maintain(self, job: Job[Result]) -> Result:
        """Run a job outside of any transaction."""
        answers: list[Result | Exception] = await self._order(_Order([job], transaction=False))
        return _result(answers[0])

    async def close(self) -> None:
        """End the thread once what was ordered is done."""
        self._orders.put(None)
        await asyncio.to_thread(self._thread.join)
        self._connection.close()

    async def _order(self, order: _Order) -> list[Any]:
        self._orders.put(order)
        return await asyncio.wrap_future(order.future)

    def _work(self) -> None:
        while order := self._orders.get():
            orders = [order, *self._waiting()]
            live = [each for each in orders if each and each.future.set_running_or_notify_cancel()]
            self._commit([each for each in live if each.transaction])
            for each in live:
                if not each.transaction:
                    self._maintain(each)
            if None in orders:
                return

    def _waiting(self) -> Iterator[_Order | None]:
        for _ in range(_MOST_AT_ONCE):
            try:
                order = self._orders.get_nowait()
            except Empty:
                return
            yield order
            if order is None:
                return

    def _commit(self, orders: Sequence[_Order]) -> None:
        """Do all the jobs in one transaction. A job that fails is undone alone; when SQLite fails, all have failed."""
        if not orders:
            return
        try:
            answers = self._transaction(orders)
        except Exception as error:  # noqa: BLE001  # every waiting job must hear of it
            self._undo()
            self._undone()
            for order in orders:
                order.future.set_exception(unavailable(error) if isinstance(error, sqlite3.Error) else error)
            return
        for order, each in zip(orders, answers, strict=True):
            order.future.set_result(each)

    def _transaction(self, orders: Sequence[_Order]) -> list[list[Any]]:
        """Give the answers of all jobs. Few are ever undone, so savepoints are made only when one must be."""
        self._undo()
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            answers = [[self._done(job) for job in order.jobs] for order in orders]
        except sqlite3.OperationalError:
            raise
        except Exception:  # noqa: BLE001  # which job it was is found out now
            self._undo()
            self._undone()
            self._connection.execute("BEGIN IMMEDIATE")
            answers = [[self._attempt(job) for job in order.jobs] for order in orders]
        crash_point("ctx.before_commit")
        self._connection.execute("COMMIT")
        crash_point("ctx.after_commit")
        return answers

    def _done(self, job: Job[Any]) -> Any:
        try:
            return job(self._connection)
        except MeshError as error:
            return error

    def _attempt(self, job: Job[Any]) -> Any:
        self._connection.execute("SAVEPOINT job")
        try:
            result = self._done(job)
        except sqlite3.OperationalError:
            raise
        except Exception as error:  # noqa: BLE001  # it belongs to whoever ordered the job
            self._connection.execute("ROLLBACK TO job")
            self._undone()
            result = error
        self._connection.execute("RELEASE job")
        return result

    def _undo(self) -> None:
        """Leave no transaction open; what cannot be undone now is tried again before the next one begins."""
        with suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.rollback()

    def _maintain(self, order: _Order) -> None:
        try:
            with translated():
                order.future.set_result([job(self._connection) for job in order.jobs])
        except Exception as error:  # noqa: BLE001  # it belongs to whoever ordered the job
            order.future.set_exception(error)


def _result(answer: Result | Exception) -> Result:
    if isinstance(answer, Exception):
        raise answer
    return answer


class Readers:
    """A few threads with a connection each. Every job sees one moment of the store."""

    def __init__(self, path: Path) -> None:
        self._free: SimpleQueue[sqlite3.Connection] = SimpleQueue()
        for _ in range(_READERS):
            self._free.put(connect(path))
        self._pool = ThreadPoolExecutor(_READERS, thread_name_prefix="sqlite-reader")

    async def read(self, job: Job[Result]) -> Result:
        """Give the job's result."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._read, job)

    async def close(self) -> None:
        """End the threads."""
        await asyncio.to_thread(self._pool.shutdown)
        for _ in range(_READERS):
            self._free.get().close()

    def _read(self, job: Job[Result]) -> Result:
        connection = self._free.get()
        try:
            with translated():
                connection.execute("BEGIN")
                return job(connection)
        finally:
            if connection.in_transaction:
                connection.rollback()
            self._free.put(connection)
