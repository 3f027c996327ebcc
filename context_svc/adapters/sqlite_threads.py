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

Result = TypeVar("Result")
Job = Callable[[sqlite3.Connection], Result]

_MOST_AT_ONCE = 64
_READERS = 2


@dataclass(frozen=True, slots=True)
class _Order:
    job: Job[Any]
    transaction: bool
    future: "Future[Any]" = field(default_factory=Future)


class Writer:
    """One thread with the only connection that writes. Jobs that wait together share one commit."""

    def __init__(self, path: Path) -> None:
        self._connection = connect(path)
        self._orders: SimpleQueue[_Order | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name="sqlite-writer", daemon=True)
        self._thread.start()

    async def write(self, job: Job[Result]) -> Result:
        """Give the job's result once it is durable. What the job raises is raised here, and its writes are undone."""
        result: Result = await self._order(_Order(job, transaction=True))
        return result

    async def maintain(self, job: Job[Result]) -> Result:
        """Run a job outside of any transaction."""
        result: Result = await self._order(_Order(job, transaction=False))
        return result

    async def close(self) -> None:
        """End the thread once what was ordered is done."""
        self._orders.put(None)
        await asyncio.to_thread(self._thread.join)
        self._connection.close()

    async def _order(self, order: _Order) -> Any:
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
        self._undo()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            answers = [self._attempt(order.job) for order in orders]
            self._connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001  # every waiting job must hear of it
            self._undo()
            for order in orders:
                order.future.set_exception(unavailable(error) if isinstance(error, sqlite3.Error) else error)
            return
        for order, answer in zip(orders, answers, strict=True):
            answer(order.future)

    def _attempt(self, job: Job[Any]) -> "Callable[[Future[Any]], None]":
        self._connection.execute("SAVEPOINT job")
        try:
            result = job(self._connection)
        except sqlite3.OperationalError:
            raise
        except Exception as error:  # noqa: BLE001  # it belongs to whoever ordered the job
            failure = error
            self._connection.execute("ROLLBACK TO job")
            self._connection.execute("RELEASE job")
            return lambda future: future.set_exception(failure)
        self._connection.execute("RELEASE job")
        return lambda future: future.set_result(result)

    def _undo(self) -> None:
        """Leave no transaction open; what cannot be undone now is tried again before the next one begins."""
        with suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.rollback()

    def _maintain(self, order: _Order) -> None:
        try:
            with translated():
                order.future.set_result(order.job(self._connection))
        except Exception as error:  # noqa: BLE001  # it belongs to whoever ordered the job
            order.future.set_exception(error)


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
