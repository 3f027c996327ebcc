"""The sources of the moment: they join, are replaced and leave while everything else goes on."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from tools_svc.domain.call import Invocation, Update
from tools_svc.domain.latest import Latest
from tools_svc.domain.library import FilledPrompt, ResourceContent
from tools_svc.domain.policy import ServerPolicy
from tools_svc.domain.ports import ToolSource
from tools_svc.domain.watch import CatalogueWatcher
from tools_svc.domain.wrapped_source import WrappedSource

Config = TypeVar("Config")


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A source, the rules for its tools, and what keeps it connected until cancelled."""

    source: ToolSource
    policy: ServerPolicy
    run: Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Post(Generic[Config]):
    config: Config
    source: "_Counted"
    policy: ServerPolicy
    keeping: asyncio.Task[None]
    following: asyncio.Task[None]


class Fleet(Generic[Config]):
    """Keeps one source for each configuration that is wanted now, and the watcher's catalogue with them."""

    def __init__(self, build: Callable[[Config], Member], watcher: CatalogueWatcher) -> None:
        self.sources: dict[str, ToolSource] = {}
        """The sources that can be called, by name."""
        self._build = build
        self._watcher = watcher
        self._posts: dict[str, _Post[Config]] = {}

    async def run(self, wanted: AsyncGenerator[Mapping[str, Config], None]) -> None:
        """Follow what is wanted, by name, until cancelled.

        What has not changed is left alone. What leaves takes no new calls at once, and ends when its calls have ended
        or their time is over.
        """
        async with asyncio.TaskGroup() as tasks, aclosing(wanted) as states:
            async for configs in states:
                for name in [each for each, post in self._posts.items() if configs.get(each) != post.config]:
                    tasks.create_task(_retire(self._leave(name)), name=f"retiring:{name}")
                for name in [each for each in configs if each not in self._posts]:
                    self._posts[name] = self._join(configs[name], tasks)

    def _join(self, config: Config, tasks: asyncio.TaskGroup) -> _Post[Config]:
        member = self._build(config)
        source = _Counted(member.source)
        self.sources[source.name] = source
        self._watcher.add(source, member.policy)
        return _Post(
            config=config,
            source=source,
            policy=member.policy,
            keeping=tasks.create_task(member.run(), name=f"source:{source.name}"),
            following=tasks.create_task(self._watcher.follow(source), name=f"catalogue:{source.name}"),
        )

    def _leave(self, name: str) -> _Post[Config]:
        post = self._posts.pop(name)
        post.following.cancel()
        del self.sources[name]
        self._watcher.remove(name)
        return post


async def _retire(post: _Post[Any]) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(post.policy.longest_seconds):
            await post.source.idle()
    post.keeping.cancel()


class _Counted(WrappedSource):
    """A `ToolSource` that knows when nobody uses it."""

    def __init__(self, inner: ToolSource) -> None:
        super().__init__(inner)
        self._uses = Latest(0)

    async def call(self, invocation: Invocation) -> AsyncGenerator[Update, None]:
        with self._used():
            async with aclosing(super().call(invocation)) as updates:
                async for update in updates:
                    yield update

    async def read(self, uri: str) -> tuple[ResourceContent, ...]:
        with self._used():
            return await super().read(uri)

    async def prompt(self, name: str, arguments: Mapping[str, str]) -> FilledPrompt:
        with self._used():
            return await super().prompt(name, arguments)

    async def idle(self) -> None:
        async with aclosing(self._uses.states()) as states:
            async for _, uses in states:
                if not uses:
                    return

    @contextmanager
    def _used(self) -> Iterator[None]:
        self._uses.set(self._uses.value + 1)
        try:
            yield
        finally:
            self._uses.set(self._uses.value - 1)
