"""Makes the changes of one process in Redis, those that come together with two questions to the server."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import uuid4

from context_svc.adapters.redis_changes import Conditions, Snapshot
from context_svc.adapters.redis_commands import Command, Keys, publication
from context_svc.adapters.redis_records import qualified
from context_svc.adapters.redis_server import Argument, OutcomeUnknown, stop
from context_svc.adapters.redis_session import RedisSession
from context_svc.domain.change import NOTHING, Change, Scope
from context_svc.domain.ports import Decide
from threadmesh.crash_points import crash_point
from threadmesh.errors import StoreUnavailable, ThreadDamaged

Outcome = TypeVar("Outcome")

_MOST_AT_ONCE = 64
_FIRST_PAUSE_SECONDS = 0.002
_LONGEST_PAUSE_SECONDS = 0.05


@dataclass(slots=True, kw_only=True, eq=False)
class _Wish:
    """A change that somebody wants; `answer` is its change and outcome, or what was raised instead."""

    scope: Scope
    decide: Decide[Any]
    answer: tuple[Change, Any] | Exception | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class _Group:
    """Wishes that saw each other's changes: they are granted together or tried again together."""

    conditions: Conditions = field(default_factory=dict)
    commands: list[Command] = field(default_factory=list)
    answers: list[tuple[_Wish, tuple[Change, Any] | Exception]] = field(default_factory=list)

    def settle(self) -> None:
        """Give every wish its answer."""
        for wish, answer in self.answers:
            wish.answer = answer

    def words(self) -> list[Argument]:
        """Give the group as `apply.lua` reads it."""
        words: list[Argument] = [len(self.conditions)]
        for (kind, name), value in self.conditions.items():
            words += (kind, name, value)
        words.append(len(self.commands))
        for command in self.commands:
            words += (len(command), *command)
        return words


@dataclass(slots=True, kw_only=True, eq=False)
class _Order:
    wishes: list[_Wish]
    future: asyncio.Future[None]


class RedisWriter:
    """Grants wishes for changes, one batch after the other.

    A batch is read by one script and stored by another, which stores each group of changes only if what was read is
    still so. What somebody else has changed meanwhile is read and decided again. Batches are numbered, and the server
    remembers what became of the last one: when the connection is lost, it is asked, and a batch that has not arrived
    can never arrive later.
    """

    def __init__(self, session: RedisSession) -> None:
        self._session = session
        self._keys = Keys(session.prefix)
        self.name = uuid4().hex
        """Tells this writer from those of other processes."""
        self._number = 0
        self._orders: list[_Order] = []
        self._ordered = asyncio.Event()
        self.commits = 0
        """The store's commits as of the last batch."""

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Grant wishes until the block ends."""
        task = asyncio.create_task(self._work(), name="redis-writer")
        try:
            yield
        finally:
            await stop(task)

    async def write_each(
        self, wanted: Sequence[tuple[Scope, Decide[Outcome]]]
    ) -> list[tuple[Change, Outcome] | Exception]:
        """Give the answer of each: its change and outcome, or what was raised instead of it.

        Whoever gets `OutcomeUnknown` cannot know yet what has become of his changes.
        """
        wishes = [_Wish(scope=scope, decide=decide) for scope, decide in wanted]
        future = asyncio.get_running_loop().create_future()
        self._orders.append(_Order(wishes=wishes, future=future))
        self._ordered.set()
        try:
            async with asyncio.timeout(self._session.server.patience):
                await future
        except TimeoutError:
            return [wish.answer or OutcomeUnknown(cause="timeout") for wish in wishes]
        return [wish.answer or StoreUnavailable() for wish in wishes]

    async def _work(self) -> None:
        while await self._ordered.wait():
            orders, self._orders = self._orders[:_MOST_AT_ONCE], self._orders[_MOST_AT_ONCE:]
            if not self._orders:
                self._ordered.clear()
            live = [order for order in orders if not order.future.done()]
            await self._grant([wish for order in live for wish in order.wishes])
            for order in live:
                if not order.future.done():
                    order.future.set_result(None)

    async def _grant(self, wishes: Sequence[_Wish]) -> None:
        try:
            await self._grant_all(wishes)
        except Exception as error:  # noqa: BLE001  # whoever waits must hear of it
            for wish in wishes:
                wish.answer = wish.answer or error

    async def _grant_all(self, wishes: Sequence[_Wish]) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._session.server.answer_seconds
        pause = _FIRST_PAUSE_SECONDS
        while wishes:
            await self._attempt(wishes)
            wishes = [wish for wish in wishes if wish.answer is None]
            if wishes and loop.time() > deadline:
                raise StoreUnavailable(cause="contention")
            if wishes:
                await asyncio.sleep(random.uniform(0, pause))  # noqa: S311  # only to keep processes apart
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    async def _attempt(self, wishes: Sequence[_Wish]) -> None:
        """Read, decide and store; wishes that met somebody else's change stay without an answer."""
        scopes = [wish.scope for wish in wishes]
        now, (answers,) = await self._session.run_timed("read_state", *(word for each in scopes for word in _ask(each)))
        groups = self._decide(wishes, answers, Snapshot(now))
        changing = [group for group in groups if group.commands]
        letters = await self._store(changing, round(now.steady * 1e6)) if changing else ""
        for group in groups:
            if not group.commands:
                group.settle()
        for group, letter in zip(changing, letters, strict=False):
            if letter == "a":
                group.settle()
            elif letter == "d":
                for wish, _ in group.answers:
                    wish.answer = ThreadDamaged()

    def _decide(self, wishes: Sequence[_Wish], answers: Sequence[Any], snapshot: Snapshot) -> list[_Group]:
        read = [snapshot.add(wish.scope, answer) for wish, answer in zip(wishes, answers, strict=True)]
        groups: list[_Group] = []
        for wish, conditions in zip(wishes, read, strict=True):
            group = _joined(groups, conditions)
            group.conditions = {**conditions, **group.conditions}
            self._decide_one(wish, group, snapshot)
        return groups

    def _decide_one(self, wish: _Wish, group: _Group, snapshot: Snapshot) -> None:
        state = snapshot.state(wish.scope)
        try:
            change, outcome = wish.decide(state)
            if change != NOTHING:
                conditions, commands = snapshot.store(change, state, self._keys)
                group.conditions = {**conditions, **group.conditions}
                group.commands += commands
                group.commands += publication(change, writer=self.name, keys=self._keys)
        except Exception as error:  # noqa: BLE001  # it belongs to whoever wanted the change
            group.answers.append((wish, error))
        else:
            group.answers.append((wish, (change, outcome)))

    async def _store(self, groups: Sequence[_Group], decided: int) -> str:
        """Give a letter for each group; none when the batch was given up and must be decided again."""
        self._number += 1
        words = (len(groups), *(word for group in groups for word in group.words()))
        crash_point("ctx.before_commit")
        try:
            answer = await self._session.run_once("apply", self.name, self._number, decided, *words)
        except OutcomeUnknown as error:
            answer = await self._settle(error)
        crash_point("ctx.after_commit")
        letters, commits = answer
        self.commits = int(commits)
        return str(letters, "ascii")

    async def _settle(self, lost: OutcomeUnknown) -> tuple[bytes, bytes]:
        """Ask what became of the batch whose answer was lost, until the server says it."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._session.server.answer_seconds
        while True:
            try:
                letters, commits = await self._session.run("settle", self.name, self._number)
            except StoreUnavailable:
                if loop.time() > deadline:
                    raise lost from None
            else:
                return letters, commits
            await asyncio.sleep(random.uniform(0, _LONGEST_PAUSE_SECONDS))  # noqa: S311  # only to keep processes apart


def _ask(scope: Scope) -> tuple[Argument, ...]:
    key = qualified(scope.tenant, scope.thread_key) if scope.thread_key else ""
    measured = f"+{scope.tenant}" if scope.measured else ""
    return scope.run_id, int(scope.only_run), scope.thread_id, key, scope.receipt_key, measured


def _joined(groups: list[_Group], conditions: Conditions) -> _Group:
    """Give the group of everything that touches the same, made one if it was several."""
    met = [group for group in groups if conditions.keys() & group.conditions.keys()]
    joined = _Group()
    for group in met:
        groups.remove(group)
        joined.conditions |= group.conditions
        joined.commands += group.commands
        joined.answers += group.answers
    groups.append(joined)
    return joined
