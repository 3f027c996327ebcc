"""The same question is asked once."""

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing

from threadmesh.clock import Clock
from tools_svc.domain.answer_cache import AnswerCache
from tools_svc.domain.call import Asked, Invocation, Sent, ToolOutput, Update, Waiting
from tools_svc.domain.policy import ServerPolicy
from tools_svc.domain.ports import PolicyListener, ToolSource
from tools_svc.domain.tool import Effect
from tools_svc.domain.wrapped_source import WrappedSource


class CachedSource(WrappedSource):
    """A `ToolSource` that keeps good answers of read-only tools for the time that the policy gives them.

    A question is the same if tool, arguments and the tool's definition are. While one is under way, others like it wait
    for its answer; if it gets none, the next of them asks. An answer that was kept comes with `Sent`, as any other. One
    for which the server has asked something itself is nobody else's, and not kept.
    """

    def __init__(self, inner: ToolSource, policy: ServerPolicy, *, clock: Clock, listener: PolicyListener) -> None:
        super().__init__(inner)
        self._policy = policy
        self._listener = listener
        self._answers = AnswerCache(clock)
        self._asked: dict[bytes, asyncio.Event] = {}

    async def call(self, invocation: Invocation) -> AsyncGenerator[Update, None]:
        """Run one call, or give the answer of an earlier one."""
        key = self._key(invocation)
        while key is not None and (asked := self._asked.get(key)):
            yield Waiting()
            await asked.wait()
        answer = self._answers.get(key) if key else None
        if answer is not None:
            self._listener.cached(self.name, invocation.tool)
            yield Sent()
            yield answer
            return
        calls = self._ask(key, invocation) if key else self._inner.call(invocation)
        async with aclosing(calls) as updates:
            async for update in updates:
                yield update

    async def _ask(self, key: bytes, invocation: Invocation) -> AsyncGenerator[Update, None]:
        answered = self._asked[key] = asyncio.Event()
        seconds = self._policy.tool(invocation.tool).cache_seconds or 0
        asked_back = False
        try:
            async with aclosing(self._inner.call(invocation)) as updates:
                async for update in updates:
                    asked_back = asked_back or isinstance(update, Asked)
                    if isinstance(update, ToolOutput) and not update.is_error and not asked_back:
                        self._answers.keep(key, update, seconds=seconds)
                    yield update
        finally:
            del self._asked[key]
            answered.set()

    def _key(self, invocation: Invocation) -> bytes | None:
        """Give what the question is known by; None for one whose answer is not kept."""
        if self._policy.tool(invocation.tool).cache_seconds is None or invocation.answers:
            return None
        offer = next((each for each in self.status.tools if each.name == invocation.tool), None)
        if offer is None or self._policy.effect(offer.name, offer.hints) is not Effect.READ_ONLY:
            return None
        question = [offer.name, offer.definition_hash, invocation.arguments]
        return hashlib.sha256(json.dumps(question, sort_keys=True).encode()).digest()
